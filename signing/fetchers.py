"""Two ways to the files of a repository: a folder or stick, the mirror of what was fetched. (HTTP: http_fetcher.py.)

Paths are those inside the repository (`metadata/timestamp.json`). Nothing here judges what it reads, but for its size:
no answer is read past the limit given, and small files go to memory, never to a temporary file.
"""

import errno
import os
import re
import stat
from abc import abstractmethod
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError
from tuf.ngclient import FetcherInterface

from signing.durable import sync_directory, write_durably

TIMESTAMP = "metadata/timestamp.json"
CHUNK_BYTES = 1 << 20
_STEP = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}\Z")
_MISSING = 404
_LINK = (errno.ELOOP, errno.EMLINK)
Bytes = Generator[bytes, None, None]


def steps(path: str) -> list[str]:
    """Split a path of the repository, every step of which is a plain name.

    Raises:
        DownloadError: absolute, `..`, hidden or with characters no repository of ours has.
    """
    names = path.split("/")
    if not all(_STEP.match(name) for name in names):
        raise DownloadError(f"{path[:120]!r} is no path of a repository")
    return names


class Fetcher(FetcherInterface):
    """What `signing.freshness` reads a repository through. `where` names it in messages."""

    where: str

    @abstractmethod
    def open_from(self, path: str, start: int) -> tuple[int, Bytes]:
        """Begin to read `path` at byte `start`.

        Returns:
            Where the bytes really begin (0 when the other side cannot begin elsewhere), and the bytes.

        Raises:
            DownloadHTTPError: 404 where there is none.
            DownloadError: it cannot be read; may come in the middle as well.
        """

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Read a whole small file.

        Raises:
            DownloadLengthMismatchError: more than `max_length` bytes came; the rest was not read.
        """
        _, chunks = self.open_from(url, 0)
        read = bytearray()
        with closing(chunks):
            for chunk in chunks:
                read += chunk
                if len(read) > max_length:
                    raise DownloadLengthMismatchError(f"{url} is longer than the {max_length} bytes it may have")
        return bytes(read)

    def _fetch(self, url: str) -> Iterator[bytes]:
        return self.open_from(url, 0)[1]

    def keep(self) -> None:
        """What was read since the last call is verified: a mirror stores it now. Before the reader commits to it."""

    def forget(self) -> None:
        """What was read since the last `keep` is not acceptable."""


class FileFetcher(Fetcher):
    """A repository in a folder: a stick, or `incoming/`. Links are refused, on any step below the folder.

    The file system of a stick is hostile: what is opened is a regular file reached through real folders only.
    """

    def __init__(self, folder: Path) -> None:
        self.where = str(folder)
        self._folder = folder

    def open_from(self, path: str, start: int) -> tuple[int, Bytes]:
        with _as_download(path):
            fd = _opened(self._folder, steps(path))
        return start, _chunks(os.fdopen(fd, "rb", buffering=0), path, start)


def _opened(folder: Path, names: list[str]) -> int:
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in names[:-1]:
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = below
        fd = os.open(names[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    finally:
        os.close(at)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise DownloadError(f"{'/'.join(names)} is no regular file")
    return fd


def _chunks(file: BinaryIO, path: str, start: int) -> Bytes:
    with file, _as_download(path):
        file.seek(start)
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


@contextmanager
def _as_download(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DownloadHTTPError(f"no {path}", _MISSING) from error
    except OSError as error:
        link = error.errno in (*_LINK, errno.ENOTDIR)
        why = "is a link or lies behind one" if link else f"cannot be read ({error.strerror})"
        raise DownloadError(f"{path} {why}") from error


class MirrorFetcher(Fetcher):
    """Reads through `inner` and keeps every small file that was verified in `into`, in the repository's layout.

    Blobs are not kept here: fetch them into `into/blobs`. `metadata/timestamp.json` is written last, so who reads
    `into` meanwhile sees the old state or the whole new one. If `into` is emptied, empty the reader's own metadata too:
    what that has is not fetched again.
    """

    def __init__(self, inner: Fetcher, into: Path) -> None:
        self.where = inner.where
        self._inner = inner
        self._into = into
        self._read: dict[str, bytes] = {}

    def open_from(self, path: str, start: int) -> tuple[int, Bytes]:
        return self._inner.open_from(path, start)

    def download_bytes(self, url: str, max_length: int) -> bytes:
        data = self._inner.download_bytes(url, max_length)
        self._read[url] = data
        return data

    def keep(self) -> None:
        for path in sorted(self._read, key=lambda path: path == TIMESTAMP):
            write_under(self._into, path, self._read[path])
        self._read.clear()

    def forget(self) -> None:
        self._read.clear()


def write_under(folder: Path, path: str, data: bytes) -> None:
    """Write a file of the repository durably below `folder`, unless it is there with these bytes.

    Raises:
        OSError: full, or not writable.
    """
    file = folder.joinpath(*steps(path))
    if file.is_file() and file.read_bytes() == data:
        return
    make_folder(file.parent)
    write_durably(file, data)


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents so that they survive a power cut."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_directory(folder.parent)
