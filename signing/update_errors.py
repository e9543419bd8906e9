"""What can be wrong with an update, named by what the caller must do, and how TUF's own exceptions become that.

Every message is one line and names TUF's exception, so that a log says which rule of TUF held.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from tuf.api.exceptions import DownloadError, DownloadLengthMismatchError, RepositoryError

from signing.errors import SigningError


class UpdateError(SigningError):
    """Root: nothing was installed, and what is installed stays."""


class UpdateRefused(UpdateError):
    """What the repository or the stick says is not acceptable: have it published again, and ask who changed it."""


class RollbackRefused(UpdateRefused):
    """Older than what this device has seen, by its version floor: use a newer repository or stick."""


class FetchFailed(UpdateError):
    """The repository or the stick did not give a file: try again, or mend the way to it."""


class PlaceFailed(UpdateError):
    """The device's own folder cannot be read or written: make room or mend the disk."""


class FloorFailed(UpdateError):
    """The version floor cannot be read or written: no update until it can, or until the device is enrolled again."""


def one_line(text: object) -> str:
    return " ".join(str(text).split())


@contextmanager
def told(where: str) -> Iterator[None]:
    """Translate everything python-tuf, the network and the disk raise while an update is read.

    Args:
        where: the repository or stick, as a person knows it.
    """
    try:
        yield
    except (RepositoryError, DownloadLengthMismatchError, ValueError, TypeError) as error:
        # TypeError: python-tuf looks at the type of some signed names only when it uses them.
        raise UpdateRefused(f"{where}: refused, {_named(error)}; nothing was changed") from error
    except DownloadError as error:
        raise FetchFailed(f"{where}: {_named(error)}; mend the way to it, or try again") from error
    except OSError as error:
        raise PlaceFailed(f"{where}: {_named(error)}; nothing was changed, make room or mend the disk") from error


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)[:400]}"
