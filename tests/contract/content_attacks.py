"""Attacks with other bytes: mixed and flipped files, endless ones, strange sticks, indices that lie."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
from tuf.api.metadata import MetaFile

from signing.fetchers import Bytes, Fetcher, FileFetcher
from signing.index import Blob, Kind
from tests.contract.attack import Attack, Attempt, listed_in
from tests.contract.update_world import (
    NOW,
    World,
    forge_timestamp,
)

CONTENTS: list[Attack[World]] = []
attack = listed_in(CONTENTS)


# Mix and match, other bytes, too many bytes


@attack("mix and match: old bundles.json under the new name", "LengthOrHashMismatchError")
def _mixed_role(world: World) -> Attempt:
    evil = world.stolen()
    shutil.copy(evil / "metadata" / "1.bundles.json", evil / "metadata" / "2.bundles.json")
    fresh = type(world.device)(world.folder / "fresh")
    repository = fresh.open(evil)
    return lambda: repository.index(Kind.BUNDLE, world.index("1.1.0"))


@attack("mix and match: old snapshot under the new name", "LengthOrHashMismatchError")
def _mixed_snapshot(world: World) -> Attempt:
    evil = world.stolen()
    old, new = (evil / "metadata" / f"{number}.snapshot.json" for number in (1, 2))
    length = new.stat().st_size
    new.write_bytes(old.read_bytes()[:length].ljust(length))
    return lambda: type(world.device)(world.folder / "fresh").open(evil)


@attack("bit flip in a bundle's file", "LengthOrHashMismatchError")
def _flipped(world: World) -> Attempt:
    evil = world.stolen()
    _change_largest_blob(evil, lambda raw: raw[:1000] + bytes([raw[1000] ^ 1]) + raw[1001:])
    return lambda: world.device.install(evil, world.index("1.1.0"))


@attack("bit flip in a signed document", "LengthOrHashMismatchError")
def _flipped_document(world: World) -> Attempt:
    evil = world.stolen()
    (file,) = (evil / "targets" / "allowlists").glob("*.revoked.json")
    file.write_bytes(file.read_bytes().replace(b"bundle", b"bundlf"))
    return lambda: world.device.open(evil).document("allowlists/revoked.json", 1000)


@attack("endless bundle file", "DownloadLengthMismatchError")
def _endless_blob(world: World) -> Attempt:
    fetcher = _Endless(world.public, "blobs/")
    return lambda: world.device.install(fetcher, world.index("1.1.0"))


@attack("endless timestamp", "DownloadLengthMismatchError")
def _endless_timestamp(world: World) -> Attempt:
    return lambda: world.device.open(_Endless(world.public, "metadata/timestamp.json"))


@attack("endless next root", "DownloadLengthMismatchError")
def _endless_root(world: World) -> Attempt:
    return lambda: world.device.open(_Endless(world.public, "metadata/2.root.json"))


@attack("stolen timestamp key: snapshot announced with 10 GB", "DownloadLengthMismatchError")
def _huge_snapshot(world: World) -> Attempt:
    evil = world.stolen()
    forge_timestamp(evil, world, snapshot_meta=MetaFile(3, 10**10))
    return lambda: world.device.open(evil)


@attack("timestamp of nested brackets", "DeserializationError")
def _nested(world: World) -> Attempt:
    evil = world.stolen()
    (evil / "metadata" / "timestamp.json").write_bytes(b"[" * 16_000)
    return lambda: world.device.open(evil)


# Sticks and indices


@attack("stick: link in place of the timestamp", "DownloadError")
def _linked_file(world: World) -> Attempt:
    evil = world.stolen()
    file = evil / "metadata" / "timestamp.json"
    file.rename(evil / "elsewhere")
    file.symlink_to(evil / "elsewhere")
    return lambda: world.device.open(evil)


@attack("stick: metadata is a link to another folder", "DownloadError")
def _linked_folder(world: World) -> Attempt:
    evil = world.stolen()
    (evil / "metadata").rename(world.folder / "aside")
    (evil / "metadata").symlink_to(world.folder / "aside")
    return lambda: world.device.open(evil)


@attack("stick: a pipe in place of a bundle's file", "DownloadError")
def _pipe(world: World) -> Attempt:
    evil = world.stolen()
    file = _largest_blob(evil)
    file.unlink()
    os.mkfifo(file)
    return lambda: world.device.install(evil, world.index("1.1.0"))


@attack("stick: revoked.json left out", "DownloadHTTPError")
def _left_out(world: World) -> Attempt:
    evil = world.stolen()
    for file in (evil / "targets" / "allowlists").glob("*.revoked.json"):
        file.unlink()
    return lambda: world.device.open(evil).document("allowlists/revoked.json", 1000)


@attack("signed index with a file name that leaves the folder", "IndexInvalid")
def _traversal(world: World) -> Attempt:
    return _forged_index(world, lambda files: {**files, "../../etc/passwd": files["bundle.json"]})


@attack("signed index with an absolute file name", "IndexInvalid")
def _absolute(world: World) -> Attempt:
    return _forged_index(world, lambda files: {**files, "/etc/passwd": files["bundle.json"]})


@attack("signed index of another bundle", "IndexInvalid")
def _other_index(world: World) -> Attempt:
    return _forged_index(world, lambda files: {**files, "bundle.json": Blob("0" * 64, 1)})


# The attacker's tools


class _Endless(Fetcher):
    """A server that goes on sending zeros where `path` begins so."""

    def __init__(self, folder: Path, path: str) -> None:
        self.where = "endless"
        self._inner, self._path = FileFetcher(folder), path

    def open_from(self, path: str, start: int) -> tuple[int, Bytes]:
        if path.startswith(self._path):
            return start, _zeros()
        return self._inner.open_from(path, start)


def _zeros() -> Bytes:
    for _ in range(1_000_000):
        yield bytes(65536)
    raise AssertionError("65 GB were read")


def _forged_index(world: World, change: Callable[[dict[str, Blob]], dict[str, Blob]]) -> Attempt:
    """Both people signed an index that is wrong."""
    digest = world.index("1.1.0")
    path = Kind.BUNDLE.target(digest)
    raw = world.builder.read_document(path)
    assert raw is not None
    index = msgspec.json.decode(raw)
    files = {name: Blob(**blob) for name, blob in index["files"].items()}
    world.builder.set_document(path, msgspec.json.encode({**index, "files": change(files)}), NOW)
    world.publish()
    repository = world.device.open(world.public)
    repository.document(path, 10_000)
    return lambda: repository.index(Kind.BUNDLE, digest)


def _largest_blob(folder: Path) -> Path:
    """Return the newer bundle's model."""
    return max((folder / "blobs").iterdir(), key=lambda file: (file.stat().st_size, b"1.1.0" in file.read_bytes()))


def _change_largest_blob(folder: Path, change: Callable[[bytes], bytes]) -> None:
    file = _largest_blob(folder)
    file.write_bytes(change(file.read_bytes()))
