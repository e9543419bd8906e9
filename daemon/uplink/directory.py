"""An archive in a folder: another disk, or an NFS mount. Every file appears whole and durable or not at all."""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from daemon.uplink.archive import FOLDERS
from daemon.uplink.stores import StoreConflict, StoreError
from signing.durable import sync_directory

CHUNK = 1 << 20
TEMPORARY = ".new"


class DirectoryStore:
    """One archive folder, which must exist: a mount that is missing is not filled with files by mistake.

    Raises (constructor):
        StoreError: not a folder, or another process ships there.
    """

    def __init__(self, root: Path, *, writes: bool = True, beside: Path | None = None) -> None:
        """`beside` is a folder of the records themselves: an archive on the same filesystem is warned of."""
        self._root = root
        with _translated(root):
            self._fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            same = beside is not None and os.fstat(self._fd).st_dev == beside.stat().st_dev
        self._warning = f"{root} is on the disk of the records themselves" if same else ""
        try:
            if writes:
                self._claim()
        except StoreError:
            self.close()
            raise

    @property
    def name(self) -> str:
        return f"directory:{self._root}"

    @property
    def warning(self) -> str:
        return self._warning

    def _claim(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(f"{self._root}: another process ships there: wait for it or stop it") from error
        except OSError:
            pass  # this filesystem locks no folders
        with _translated(self._root):
            (self._root / TEMPORARY).unlink(missing_ok=True)
            for folder in FOLDERS:
                _make_folders(self._root / folder, self._root)

    def put(self, path: str, data: bytes, sha256: str) -> None:
        target = self._root / path
        there = self.digest(path)
        if there == sha256:
            return
        if there is not None:
            raise StoreConflict(f"{target}: holds other bytes than those that should be archived")
        with _translated(target):
            _make_folders(target.parent, self._root)
            _write(target, data, self._root / TEMPORARY)

    def digest(self, path: str) -> str | None:
        """As Store. Read from the disk, not from this computer's memory, where the kernel lets go of its copy."""
        target, found = self._root / path, hashlib.sha256()
        with _translated(target):
            try:
                fd = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            with open(fd, "rb") as file:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                while chunk := file.read(CHUNK):
                    found.update(chunk)
        return found.hexdigest()

    def get(self, path: str) -> bytes:
        target = self._root / path
        with _translated(target):
            return target.read_bytes()

    def listing(self, folder: str, after: str = "") -> Iterator[str]:
        top = self._root / folder
        with _translated(top):
            names = sorted(_files(top, f"{folder}/")) if top.is_dir() else []
        yield from (name for name in names if name > after)

    def close(self) -> None:
        os.close(self._fd)


def _files(folder: Path, prefix: str) -> Iterator[str]:
    with os.scandir(folder) as found:
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path), f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name


def _make_folders(folder: Path, root: Path) -> None:
    """Make the folders below `root`, each durable before something lies in it. `root` itself is never made."""
    if folder.is_dir():
        return
    if folder == root:
        raise FileNotFoundError(2, "the folder is gone")
    _make_folders(folder.parent, root)
    folder.mkdir(exist_ok=True)
    sync_directory(folder.parent)


def _write(target: Path, data: bytes, temporary: Path) -> None:
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
    with open(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)
    os.rename(temporary, target)
    sync_directory(target.parent)


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}: is it mounted, writable and not full?") from error
