"""A signed directory, opened safely: the thin shell between the file system and `trust.py`.

Rules of this file:
  1. Every name is opened relative to a directory descriptor, never following a link, and must be a regular file.
  2. Every read is bounded before it starts, and what was read is what is handed on; nothing is opened twice.
  3. The signatures are checked over the raw bytes before anybody parses them.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from signing.errors import DirectoryRefused, SigningError
from signing.trust import Role, Trust

MAX_DOCUMENT_BYTES = 1024 * 1024
MAX_SIGNATURE_BYTES = 256
MAX_ENTRIES = 256
SIGNATURES = "signatures"

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Document:
    """The raw bytes of a document whose signatures were checked."""

    name: str
    raw: bytes


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


def open_document(dir_fd: int, name: str, trust: Trust) -> Document:
    """Return the document `name` of the directory once both signatures hold over its bytes.

    Raises:
        DirectoryRefused: a file is missing, too large, or not a regular file.
        SignatureInvalid: a signature does not hold.
    """
    raw = read_file(dir_fd, name, MAX_DOCUMENT_BYTES)
    trust.check(name, raw, _read_signatures(dir_fd))
    return Document(name, raw)


def require_entries(dir_fd: int, expected: frozenset[str], where: str = "") -> None:
    """Refuse a directory that holds anything but `expected`.

    Raises:
        DirectoryRefused: an entry is unknown or absent.
    """
    found = _list(dir_fd, where)
    for stranger in sorted(found - expected):
        raise DirectoryRefused(f"{where}{stranger!r}: the signed document does not name this file; remove it")
    for absent in sorted(expected - found):
        raise DirectoryRefused(f"{where}{absent}: missing; deliver the directory again")


def read_file(dir_fd: int, name: str, limit: int, where: str = "") -> bytes:
    """Return the whole content of regular file `name`, at most `limit` bytes.

    Raises:
        DirectoryRefused: missing, a link, not a regular file, or larger than `limit`.
    """
    try:
        fd = os.open(name, _FILE, dir_fd=dir_fd)
    except OSError as error:
        raise _refused(where + name, error) from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise DirectoryRefused(f"{where}{name}: not a regular file; deliver the directory again")
        if status.st_size > limit:
            raise DirectoryRefused(f"{where}{name}: {status.st_size} bytes, at most {limit} are allowed here")
        return _read_bounded(fd, limit, where + name)
    except OSError as error:
        raise _refused(where + name, error) from error
    finally:
        os.close(fd)


def _read_bounded(fd: int, limit: int, shown: str) -> bytes:
    parts: list[bytes] = []
    left = limit + 1
    while left > 0 and (part := os.read(fd, min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    if left <= 0:
        raise DirectoryRefused(f"{shown}: grew while it was read; stop whatever writes there")
    return b"".join(parts)


def _read_signatures(dir_fd: int) -> dict[Role, bytes]:
    try:
        fd = os.open(SIGNATURES, _DIRECTORY, dir_fd=dir_fd)
    except OSError as error:
        raise _refused(SIGNATURES, error) from error
    try:
        where = SIGNATURES + "/"
        require_entries(fd, frozenset(f"{role}.sig" for role in Role), where)
        return {role: read_file(fd, f"{role}.sig", MAX_SIGNATURE_BYTES, where) for role in Role}
    finally:
        os.close(fd)


def _list(dir_fd: int, where: str) -> frozenset[str]:
    names: set[str] = set()
    with os.scandir(dir_fd) as entries:
        for entry in entries:
            names.add(entry.name)
            if len(names) > MAX_ENTRIES:
                raise DirectoryRefused(f"{where or '.'}: more than {MAX_ENTRIES} entries; this is no signed directory")
    return frozenset(names)


def _refused(shown: str, error: OSError) -> DirectoryRefused:
    if error.errno == errno.ELOOP:
        return DirectoryRefused(f"{shown}: a link; only regular files are accepted")
    if error.errno == errno.ENOENT:
        return DirectoryRefused(f"{shown}: missing; deliver the directory again")
    return DirectoryRefused(f"{shown}: {error.strerror}; deliver the directory again")
