"""Verified bytes are memory that nobody can change: not the directory, not the process that holds them."""

import hashlib
import mmap
import os
import threading
from pathlib import Path

import pytest

from engines.engine import allocate
from engines.load import load
from signing import sealed
from signing.errors import DirectoryRefused
from signing.keyring import load_trust
from signing.sealed import hold_file, open_directory
from signing.verify import VerifiedBundle, verify
from tests.vectors import bundle_1


def opened(directory: Path) -> VerifiedBundle:
    with open_directory(directory) as fd:
        return verify(fd, load_trust(bundle_1.ROOT / "trust", production=False))


@pytest.mark.clause("IEC 62443-4-2 CR 3.4", "21 CFR 11.30")
@pytest.mark.parametrize("how", ["replaced", "written", "removed"])
def test_what_becomes_of_the_directory_changes_nothing(tmp_path: Path, how: str) -> None:
    directory = tmp_path / "bundle"
    bundle_1.make_bundle(directory)
    bundle = opened(directory)
    whole = {name: (directory / name).read_bytes() for name in bundle.files}
    for name in bundle.files:
        if how == "written":
            with (directory / name).open("r+b") as file:
                file.write(b"\xff" * 100)
        else:
            (directory / name).unlink()
        if how == "replaced":
            (directory / name).write_bytes(b"\xff" * 1000)
    assert {name: file.bytes() for name, file in bundle.files.items()} == whole
    engine = load(bundle, "side")
    assert allocate(engine.outputs)
    engine.close()


def _memory(bundle: VerifiedBundle) -> mmap.mmap:
    return bundle.files["tiny.onnx"]._memory


def test_the_memory_is_sealed(tmp_path: Path) -> None:
    bundle_1.make_bundle(tmp_path / "bundle")
    bundle = opened(tmp_path / "bundle")
    with pytest.raises(TypeError):
        bundle.files["tiny.onnx"].view()[0] = 1
    with pytest.raises(TypeError):
        _memory(bundle)[0] = 1
    held = [int(name) for name in os.listdir("/proc/self/fd") if _is_held(int(name))]
    assert held
    for fd in held:
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 0)


def _is_held(fd: int) -> bool:
    try:
        return "memfd:tiny.onnx" in os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return False


def test_the_memory_goes_with_its_last_user(tmp_path: Path) -> None:
    bundle_1.make_bundle(tmp_path / "bundle")
    bundle = opened(tmp_path / "bundle")
    view = bundle.files["tiny.onnx"].view()
    before = bytes(view)
    del bundle
    assert bytes(view) == before
    del view
    assert not [name for name in os.listdir("/proc/self/fd") if _is_held(int(name))]


@pytest.mark.parametrize("size", [1, 99, 100, 101, 200, 1000, 1001])
def test_every_size_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """In chunks of 100 bytes: ends inside, at and after a chunk."""
    monkeypatch.setattr(sealed, "CHUNK_BYTES", 100)
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    with open_directory(tmp_path) as fd:
        held = hold_file(fd, "file", size)
    assert (held.size, held.sha256, held.bytes()) == (size, hashlib.sha256(data).hexdigest(), data)


@pytest.mark.parametrize(("change", "shown"), [(-50, "shrank while it was read"), (50, "grew while it was read")])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: int, shown: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)
    monkeypatch.setattr(sealed, "CHUNK_BYTES", 100)
    read, once = os.preadv, threading.Event()

    def preadv(fd: int, buffers: list[memoryview], at: int) -> int:
        if not once.is_set():
            once.set()
            os.truncate(path, 1000 + change)
        return read(fd, buffers, at)

    monkeypatch.setattr(os, "preadv", preadv)
    with open_directory(tmp_path) as fd, pytest.raises(DirectoryRefused, match=shown):
        hold_file(fd, "file", 1000)
