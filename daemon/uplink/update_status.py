"""What uplink leaves in the state folder for people and for its next life; written only where it says something new."""

from pathlib import Path
from typing import Literal

import msgspec

from signing.durable import write_durably

FILE = "update-status.json"
REQUESTS, POLL_NOW = "requests-uplink", "poll-now"


class UpdateStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How updates stand. `linewarden update` shows it.

    utc: when this was written: at the last poll that changed something or that a person asked for.
    versions: root, timestamp, snapshot of the newest metadata that uplink verified; signed_at: its signed time.
    wanted_bytes: what was to be fetched for this line at that moment. next_s: seconds to the next poll of then.
    request: the last thing handed to `slots`; handed: what that was about.
    """

    format: Literal[1] = 1
    utc: str = ""
    ok: bool = True
    text: str = ""
    versions: tuple[int, int, int] = (0, 0, 0)
    signed_at: str = ""
    wanted_bytes: int = 0
    next_s: float = 0.0
    request: str = ""
    handed: str = ""


def read_update_status(state: Path) -> UpdateStatus:
    """Return what was left; an empty one where nothing can be read: then everything is looked at again."""
    try:
        return msgspec.json.decode((state / FILE).read_bytes(), type=UpdateStatus)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return UpdateStatus()


def differ(old: UpdateStatus, new: UpdateStatus) -> bool:
    """Return whether something besides the time changed."""
    return msgspec.structs.replace(new, utc=old.utc, next_s=old.next_s) != old


def write_update_status(state: Path, status: UpdateStatus) -> None:
    """Make it durable.

    Raises:
        OSError: the state folder cannot be written.
    """
    write_durably(state / FILE, msgspec.json.encode(status) + b"\n")


def asked_now(state: Path) -> bool:
    """Return whether `linewarden update check` wants a poll at once."""
    return (state / REQUESTS / POLL_NOW).exists()


def take_asked(state: Path) -> bool:
    """As `asked_now`, and take the wish away.

    Raises:
        OSError: it cannot be taken away.
    """
    try:
        (state / REQUESTS / POLL_NOW).unlink()
    except FileNotFoundError:
        return False
    return True
