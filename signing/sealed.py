"""A signed directory, opened safely, and its files held in sealed memory: the thin shell over the file system.

Rules of this file:
  1. Every name is opened relative to a directory descriptor, never following a link, and must be a regular file.
  2. Every read is bounded before it starts, and what was read is what is handed on; nothing is opened twice.
  3. A large file is read once, into memory that is hashed and then sealed: what was hashed cannot change any more,
     whatever becomes of the directory.
"""

import errno
import fcntl
import hashlib
import mmap
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from signing.errors import DirectoryRefused, SigningError
from signing.manifest import MAX_FILES, SIGNATURES

MAX_DOCUMENT_BYTES = 1024 * 1024
MAX_ENTRIES = MAX_FILES + 64
CHUNK_BYTES = 4 * 1024 * 1024

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


@dataclass(frozen=True, slots=True)
class SealedFile:
    """A file's content in memory that nobody can write any more. Given back to the system with its last user.

    `size` in bytes, `sha256` in hex of exactly these bytes.
    """

    size: int
    sha256: str
    _memory: mmap.mmap = field(repr=False, compare=False)

    def bytes(self) -> bytes:
        """Return a copy, for libraries that take nothing else."""
        return self._memory[:]

    def view(self) -> memoryview:
        """Return the memory itself, read-only."""
        return memoryview(self._memory)


@contextmanager
def open_directory(path: Path) -> Iterator[int]:
    """Give a descriptor of the directory at `path` for the length of a `with` block.

    The path itself may go through links: it is the caller's, only what is inside is judged. Whatever is refused inside
    the block gets the path put before its message.

    Raises:
        DirectoryRefused: there is no such directory.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise DirectoryRefused(f"{path}: {error.strerror}; name the directory of a bundle or recipe") from error
    try:
        yield fd
    except SigningError as error:
        raise type(error)(f"{path}: {error}") from error
    finally:
        os.close(fd)


@contextmanager
def open_folder(dir_fd: int, name: str) -> Iterator[int]:
    """Give a descriptor of folder `name` inside a directory for the length of a `with` block.

    Raises:
        DirectoryRefused: missing, a link, or not a folder.
    """
    try:
        fd = os.open(name, _DIRECTORY, dir_fd=dir_fd)
    except OSError as error:
        raise _refused(name, error) from error
    try:
        yield fd
    finally:
        os.close(fd)


def require_entries(dir_fd: int, expected: frozenset[str], where: str = "") -> None:
    """Refuse a directory that holds anything but `expected`.

    Raises:
        DirectoryRefused: an entry is unknown or absent.
    """
    found = list_entries(dir_fd, where)
    for stranger in sorted(found - expected):
        raise DirectoryRefused(f"{where}{stranger!r}: the signed document does not name this file; remove it")
    for absent in sorted(expected - found):
        raise DirectoryRefused(f"{where}{absent}: missing; deliver the directory again")


def list_entries(dir_fd: int, where: str) -> frozenset[str]:
    """Return the names in a directory.

    Raises:
        DirectoryRefused: there are more than a signed directory can have.
    """
    names: set[str] = set()
    with os.scandir(dir_fd) as entries:
        for entry in entries:
            names.add(entry.name)
            if len(names) > MAX_ENTRIES:
                raise DirectoryRefused(f"{where or '.'}: more than {MAX_ENTRIES} entries; this is no signed directory")
    return frozenset(names)


def read_file(dir_fd: int, name: str, limit: int, where: str = "") -> bytes:
    """Return the whole content of regular file `name`, at most `limit` bytes.

    Raises:
        DirectoryRefused: missing, a link, not a regular file, or larger than `limit`.
    """
    with _opened(dir_fd, name, where + name) as fd:
        size = os.fstat(fd).st_size
        if size > limit:
            raise DirectoryRefused(f"{where}{name}: {size} bytes, at most {limit} are allowed here")
        return _read_bounded(fd, limit, where + name)


def hold_file(dir_fd: int, name: str, size: int) -> SealedFile:
    """Read regular file `name` of exactly `size` bytes once, into sealed memory, and hash it on the way.

    Reading and hashing overlap in two threads.

    Raises:
        DirectoryRefused: missing, a link, not a regular file, or of another size; or there is no memory for it.
    """
    with _opened(dir_fd, name, name) as fd:
        found = os.fstat(fd).st_size
        if found != size:
            raise DirectoryRefused(f"{name}: {found} bytes, the document says {size}; deliver the directory again")
        held = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(held, size)
            digest = _fill(fd, held, size, name)
            fcntl.fcntl(held, fcntl.F_ADD_SEALS, _SEALS)
            return SealedFile(size, digest, mmap.mmap(held, size, prot=mmap.PROT_READ))
        finally:
            os.close(held)


def _fill(fd: int, held: int, size: int, name: str) -> str:
    """Copy `size` bytes of `fd` into `held` and return their sha256 (hex); one chunk is hashed as the next is read."""
    digest, done = hashlib.sha256(), 0
    with mmap.mmap(held, size) as memory, memoryview(memory) as view, ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(_read_chunk, fd, view, 0)
        while done < size:
            count = ahead.result()
            if not count:
                raise DirectoryRefused(f"{name}: shrank while it was read; stop whatever writes there")
            begin, done = done, done + count
            ahead = reader.submit(_read_chunk, fd, view, done)
            with view[begin:done] as chunk:
                digest.update(chunk)
        if ahead.result() or os.pread(fd, 1, size):
            raise DirectoryRefused(f"{name}: grew while it was read; stop whatever writes there")
    return digest.hexdigest()


def _read_chunk(fd: int, view: memoryview, at: int) -> int:
    with view[at : at + CHUNK_BYTES] as chunk:
        return os.preadv(fd, [chunk], at) if len(chunk) else 0


@contextmanager
def _opened(dir_fd: int, name: str, shown: str) -> Iterator[int]:
    """Give a descriptor of a regular file; whatever the system says inside the block is told in one line."""
    try:
        fd = os.open(name, _FILE, dir_fd=dir_fd)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise DirectoryRefused(f"{shown}: not a regular file; deliver the directory again")
            yield fd
        finally:
            os.close(fd)
    except OSError as error:
        raise _refused(shown, error) from error


def _read_bounded(fd: int, limit: int, shown: str) -> bytes:
    parts: list[bytes] = []
    left = limit + 1
    while left > 0 and (part := os.read(fd, min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    if left <= 0:
        raise DirectoryRefused(f"{shown}: grew while it was read; stop whatever writes there")
    return b"".join(parts)


def _refused(shown: str, error: OSError) -> DirectoryRefused:
    if error.errno == errno.ELOOP:
        return DirectoryRefused(f"{shown}: a link; only regular files are accepted")
    if error.errno == errno.ENOENT:
        unsigned = " (nobody has signed it yet?)" if shown == SIGNATURES else ""
        return DirectoryRefused(f"{shown}: missing{unsigned}; deliver the directory again")
    return DirectoryRefused(f"{shown}: {error.strerror}; deliver the directory again")
