"""Blobs by sha256: resumed where they were cut, whole and durable under their own name or not there at all."""

import hashlib
import os
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from tuf.api.exceptions import DownloadError, DownloadLengthMismatchError, LengthOrHashMismatchError

from signing.durable import SHOWN, sync_directory
from signing.fetchers import CHUNK_BYTES, Fetcher
from signing.update_errors import PlaceFailed

Tell = Callable[[int], None]


def held(folder: Path, sha256: str, size: int) -> bool:
    """Return whether the blob is there. Its name is its digest, and only whole verified bytes get that name."""
    try:
        found = os.lstat(folder / sha256)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == size


def take_blob(fetcher: Fetcher, sha256: str, size: int, into: Path, tell: Tell) -> None:
    """Bring one blob to `into/<sha256>`. A part left by an earlier cut that proves wrong is fetched anew, once.

    Raises:
        LengthOrHashMismatchError, DownloadLengthMismatchError: wrong bytes came; they are removed.
        DownloadError: cut off; the part is kept as `.<sha256>.part`.
        PlaceFailed: the disk is full; the part is removed.
    """
    part = into / f".{sha256}.part"
    resumed = part.exists()
    try:
        _complete(fetcher, sha256, size, part, tell)
    except (LengthOrHashMismatchError, DownloadLengthMismatchError):
        part.unlink(missing_ok=True)
        if not resumed:
            raise
        take_blob(fetcher, sha256, size, into, tell)
        return
    os.replace(part, into / sha256)
    sync_directory(into)


def _complete(fetcher: Fetcher, sha256: str, size: int, part: Path, tell: Tell) -> None:
    try:
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, SHOWN)
        with os.fdopen(fd, "r+b") as file:
            found = _append(fetcher, f"blobs/{sha256}", size, file, tell)
            file.flush()
            os.fsync(fd)
    except DownloadError:
        if part.stat().st_size == 0:
            part.unlink()
        raise
    except OSError as error:
        part.unlink(missing_ok=True)
        raise PlaceFailed(f"{part}: not written ({error.strerror}); make room or mend the disk") from error
    if found != sha256:
        raise LengthOrHashMismatchError(f"blob {sha256[:12]} has the digest {found[:12]}")


def _append(fetcher: Fetcher, path: str, size: int, file: BinaryIO, tell: Tell) -> str:
    """Write what is missing of `path` and return the digest of the whole."""
    digest = hashlib.sha256()
    while piece := file.read(CHUNK_BYTES):
        digest.update(piece)
    have = file.tell()
    if have >= size:
        return digest.hexdigest() if have == size else f"of {have} bytes"
    start, chunks = fetcher.open_from(path, have)
    with closing(chunks):
        if start != have:
            file.seek(0)
            file.truncate()
            digest, have = hashlib.sha256(), 0
        for chunk in chunks:
            have += len(chunk)
            if have > size:
                raise DownloadLengthMismatchError(f"{path} is longer than the {size} bytes signed for it")
            file.write(chunk)
            digest.update(chunk)
            tell(have)
    if have < size:
        raise DownloadError(f"{path} was cut at {have} of {size} bytes; the part is kept")
    return digest.hexdigest()
