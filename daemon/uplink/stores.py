"""What an archive's place must be able to do. Two bodies: a folder (directory.py) and an S3 bucket (s3.py)."""

from collections.abc import Iterator
from typing import Protocol


class StoreError(Exception):
    """The place does not answer or has no room; nothing is lost, try again later."""


class StoreConflict(Exception):
    """The place holds something else under that name. Never overwritten; a person has to look."""


class Store(Protocol):
    """A place that only grows. Paths are relative, with `/`; one process at a time writes. Digests: sha256, hex.

    Raises (all): StoreError.
    """

    @property
    def name(self) -> str:
        """The target as it goes on record."""

    @property
    def warning(self) -> str:
        """What a technician should know of this place, "" for nothing."""

    def put(self, path: str, data: bytes, sha256: str) -> None:
        """Make `data` durable under `path`. The same again is no error.

        Raises:
            StoreConflict: something else is there already.
        """

    def digest(self, path: str) -> str | None:
        """Return the digest of what is there now, None for nothing."""

    def get(self, path: str) -> bytes:
        """Return what is there."""

    def listing(self, folder: str, after: str = "") -> Iterator[str]:
        """Yield the paths of the files beneath `folder` that sort behind `after`, sorted."""

    def close(self) -> None:
        """Give back what is open."""
