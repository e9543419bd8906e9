"""Words of the site acceptance test: what it plays and what it says. Read by `linewarden qualify sat`."""

import enum

import msgspec


class Case(enum.StrEnum):
    """What is done to one unit. Every case but the two controls must end in the reject chute."""

    CONTROL = "control"
    NO_PERMIT = "no-permit"
    STALE_PERMIT = "stale-permit"
    HEARTBEAT_STOPPED = "heartbeat-stopped"
    LINK_CUT = "link-cut"
    SHIFTED_SLOT = "shifted-slot"
    SHIFTED_UNIT = "shifted-unit"
    OLD_EPOCH = "old-epoch"
    EPOCH_CHANGED = "epoch-changed"
    TORN_WRITE = "torn-write"
    WRONG_CHECK = "wrong-check"
    FOREIGN_DEVICE = "foreign-device"
    CONTROL_AGAIN = "control-again"

    @property
    def must_pass(self) -> bool:
        """Whether the unit must pass the gate."""
        return self in (Case.CONTROL, Case.CONTROL_AGAIN)


PLAYED = {
    Case.CONTROL: "a valid permit: the unit must pass",
    Case.NO_PERMIT: "nothing is written",
    Case.STALE_PERMIT: "a valid permit, then 150 ms without a heartbeat, then heartbeats again",
    Case.HEARTBEAT_STOPPED: "a valid permit, then no heartbeat until the unit is gone",
    Case.LINK_CUT: "a valid permit, then the connection is closed for 300 ms",
    Case.SHIFTED_SLOT: "the unit's permit stands in the slot of the unit behind it",
    Case.SHIFTED_UNIT: "the permit of the unit behind it stands in the unit's slot",
    Case.OLD_EPOCH: "the unit's permit in its slot, made for the epoch before",
    Case.EPOCH_CHANGED: "a valid permit, then a new epoch, then a permit of the new epoch",
    Case.TORN_WRITE: "only the first half of a permit is written",
    Case.WRONG_CHECK: "one bit of the check word is wrong",
    Case.FOREIGN_DEVICE: "heartbeats carry another device's identity; the permit is valid",
    Case.CONTROL_AGAIN: "a valid permit at the end: the unit must pass",
}


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """What happens now, for the person who watches."""

    case: str
    text: str


class Result(msgspec.Struct, frozen=True, tag="result"):
    """One case: the unit, what the PLC's closed ring and its eyes say of it, and whether that is right."""

    case: Case
    epoch: int
    lane: int
    number: int
    flags: list[str]
    cause: str
    ok: bool
    text: str


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The test cannot go on; the text says what to do. What was played until then stands."""

    text: str


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """All cases were played. `strays`: units or bodies beside them that went past the gate."""

    strays: int
    plc_identity: int
    plc_starts: int


Word = Progress | Result | Refused | Finished


def line(word: Word) -> bytes:
    """Return a word as one line of JSON."""
    return msgspec.json.encode(word) + b"\n"


def word(data: bytes) -> Word:
    """Read one line.

    Raises:
        ValueError: not one of our words.
    """
    try:
        return msgspec.json.decode(data, type=Word)  # type: ignore[no-any-return]  # a union is a type here
    except msgspec.DecodeError as error:
        raise ValueError(f"{data[:80]!r}: {error}") from error
