"""The note that a restore leaves for the recorder: who brought these records back and why. It becomes an entry.

Without it a recorder whose TPM remembers other tree heads does not start: entries may have been cut off. With it the
anchor begins anew, and the trail says so for ever.
"""

from pathlib import Path

import msgspec

from signing.durable import write_durably

FILE = "restored.json"
NEW = 0


class Restored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`size` entries were brought back by `who`, NEW = a trail begins where another one was lost."""

    who: str
    role: str
    why: str
    size: int
    source: str


class NoteDamaged(Exception):
    """The note cannot be read; the text says what to do."""


def write(state: Path, note: Restored) -> None:
    """Leave the note; durable when it returns.

    Raises:
        OSError: the folder cannot be written.
    """
    write_durably(state / FILE, msgspec.json.encode(note))


def read(state: Path) -> Restored | None:
    """Return the note, None where nothing was restored.

    Raises:
        NoteDamaged: it is none.
    """
    path = state / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Restored)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise NoteDamaged(f"{path}: cannot be read ({error}): restore again, into an empty folder") from error


def remove(state: Path) -> None:
    """Take the note away; what it said is an entry by now."""
    (state / FILE).unlink(missing_ok=True)
