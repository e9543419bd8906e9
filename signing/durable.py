"""Files that a power cut leaves whole: the old bytes or the new ones, never a part."""

import os
from pathlib import Path

SHOWN = 0o644
SECRET = 0o600


def write_durably(path: Path, data: bytes | memoryview, mode: int = SHOWN) -> None:
    """Write `path` under a temporary name, fsync it, rename it and fsync the folder.

    Raises:
        OSError: the folder is missing, full or not writable; `path` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink()
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make what was created, renamed or removed in this folder survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
