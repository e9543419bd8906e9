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
import random
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field

from drivers.sim.drive import Drive

FOREVER_NS = 1 << 62
WINDOW_MM = 20.0
SLIP_STEP_MM = 50.0


class Eye(enum.IntEnum):
    INFEED = 0
    CHUTE = 1
    PASS = 2


class End(enum.StrEnum):
    """Where a vial physically is at the end."""

    BELT = "belt"
    CHUTE = "chute"
    PASS = "pass"


@dataclass(frozen=True, slots=True)
class BeltSpec:
    """Mechanics. Positions in mm from the infeed eye; `cameras` in the order of the station document.

    `gap_jitter` is the largest relative change of the pitch, `slip_mm` one sigma of a vial's slip after 300 mm.
    `vials` 0 = endless.
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

    @property
    def speed_mm_s(self) -> float:
        return self.rate_per_min / 60.0 * self.pitch_mm

    @property
    def window_mm(self) -> float:
        """A vial stands before a lens within +- this much; windows of neighbours never overlap."""
        return min(WINDOW_MM, 0.45 * self.pitch_mm * (1.0 - self.gap_jitter))


@dataclass(frozen=True, slots=True)
class EyeEdge:
    """A body's middle reached an eye: exact time, encoder in counts (u32, wraps). `vial` is for the truth log only."""

    eye: Eye
    at_ns: int
    encoder: int
    vial: int


@dataclass(frozen=True, slots=True)
class Scene:
    """What stands before camera `camera` in [from_ns, to_ns); vial 0 = nothing."""

    camera: int
    from_ns: int
    to_ns: int
    vial: int


@dataclass(slots=True)
class Vial:
    """One vial; `*_at` are belt travels in mm at which it reaches the place. `end` changes once, at the gate."""

    ordinal: int
    picture: int
    entered_ns: int
    entry_at: float
    lens_at: tuple[float, ...]
    gate_at: float
    chute_at: float
    pass_at: float
    end: End = End.BELT
    gate_ns: int = 0


class _Mark(enum.IntEnum):
    INFEED = 0
    GATE = 1
    CHUTE = 2
    PASS = 3


_EYES = {_Mark.INFEED: Eye.INFEED, _Mark.CHUTE: Eye.CHUTE, _Mark.PASS: Eye.PASS}


@dataclass(slots=True)
class _Lens:
    """Windows of one camera still to come, and those announced: (from mm, to mm, vial, announced without an end)."""

    coming: deque[tuple[float, float, int]] = field(default_factory=deque)
    shown: list[tuple[float, float, int, bool]] = field(default_factory=list)


class Belt:
    """Owned by the box's loop. Calls must not go back in time."""

    def __init__(self, spec: BeltSpec, start_ns: int) -> None:
        self.spec = spec
        self._drive = Drive(spec.speed_mm_s, spec.drive_delay_ns, start_ns)
        self._spacing = random.Random(f"{spec.seed} spacing")
        self._slip = random.Random(f"{spec.seed} slip")
        self._choice = random.Random(f"{spec.seed} pictures")
        self._marks: list[tuple[float, int, _Mark, Vial]] = []
        self._sequence = 0
        self._lenses = [_Lens() for _ in spec.cameras]
        self._gate: deque[tuple[int, bool]] = deque([(start_ns, False)], maxlen=64)
        self._replanned = False
        self._infeed_open = False
        self._next_entry = self._gap()
        self.vials: list[Vial] = []
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
        self._replanned |= self._drive.order(running, now_ns)

    def open_infeed(self, opened: bool, now_ns: int) -> None:
        """Let vials in or hold them; a held vial enters right after the opening."""
        if opened and not self._infeed_open:
            self._next_entry = max(self._next_entry, self._drive.at(now_ns) + 1.0)
        self._infeed_open = opened

    def set_gate(self, passing: bool, now_ns: int) -> None:
        """Energise (pass) or release (divert) the gate; effective `actuator_ns` later."""
        if passing != self._gate[-1][1]:
            self._gate.append((now_ns + self.spec.actuator_ns, passing))

    def bounce(self, ordinal: int, after_mm: float) -> None:
        """The infeed eye sees vial `ordinal` a second time `after_mm` later."""
        vial = self.vials[ordinal - 1]
        self._mark(vial.entry_at + after_mm, _Mark.INFEED, vial)

    def advance(self, now_ns: int) -> list[EyeEdge]:
        """Return the eye edges up to now that were not returned yet, in order of time."""
        travel = self._drive.at(now_ns)
        while self._infeed_open and self._next_entry <= travel and not self.exhausted:
            self._enter()
        edges: list[EyeEdge] = []
        while self._marks and self._marks[0][0] <= travel:
            at_mm, _, mark, vial = heapq.heappop(self._marks)
            at_ns = min(self._drive.when(at_mm) or now_ns, now_ns)
            if mark is _Mark.GATE:
                self._through_gate(vial, at_ns)
            else:
                self.on_belt -= mark is not _Mark.INFEED
                edges.append(EyeEdge(_EYES[mark], at_ns, self._counts(at_mm), vial.ordinal))
        return edges

    def scenes(self, now_ns: int, until_ns: int) -> list[Scene]:
        """Return the windows that begin before `until_ns` or changed their end, oldest first.

        `until_ns` must be less than the drive's delay ahead of now: then their beginnings are final.
        """
        found: list[Scene] = []
        limit = self._drive.at(until_ns)
        for camera, lens in enumerate(self._lenses):
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

    def _mark(self, at_mm: float, mark: _Mark, vial: Vial) -> None:
        self._sequence += 1
        heapq.heappush(self._marks, (at_mm, self._sequence, mark, vial))

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
        )
        self.vials.append(vial)
        self.on_belt += 1
        self._next_entry = entry + self._gap()
        self._mark(entry, _Mark.INFEED, vial)
        self._mark(vial.gate_at, _Mark.GATE, vial)
        half = spec.window_mm
        for lens, at_mm in zip(self._lenses, vial.lens_at, strict=True):
            lens.coming.append((at_mm - half, at_mm + half, vial.ordinal))

    def _places(self, entry: float) -> "_Places":
        steps = int(max(self.spec.pass_eye_mm, self.spec.chute_eye_mm) / SLIP_STEP_MM) + 2
        sigma = self.spec.slip_mm * (SLIP_STEP_MM / 300.0) ** 0.5
        return _Places(entry, [self._slip.gauss(0.0, sigma) for _ in range(steps)])

    def _through_gate(self, vial: Vial, at_ns: int) -> None:
        passing = next((state for since, state in reversed(self._gate) if since <= at_ns), False)
        self._ended[passing] += 1
        vial.end, vial.gate_ns = (End.PASS if passing else End.CHUTE), at_ns
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
