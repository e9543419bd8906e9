"""The lowest versions of TUF metadata this device still accepts, kept apart from the metadata itself.

python-tuf remembers what it has seen in plain files. Empty those, or begin with a new device, and an old repository
that has not expired is acceptable again. The floor is written at enrolment and raised with every update, in the TPM
where there is one (signing/tpm_floor.py), else in a file.

A floor that cannot be read refuses every update; it is never taken for no floor.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from signing.durable import write_durably
from signing.update_errors import FloorFailed, RollbackRefused

Part = Literal["timestamp", "snapshot"]
_HIGHEST = 0xFFFFFFFF


class Versions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Versions of root, timestamp and snapshot."""

    root: int
    timestamp: int
    snapshot: int

    def __post_init__(self) -> None:
        if not all(1 <= number <= _HIGHEST for number in (self.root, self.timestamp, self.snapshot)):
            raise ValueError(f"{self.text()} are no versions")

    def text(self) -> str:
        return f"root {self.root}, timestamp {self.timestamp}, snapshot {self.snapshot}"


class Floor(Protocol):
    """Where the floor is kept. `strength` is what `linewarden status` shows."""

    @property
    def strength(self) -> Literal["tpm", "file"]: ...

    def enrol(self, versions: Versions) -> None:
        """Write the first floor; where there is one already, keep what is higher.

        Raises:
            FloorFailed: not written.
        """

    def read(self) -> Versions:
        """Raise FloorFailed where it cannot be read or was never written."""

    def raise_to(self, versions: Versions) -> None:
        """Write `versions` if they differ. Only `checked` may say that one of them is lower.

        Raises:
            FloorFailed: not written.
        """


def checked(floor: Versions, seen: Versions, renewed: Collection[Part]) -> None:
    """Refuse what is older than the floor. Pure.

    Args:
        renewed: roles none of whose keys at the floor's root is one of the keys now. A thief of such a key could have
            published any high version; when root takes the key away, that version binds nobody (TUF 5.3.11).

    Raises:
        RollbackRefused: one line with both versions.
    """
    older = seen.root < floor.root
    for part in ("timestamp", "snapshot"):
        older |= part not in renewed and getattr(seen, part) < getattr(floor, part)
    if older:
        raise RollbackRefused(
            f"refused, RollbackRefused: metadata ({seen.text()}) is older than this device's floor ({floor.text()}); "
            "use a newer repository or stick"
        )


def highest(first: Versions, second: Versions) -> Versions:
    pairs = zip(msgspec.structs.astuple(first), msgspec.structs.astuple(second), strict=True)
    return Versions(*(max(pair) for pair in pairs))


@dataclass(frozen=True, slots=True)
class FileFloor:
    """The floor in a file: survives power cuts and an emptied cache, not someone who can write this disk."""

    path: Path
    strength: Literal["tpm", "file"] = "file"

    def enrol(self, versions: Versions) -> None:
        self._write(highest(self.read(), versions) if self.path.exists() else versions)

    def read(self) -> Versions:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Versions)
        except FileNotFoundError as error:
            raise FloorFailed(f"{self.path}: no version floor here; enrol the device (again)") from error
        except (OSError, msgspec.DecodeError) as error:
            raise FloorFailed(
                f"{self.path}: the version floor cannot be read ({error}); remove it and enrol again"
            ) from error

    def raise_to(self, versions: Versions) -> None:
        if self.read() != versions:
            self._write(versions)

    def _write(self, versions: Versions) -> None:
        try:
            write_durably(self.path, msgspec.json.encode(versions))
        except OSError as error:
            raise FloorFailed(f"{self.path}: the version floor is not written ({error}); make room") from error
