"""A file of any length that is there whole or not at all, also after a power cut."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from provisioning.errors import CommandFailed
from signing.durable import sync_directory


class NotWritten(CommandFailed):
    """A file could not be written; the text names it and says why. What was there before is untouched."""


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """Yield a text file that becomes `path` when the block ends well.

    Raises:
        NotWritten: the folder is missing, full or not writable.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)
    except OSError as error:
        raise NotWritten(f"{path}: not written: {error.strerror or error}; name another folder or make room") from error
