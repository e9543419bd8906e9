"""Words of the simulated PLC: settings, inputs, outputs, units. Times in us of its clock, encoder in counts (u32)."""

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

from drivers.registers import CHANNEL_SHIFT

MAX_U32 = 0xFFFFFFFF


class Cause(enum.IntEnum):
    """Why a unit was not passed, values as in the map."""

    NONE = 0
    NO_PERMIT = 1
    HEARTBEAT_STALE = 2
    WRONG_EPOCH = 3
    BAD_CHECK = 4
    FOREIGN_DEVICE = 5
    AUTHORITY = 6
    RESTART = 7
    MODE = 8
    TOO_CLOSE = 9
    OFF_POCKET = 10
    LOST = 11
    STRAY_BODY = 12


class Flag(enum.IntFlag):
    """Flags of a closed unit, bits as in the map."""

    NONE = 0
    PERMITTED = 1
    DIVERTED = 2
    CHUTE_SEEN = 4
    PASS_SEEN = 8
    PHANTOM = 16
    SURVIVED_RESTART = 32


class Key(enum.IntEnum):
    """The key switch `inspection authority`."""

    LEGACY = 0
    BOTH = 1
    LINEWARDEN = 2


class Step(enum.IntEnum):
    """What happened to a unit, for the truth log."""

    CREATED = 0
    PERMIT_SEEN = 1
    DECIDED = 2
    CLOSED = 3


class Place(NamedTuple):
    """Where a trigger station's camera stands, in counts from the infeed eye of its lane.

    It is fired for each unit of that lane `shots` times, `pitch` counts apart. On a carrier one frame may show a
    `group` of pockets, of the lanes `beside` too: then it is fired once for all units in them, when the first pocket, a
    multiple of `group`, is at `at`.
    """

    station: int
    at: int
    lane: int = 0
    shots: int = 1
    pitch: int = 0
    group: int = 1
    beside: tuple[int, ...] = ()


class ResyncEye(NamedTuple):
    """An eye before the gate: its place, and how far from it a unit may be seen, in counts."""

    at: int
    window: int


@dataclass(frozen=True, slots=True)
class PlcSpec:
    """What the integrator sets in the PLC. All distances in encoder counts from the infeed eye.

    `decide` is the gate less the ejector's lead, `release`
    where the gate falls back behind a passed unit. A unit that follows a diverted one by less than `clear` is diverted
    too: one movement of the gate cannot part them. A unit that nobody saw, nearer than `phantom` to one that was seen,
    never had a body.

    Optional: re-sync `eyes` in the order in which units come by; a rotary machine's `pockets` and counts of one `turn`.
    """

    identity: int
    device_identity: int
    lanes: int
    stations: tuple[Place, ...]
    decide: int
    release: int
    chute_eye: int
    pass_eye: int
    window: int
    clear: int
    phantom: int
    eyes: tuple[ResyncEye, ...] = ()
    pockets: int = 0
    turn: int = 0


@dataclass(frozen=True, slots=True)
class Latch:
    """One edge of an eye as the counter module latched it."""

    time_us: int
    encoder: int
    lane: int = 0


@dataclass(frozen=True, slots=True)
class Compare:
    """An order to the counter module: pulse the trigger output at an encoder count, or at a time for sync shots."""

    station: int
    encoder: int
    at_us: int | None
    epoch: int
    lane: int
    number: int
    shot: int


@dataclass(frozen=True, slots=True)
class Fired:
    """The counter module pulsed a trigger output."""

    compare: Compare
    time_us: int
    encoder: int


@dataclass(slots=True)
class Inputs:
    """Latched since the last scan, in order of time; `encoder` and the switches are levels.

    `switches` is the word of digital inputs, 1 = as it should be and where nothing is wired.
    `eyes` holds (re-sync eye, latch); `carrier` is where a rotary machine stands, in counts of its turn.
    """

    encoder: int = 0
    carrier: int = 0
    infeed: list[Latch] = field(default_factory=list)
    chute: list[Latch] = field(default_factory=list)
    passed: list[Latch] = field(default_factory=list)
    eyes: list[tuple[int, Latch]] = field(default_factory=list)
    fired: list[Fired] = field(default_factory=list)
    authority: int = Key.LINEWARDEN
    legacy_accept: bool = False
    guard_closed: bool = True
    switches: int = 0xFFFF


@dataclass(frozen=True, slots=True)
class UnitEvent:
    """One step of one unit."""

    step: Step
    lane: int
    epoch: int
    number: int
    flags: int
    cause: int


@dataclass(slots=True)
class Outputs:
    """Levels after a scan, and what the scan ordered and did.

    By lane: `gates`, True = energised = pass; `channels`, where a diverted unit goes, empty where there is one only.

    The object is the PLC's and changes with the next scan; the lists are new each time.
    """

    gates: list[bool]
    channels: list[int] = field(default_factory=list)
    lamps: int = 0
    belt: bool = False
    infeed: bool = False
    armed: list[Compare] = field(default_factory=list)
    events: list[UnitEvent] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Unit:
    """One unit between infeed eye and its confirmation.

    `encoder` was latched at the infeed eye and is corrected at each re-sync eye; `eye` is the next of those.
    """

    lane: int
    epoch: int
    number: int
    encoder: int
    slot: int
    slot_at: int
    flags: Flag = Flag.NONE
    cause: Cause = Cause.NONE
    permit_seen: bool = False
    channel: int = 0
    eye: int = 0
    pocket: int = 0
    barred: Cause = Cause.NONE

    def bar(self, cause: Cause) -> None:
        """Whatever the device says, this unit does not pass; the first cause stands."""
        self.barred = self.barred or cause

    @property
    def word(self) -> int:
        """Flags and channel as the closed ring has them."""
        return int(self.flags) | self.channel << CHANNEL_SHIFT

    @property
    def seen(self) -> bool:
        """Whether an eye behind the gate saw it."""
        return bool(self.flags & (Flag.CHUTE_SEEN | Flag.PASS_SEEN))

    def travelled(self, encoder: int) -> int:
        """Counts from the infeed eye to where it is at that encoder value."""
        return (encoder - self.encoder) & MAX_U32

    def gap(self, other: "Unit") -> int:
        """Counts between two units, whichever is ahead."""
        return min((self.encoder - other.encoder) & MAX_U32, (other.encoder - self.encoder) & MAX_U32)
