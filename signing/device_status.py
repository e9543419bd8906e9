"""What a device tells its fleet (docs/interfaces/fleet-documents-1.md): the content under signing/status_note.py. Pure.

A status is news, never an order: nothing on the device or in the fleet changes because one arrived or did not.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from signing.approval import require_utc
from signing.errors import DocumentInvalid
from signing.manifest import SHOWN, Sha256Hex
from signing.permission import Line, Pair, Utc

MOST_PAIRS = 64

Count = Annotated[int, Meta(ge=0, le=2**53)]
Seconds = Annotated[float, Meta(ge=0.0, le=1e10)]
Brief = Annotated[str, Meta(max_length=200, pattern=rf"^{SHOWN}*\Z")]
Digest = Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")]


class Running(Struct, frozen=True, forbid_unknown_fields=True):
    """The bundle or recipe that is active."""

    digest: Sha256Hex
    name: Brief = ""
    version: Brief = ""


class Held(Struct, frozen=True, forbid_unknown_fields=True):
    """A pair in the store that could become active."""

    bundle: Sha256Hex
    recipe: Sha256Hex

    @property
    def pair(self) -> Pair:
        return Pair(self.bundle, self.recipe)


class Failed(Struct, frozen=True, forbid_unknown_fields=True):
    """A pair that this device tried and could not install or activate, and why."""

    bundle: Sha256Hex
    recipe: Sha256Hex
    why: Brief

    @property
    def pair(self) -> Pair:
        return Pair(self.bundle, self.recipe)


class Qualification(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether the line is qualified for what it runs; `until` is "" where no end is set."""

    state: Literal["none", "valid", "expired", "failed"] = "none"
    until: Brief = ""


class DeviceStatus(Struct, frozen=True, forbid_unknown_fields=True, tag_field="document", tag="device-status"):
    """One device at one moment.

    device: its name, as in [updates].device; the id of its key is in the signature's certificate.
    number: grows with every status of a device, so that of two the newer is known without a clock.
    plan: digest of the plan that runs, "" if none. state: PackML state of the line, "" if `line` does not answer.
    spool_s: age in s of the oldest record that the site archive does not have yet, None without an archive.
    timestamp: version of the newest TUF timestamp that `slots` trusted; signed_at: its signed time, "" if none.
    floor: where the versions are anchored against roll-back. generation: of the store, the active one.
    configuration: digest of the configuration of the newest batch or sub-lot, "" before the first.
    """

    format: Literal[1]
    device: Line
    line: Line
    utc: Utc
    number: Count
    software: Brief = ""
    bundle: Running | None = None
    recipe: Running | None = None
    plan: Digest = ""
    mode: Brief = ""
    state: Brief = ""
    qualification: Qualification = Qualification()
    spool_s: Seconds | None = None
    installed: Annotated[tuple[Held, ...], Meta(max_length=MOST_PAIRS)] = ()
    failed: Annotated[tuple[Failed, ...], Meta(max_length=MOST_PAIRS)] = ()
    pinned: bool = False
    timestamp: Count = 0
    signed_at: Brief = ""
    floor: Literal["tpm", "file", "none"] = "none"
    generation: Count = 0
    configuration: Digest = ""
    alarms: Count = 0
    development: bool = False

    @property
    def pair(self) -> Pair | None:
        """The pair that is active, None if there is none."""
        return Pair(self.bundle.digest, self.recipe.digest) if self.bundle and self.recipe else None


def as_document(status: DeviceStatus) -> dict[str, Any]:
    """Return what `status_note.sign` signs."""
    document: dict[str, Any] = msgspec.to_builtins(status)
    return document


def read_device_status(document: object, where: str) -> DeviceStatus:
    """Return the status in a document whose signature holds.

    Raises:
        DocumentInvalid: not a device status of format 1.
        SignatureInvalid: its time is none.
    """
    try:
        found = msgspec.convert(document, DeviceStatus, strict=True)
    except msgspec.ValidationError as error:
        raise DocumentInvalid(f"{where}: {error}; update the device or these tools") from error
    require_utc(found.utc, where)
    return found
