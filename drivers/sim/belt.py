"""The belt of the line in a box: vials, eyes, cameras, gate; physics as a function of time, no clock of its own.

Theory. The encoder counts belt travel. A vial enters at the infeed eye and then slips a little against the belt, so
its position is travel since entry plus a slip that wanders with distance; both are monotone, and the travel at which
it reaches a lens, the gate or an eye is known when it enters. Every event is therefore computed from that travel mark
with its exact time, as a hardware counter latches it, however late the caller asks.

The gate's rest position diverts. An order to the gate takes effect `actuator_ns` later; what counts is where the gate
stands when the middle of the vial reaches it. Nobody but this module decides where a vial physically ends.
"""

import enum
import heapq
import math
import random
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field

from drivers.sim.drive import Drive

FOREVER_NS = 1 << 62
WINDOW_MM = 20.0
SLIP_STEP_MM = 50.0
EMPTY_POCKETS = 0.1
PLAY_MM = 1.0


class Eye(enum.IntEnum):
    INFEED = 0
    CHUTE = 1
    PASS = 2
    RESYNC = 3


class End(enum.StrEnum):
    """Where a vial physically is at the end."""

    BELT = "belt"
    CHUTE = "chute"
    PASS = "pass"


@dataclass(frozen=True, slots=True)
class BeltSpec:
    """Mechanics of one lane. Positions in mm from the infeed eye; `cameras` in the order of the station document, `own`
    the indexes of those that look at this lane, None = all.

    `rate_per_min` is the lane's own. `gap_jitter` is the largest relative change of the pitch, `slip_mm` one sigma of a
    vial's slip after 300 mm, `lead_in_mm` what the first vial comes later. `vials` of all lanes together, 0 = endless.
    `pockets` of a rotary machine's carrier, 0 = a belt: vials stand within `PLAY_MM` of pocket centres, exactly
    `pitch_mm` apart, never slip, and about one pocket in ten is empty. `eyes_mm`: re-sync eyes.
    """

    rate_per_min: float
    counts_per_mm: float
    cameras: tuple[float, ...]
    gate_mm: float
    chute_eye_mm: float
    pass_eye_mm: float
    seed: int
    vials: int
    pictures: int
    pitch_mm: float = 60.0
    gap_jitter: float = 0.06
    slip_mm: float = 0.3
    drive_delay_ns: int = 30_000_000
    actuator_ns: int = 8_000_000
    encoder_start: int = 0
    lane: int = 0
    own: tuple[int, ...] | None = None
    lead_in_mm: float = 0.0
    pockets: int = 0
    eyes_mm: tuple[float, ...] = ()

    @property
    def looks(self) -> tuple[int, ...]:
        """Indexes of the cameras that look at this lane."""
        return tuple(range(len(self.cameras))) if self.own is None else self.own

    @property
    def speed_mm_s(self) -> float:
        return self.rate_per_min / 60.0 * self.pitch_mm

    @property
    def window_mm(self) -> float:
        """A vial stands before a lens within +- this much; windows of neighbours never overlap."""
        return min(WINDOW_MM, 0.45 * self.pitch_mm * (1.0 - self.gap_jitter))


@dataclass(frozen=True, slots=True)
class EyeEdge:
    """A body's middle reached an eye: exact time, encoder in counts (u32, wraps). `vial` is for the truth log only.

    `index` says which of several re-sync eyes.
    """

    eye: Eye
    at_ns: int
    encoder: int
    vial: int
    lane: int = 0
    index: int = 0


@dataclass(frozen=True, slots=True)
class Scene:
    """What stands before camera `camera` in [from_ns, to_ns); vial 0 = nothing."""

    camera: int
    from_ns: int
    to_ns: int
    vial: int


@dataclass(slots=True)
class Vial:
    """One vial. `*_at`: belt travels in mm where it is at the place; `end`, `channel` change at the gate only."""

    ordinal: int
    picture: int
    entered_ns: int
    entry_at: float
    lens_at: tuple[float, ...]
    gate_at: float
    chute_at: float
    pass_at: float
    lane: int = 0
    end: End = End.BELT
    channel: int = 0
    gate_ns: int = 0
    taken: bool = False


class _Mark(enum.IntEnum):
    INFEED = 0
    GATE = 1
    CHUTE = 2
    PASS = 3
    RESYNC = 4


_EYES = {mark: Eye[mark.name] for mark in _Mark if mark is not _Mark.GATE}
_LAST = (_Mark.CHUTE, _Mark.PASS)


@dataclass(slots=True)
class _Lens:
    """Windows of one camera still to come, and those announced: (from mm, to mm, vial, announced without an end)."""

    coming: deque[tuple[float, float, int]] = field(default_factory=deque)
    shown: list[tuple[float, float, int, bool]] = field(default_factory=list)


class Belt:
    """One lane. Calls must not go back in time. Lanes of one machine share `drive` and the list of `vials`."""

    def __init__(
        self, spec: BeltSpec, start_ns: int, drive: Drive | None = None, vials: "list[Vial] | None" = None
    ) -> None:
        self.spec = spec
        self._drive = drive or Drive(spec.speed_mm_s, spec.drive_delay_ns, start_ns)
        lane = f" {spec.lane}" if spec.lane else ""
        self._spacing = random.Random(f"{spec.seed} spacing{lane}")
        self._slip = random.Random(f"{spec.seed} slip{lane}")
        self._choice = random.Random(f"{spec.seed} pictures{lane}")
        self._marks: list[tuple[float, int, _Mark, Vial, int]] = []
        self._unseen: set[tuple[Eye, int]] = set()
        self._sequence = 0
        self._lenses = {camera: _Lens() for camera in spec.looks}
        self._gate: deque[tuple[int, bool]] = deque([(start_ns, False)], maxlen=64)
        self._chute: deque[tuple[int, int]] = deque([(start_ns, 0)], maxlen=64)
        self._ordered = self._replanned = False
        self._infeed_open = False
        self._pocket_mm = 0.0
        self._next_entry = self._in_pocket(1) if spec.pockets else spec.lead_in_mm + self._gap()
        self.vials: list[Vial] = [] if vials is None else vials
        self.on_belt = 0
        self._ended = {True: 0, False: 0}

    @property
    def ended(self) -> tuple[int, int]:
        """Vials that passed the gate and vials that were diverted."""
        return self._ended[True], self._ended[False]

    @property
    def exhausted(self) -> bool:
        """True when no vial will enter any more."""
        return bool(self.spec.vials) and len(self.vials) >= self.spec.vials

    def run(self, running: bool, now_ns: int) -> None:
        """Order the drive; repeated orders change nothing."""
        self._drive.order(running, now_ns)
        self._replanned |= running != self._ordered
        self._ordered = running

    def open_infeed(self, opened: bool, now_ns: int) -> None:
        """Let vials in or hold them; a held vial enters right after the opening."""
        if opened and not self._infeed_open:
            self._held_until(self._drive.at(now_ns) + 1.0)
        self._infeed_open = opened

    def set_gate(self, passing: bool, now_ns: int) -> None:
        """Energise (pass) or release (divert) the gate; effective `actuator_ns` later."""
        if passing != self._gate[-1][1]:
            self._gate.append((now_ns + self.spec.actuator_ns, passing))

    def set_channel(self, channel: int, now_ns: int) -> None:
        """Turn the chute to a reject channel; effective `actuator_ns` later."""
        if channel != self._chute[-1][1]:
            self._chute.append((now_ns + self.spec.actuator_ns, channel))

    def bounce(self, ordinal: int, after_mm: float) -> None:
        """The infeed eye sees vial `ordinal` a second time `after_mm` later."""
        vial = self.vials[ordinal - 1]
        self._mark(vial.entry_at + after_mm, _Mark.INFEED, vial)

    def blind(self, ordinal: int, eye: Eye = Eye.INFEED) -> None:
        """That eye misses vial `ordinal` (which may not have entered yet)."""
        self._unseen.add((eye, ordinal))

    def pick(self, ordinal: int) -> None:
        """A hand takes the vial off the belt; the cameras may still show it for a moment."""
        for vial in [vial for vial in self.inside if vial.ordinal == ordinal]:
            vial.taken = True
            self.on_belt -= 1

    @property
    def inside(self) -> list[Vial]:
        """Vials between the infeed eye and the eyes behind the gate."""
        vials = {vial.ordinal: vial for _, _, mark, vial, _ in self._marks if mark is not _Mark.INFEED}
        return [vial for vial in vials.values() if not vial.taken]

    def advance(self, now_ns: int) -> list[EyeEdge]:
        """Return the eye edges up to now that were not returned yet, in order of time."""
        travel = self._drive.at(now_ns)
        while self._infeed_open and self._next_entry <= travel and not self.exhausted:
            self._enter()
        edges: list[EyeEdge] = []
        while self._marks and self._marks[0][0] <= travel:
            at_mm, _, mark, vial, index = heapq.heappop(self._marks)
            at_ns = min(self._drive.when(at_mm) or now_ns, now_ns)
            if vial.taken:
                continue
            if mark is _Mark.GATE:
                self._through_gate(vial, at_ns)
                continue
            self.on_belt -= mark in _LAST
            if (_EYES[mark], vial.ordinal) not in self._unseen:
                edges.append(EyeEdge(_EYES[mark], at_ns, self._counts(at_mm), vial.ordinal, vial.lane, index))
        return edges

    def scenes(self, now_ns: int, until_ns: int) -> list[Scene]:
        """Return the windows that begin before `until_ns` or changed their end, oldest first.

        `until_ns` must be less than the drive's delay ahead of now: then their beginnings are final.
        """
        found: list[Scene] = []
        limit = self._drive.at(until_ns)
        for camera, lens in self._lenses.items():
            if self._replanned and lens.shown:
                self._replan(camera, lens, self._drive.at(now_ns), found)
            while lens.coming and lens.coming[0][0] <= limit:
                self._announce(camera, lens, lens.coming.popleft(), found)
        self._replanned = False
        return found

    def before_lens(self, camera: int, at_ns: int) -> int:
        """Return the ordinal of the vial before the lens at a time of the last second, 0 if none."""
        travel, half = self._drive.at(at_ns), self.spec.window_mm
        for vial in reversed(self.vials):
            if vial.lane != self.spec.lane:
                continue
            at_mm = vial.lens_at[camera]
            if at_mm < travel - half:
                return 0
            if at_mm <= travel + half:
                return vial.ordinal
        return 0

    def encoder(self, at_ns: int) -> int:
        """Return the encoder in counts (u32, wraps)."""
        return self._counts(self._drive.at(at_ns))

    def time_of(self, encoder: int, near_ns: int) -> int | None:
        """Return when the encoder shows (showed) a count within 2**31 of its value at `near_ns`; None: not planned."""
        travel = self._drive.at(near_ns)
        ahead = ((encoder - self._counts(travel) + 0x80000000) & 0xFFFFFFFF) - 0x80000000
        whole = int(travel * self.spec.counts_per_mm)
        return self._drive.when((whole + ahead) / self.spec.counts_per_mm)

    def _counts(self, travel_mm: float) -> int:
        return (int(travel_mm * self.spec.counts_per_mm) + self.spec.encoder_start) & 0xFFFFFFFF

    def _gap(self) -> float:
        return self.spec.pitch_mm * (1.0 + self.spec.gap_jitter * self._spacing.uniform(-1.0, 1.0))

    def _in_pocket(self, further: int) -> float:
        """Return where the next vial stands, at least `further` pockets after the last one."""
        while self._spacing.random() < EMPTY_POCKETS:
            further += 1
        self._pocket_mm += further * self.spec.pitch_mm
        return self._pocket_mm + PLAY_MM * self._spacing.uniform(-1.0, 1.0)

    def _held_until(self, travel_mm: float) -> None:
        """No vial enters before that travel; on a carrier none but into a pocket."""
        if not self.spec.pockets:
            self._next_entry = max(self._next_entry, travel_mm)
        elif self._next_entry < travel_mm:
            self._next_entry = self._in_pocket(math.ceil((travel_mm + PLAY_MM - self._pocket_mm) / self.spec.pitch_mm))

    def carrier(self, at_ns: int) -> int:
        """Return how far the carrier has turned since pocket 0 stood at the infeed eye, in counts of its turn."""
        turn_mm = self.spec.pockets * self.spec.pitch_mm
        return int(self._drive.at(at_ns) % turn_mm * self.spec.counts_per_mm) if turn_mm else 0

    def _mark(self, at_mm: float, mark: _Mark, vial: Vial, index: int = 0) -> None:
        self._sequence += 1
        heapq.heappush(self._marks, (at_mm, self._sequence, mark, vial, index))

    def _enter(self) -> None:
        spec, entry = self.spec, self._next_entry
        places = self._places(entry)
        vial = Vial(
            ordinal=len(self.vials) + 1,
            picture=self._choice.randrange(spec.pictures),
            entered_ns=self._drive.when(entry) or 0,
            entry_at=entry,
            lens_at=tuple(places(position) for position in spec.cameras),
            gate_at=places(spec.gate_mm),
            chute_at=places(spec.chute_eye_mm),
            pass_at=places(spec.pass_eye_mm),
            lane=spec.lane,
        )
        self.vials.append(vial)
        self.on_belt += 1
        self._next_entry = self._in_pocket(1) if spec.pockets else entry + self._gap()
        self._mark(entry, _Mark.INFEED, vial)
        self._mark(vial.gate_at, _Mark.GATE, vial)
        for index, position in enumerate(spec.eyes_mm):
            self._mark(places(position), _Mark.RESYNC, vial, index)
        half = spec.window_mm
        for camera, lens in self._lenses.items():
            at_mm = vial.lens_at[camera]
            lens.coming.append((at_mm - half, at_mm + half, vial.ordinal))

    def _places(self, entry: float) -> "_Places":
        steps = int(max(self.spec.pass_eye_mm, self.spec.chute_eye_mm) / SLIP_STEP_MM) + 2
        slip_mm = 0.0 if self.spec.pockets else self.spec.slip_mm
        sigma = slip_mm * (SLIP_STEP_MM / 300.0) ** 0.5
        return _Places(entry, [self._slip.gauss(0.0, sigma) for _ in range(steps)])

    def _through_gate(self, vial: Vial, at_ns: int) -> None:
        passing = next((state for since, state in reversed(self._gate) if since <= at_ns), False)
        self._ended[passing] += 1
        vial.end, vial.gate_ns = (End.PASS if passing else End.CHUTE), at_ns
        if not passing:
            vial.channel = next((channel for since, channel in reversed(self._chute) if since <= at_ns), 0)
        self._mark(*((vial.pass_at, _Mark.PASS) if passing else (vial.chute_at, _Mark.CHUTE)), vial)

    def _announce(self, camera: int, lens: _Lens, window: tuple[float, float, int], found: list[Scene]) -> None:
        start, end, vial = window
        to_ns = self._drive.when(end)
        lens.shown = [*lens.shown[-3:], (start, end, vial, to_ns is None)]
        found.append(Scene(camera, self._drive.when(start) or 0, to_ns or FOREVER_NS, vial))

    def _replan(self, camera: int, lens: _Lens, travel: float, found: list[Scene]) -> None:
        """The drive's plan changed: windows that are open get a new end, or lose it while the belt stands.

        The newest valid entry is what a camera sees, so the end of an endless one is a background that begins there.
        """
        shown, lens.shown = lens.shown, []
        for start, end, vial, endless in shown:
            if end < travel:
                continue
            to_ns = self._drive.when(end)
            if endless and to_ns is not None:
                found.append(Scene(camera, to_ns, FOREVER_NS, 0))
            else:
                found.append(Scene(camera, self._drive.when(start) or 0, to_ns or FOREVER_NS, vial))
            lens.shown.append((start, end, vial, to_ns is None))


class _Places:
    """Belt travel at which one vial reaches a position; slip is a random walk with a step each SLIP_STEP_MM."""

    def __init__(self, entry: float, steps: list[float]) -> None:
        self._entry = entry
        self._reached = [0.0]
        slip = 0.0
        for index, step in enumerate(steps, start=1):
            slip += step
            self._reached.append(index * SLIP_STEP_MM + slip)

    def __call__(self, position_mm: float) -> float:
        index = max(0, min(bisect_right(self._reached, position_mm) - 1, len(self._reached) - 2))
        low, high = self._reached[index], self._reached[index + 1]
        return self._entry + (index + (position_mm - low) / (high - low)) * SLIP_STEP_MM
