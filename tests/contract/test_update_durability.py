"""The device's own metadata: nothing touched when nothing is new, whole after any cut, healed where it was damaged."""

import os
import random
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from signing import freshness
from signing.durable import write_durably
from signing.fetchers import FileFetcher
from signing.floor import Versions
from signing.freshness import nothing_new
from signing.index import Kind
from signing.update_errors import FloorFailed, UpdateError
from tests.contract.update_world import NOW, Device, Keys, World, build_world, holder

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("fleet") / "world")


@pytest.fixture
def world(built: World, tmp_path: Path) -> World:
    return built.copy(tmp_path / "world")


class _Watch:
    """Counts what this interpreter writes: an audit hook sees every open, rename and removal of Python code."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.on:
            return
        flags = arguments[2] if event == "open" else 0
        if event in CHANGES or (isinstance(flags, int) and flags & WRITES):
            self.seen.append(f"{event} {arguments[0]!r}")


WATCH = _Watch()


@contextmanager
def _watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Yield what is written meanwhile; fsync has no audit event and is counted by its name."""
    WATCH.seen.clear()
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda fd, name=name: WATCH.seen.append(name))
    WATCH.on = True
    try:
        yield WATCH.seen
    finally:
        WATCH.on = False


class _NoFloor:
    """Stands for a TPM that must not be asked."""

    strength = "tpm"

    def enrol(self, versions: Versions) -> None:
        raise AssertionError("the floor was written")

    def read(self) -> Versions:
        raise AssertionError("the floor was read")

    raise_to = enrol


def test_nothing_new_means_no_write_no_fsync_no_floor(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    device, fetcher = world.device, FileFetcher(world.public)
    with _watched(monkeypatch) as seen:
        assert nothing_new(device.place, fetcher, NOW)
        repository = device.open(fetcher, floor=_NoFloor())
        assert repository.index(Kind.BUNDLE, world.index("1.0.0")) is not None
    assert seen == []


def test_the_watch_sees_a_refresh_that_is_new(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with _watched(monkeypatch) as seen:
        Device(world.folder / "fresh").open(world.public)
    assert {"fsync"} < set(seen) and any(entry.startswith("os.rename") for entry in seen)


class _Cut(BaseException):
    """The power goes."""


@contextmanager
def _cut_before_write(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[None]:
    """The power goes before that durable write of the place or the floor, counted from 0."""
    written = 0

    def cutting(path: Path, data: bytes, mode: int = 0o644) -> None:
        nonlocal written
        if written == number:
            raise _Cut
        written += 1
        write_durably(path, data, mode)

    with monkeypatch.context() as patch:
        patch.setattr(freshness, "write_durably", cutting)
        patch.setattr("signing.floor.write_durably", cutting)
        yield


def _rotate_and_publish(world: World) -> None:
    world.builder.set_document("trust.json", b'{"document":"trust","n":2}', NOW)
    world.builder.rotate_root(world.keys.root[2].public_key.keyid, holder("Eve", Keys().root[0]), NOW)
    world.publish()


@pytest.mark.parametrize("number", range(6))
def test_no_cut_bricks_and_none_lets_old_metadata_in(
    world: World, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A refresh with a new root is six durable writes: snapshot, targets, floor, root, timestamp, and it is done."""
    _rotate_and_publish(world)
    device = Device(world.folder / "fresh")
    device.open(world.old)
    before, newest = device.floor.read(), world.builder.versions()
    with _cut_before_write(monkeypatch, number):
        if number < 5:
            with pytest.raises(_Cut):
                device.open(world.public)
        else:
            device.open(world.public)
    raised = device.floor.read() == newest
    assert raised == (number > 2) and device.floor.read() in (before, newest)
    copy = Device(world.folder / "copy")
    shutil.copytree(device.folder, copy.folder)
    if raised:
        _refuses_old(copy, world)
    assert device.open(world.public).versions == newest
    assert device.floor.read() == newest
    _refuses_old(device, world)


def _refuses_old(device: Device, world: World) -> None:
    with pytest.raises(UpdateError):
        device.open(world.old)
    shutil.rmtree(device.place.metadata)
    with pytest.raises(UpdateError, match="RollbackRefused"):
        device.open(world.old)


@pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json", "targets.json", "bundles.json"])
@pytest.mark.parametrize("damage", [b"", b"{", b"\0" * 300])
def test_damaged_local_metadata_heals(world: World, name: str, damage: bytes) -> None:
    file = world.device.place.metadata / name
    good = file.read_bytes()
    file.write_bytes(damage)
    world.device.install(world.public, world.index("1.1.0"))
    assert file.read_bytes() == good


def test_a_damaged_root_of_the_history_heals(world: World) -> None:
    _rotate_and_publish(world)
    world.device.open(world.public)
    file = world.device.place.metadata / "root_history" / "2.root.json"
    good = file.read_bytes()
    file.write_bytes(good[:100])
    assert world.device.open(world.public).versions.root == 2
    assert file.read_bytes() == good


def test_a_floor_that_cannot_be_written_lets_nothing_in(world: World) -> None:
    device = Device(world.folder / "fresh")

    class Unwritable(_NoFloor):
        def read(self) -> Versions:
            return device.floor.read()

        def raise_to(self, versions: Versions) -> None:
            raise FloorFailed("the TPM does not answer")

    with pytest.raises(FloorFailed):
        device.open(world.public, floor=Unwritable())
    assert not (device.place.metadata / "timestamp.json").exists()
    assert device.open(world.public).versions == world.builder.versions()


def test_an_enrolled_floor_is_never_lowered_by_enrolling_again(world: World) -> None:
    world.device.floor.enrol(Versions(1, 1, 1))
    assert world.device.floor.read() == world.builder.versions()


def test_mutilated_metadata_is_refused_in_one_line_and_never_crashes(world: World, seed: int) -> None:
    """Bytes are changed, dropped or doubled. What the timestamp names by digest is refused whatever the change.

    The timestamp itself is refused or says what was signed (python-tuf reads a missing spec version as its own); what a
    fresh device does not read changes nothing.
    """
    random_ = random.Random(seed)
    newest = world.builder.versions()
    named = {f"{newest.snapshot}.snapshot.json", "1.targets.json", "2.bundles.json"}
    files = sorted((world.public / "metadata").iterdir())
    assert named < {file.name for file in files}
    device = Device(world.folder / "fresh")
    for number in range(66):
        file = files[number % len(files)]
        good = file.read_bytes()
        bad = _mutilated(good, random_)
        file.write_bytes(bad)
        shutil.rmtree(device.place.metadata)
        refused = False
        try:
            repository = device.open(world.public)
            assert repository.versions == newest
            repository.index(Kind.BUNDLE, world.index("1.1.0"))
        except UpdateError as error:
            refused = True
            assert "\n" not in str(error)
        if file.name != "timestamp.json":
            assert refused == (file.name in named and bad != good), (file.name, bad)
        file.write_bytes(good)


def _mutilated(raw: bytes, random_: random.Random) -> bytes:
    at, length = random_.randrange(len(raw)), random_.choice((1, 1, 2, 8, 64))
    kind = random_.randrange(5)
    if kind == 0:
        return raw[:at] + bytes(random_.randrange(256) for _ in range(length)) + raw[at + length :]
    if kind == 1:
        return raw[:at] + raw[at + length :]
    if kind == 2:
        return raw[:at] + raw[at : at + length] * 2 + raw[at + length :]
    words = [b"null", b"[]", b"{}", b"1e999", b"-1", b"true", b'"\\ud800"', b"1.5", b"9" * 5000]
    colon = raw.find(b":", at) + 1
    end = min(found for mark in b",}" if (found := raw.find(bytes([mark]), colon)) >= 0) if b"}" in raw[colon:] else at
    return raw[:colon] + random_.choice(words) + raw[end:]
