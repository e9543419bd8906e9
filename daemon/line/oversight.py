"""What the line watches beside units and frames: inputs, light, rows of equal results, clearance, admission. Pure.

Owned by Control, which tells it what happened and asks it before it permits.
"""

from collections.abc import Iterator, Sequence

from daemon.config import Diverter, Station
from daemon.faults import INPUTS, TABLE, Reaction
from daemon.line.admission import Demands, misfit
from daemon.line.clearance import Clearance
from daemon.line.conditions import Condition
from daemon.line.earlier_life import EarlierLife
from daemon.line.streaks import Streaks
from daemon.line.unit import Finish, Seen
from daemon.messages import Loaded, VisionFault
from daemon.states import State
from daemon.units import StopRules
from drivers.plc_link import Snapshot

DIM_NS = 2_000_000_000
_ABORTED = {State.ABORTING, State.ABORTED}


class Oversight:
    """Owned by Control."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._word = 0xFFFF
        self._dim: dict[str, int] = {}
        self._streaks = [Streaks(StopRules()) for _ in range(station.lanes)]
        self._sightings = 0
        self._recipe = ""
        self._taken_back = False
        self.misfit = ""
        self.earlier = EarlierLife()
        geometry = station.geometry
        length_mm = max(geometry.chute_eye_mm, geometry.pass_eye_mm) + geometry.confirm_window_mm
        self.clearance = Clearance(int(length_mm * geometry.counts_per_mm))

    @property
    def overrides(self) -> dict[str, Reaction]:
        """The station's own reactions to its inputs, by fault code."""
        return {INPUTS[entry.name]: Reaction(entry.reaction) for entry in self._station.inputs if entry.reaction}

    def configure(self, loaded: Loaded) -> None:
        """Take the recipe that is armed: its stop rules, and whether it fits this machine in time."""
        for streaks in self._streaks:
            streaks.rules = loaded.stops
        demands = Demands(loaded.max_latency_ms, loaded.min_gap_mm, self._station.worst_latency_ms)
        self.misfit = misfit(self._station, demands)

    def armed(self, recipe: str, before: str = "", *, swapped: bool = False) -> None:
        """A batch was opened (or closed: ""): nothing of another product may be left in the machine.

        `before` is the recipe that ran last in an earlier life of the line; `swapped`: inside the batch, each unit in
        the machine knows what judges it.
        """
        before = self._recipe or before
        if recipe and before and recipe != before and not swapped:
            self.clearance.require("another recipe than that of the last batch")
        self._recipe = recipe or before

    @property
    def direct(self) -> bool:
        """True where no PLC remembers what this process forgets."""
        return isinstance(self._station.wiring, Diverter)

    def snapshot(self, snapshot: Snapshot, state: State) -> bool:
        """Take the PLC's inputs; return True when an empty-line run ended just now."""
        registers = snapshot.registers
        self._word = registers["inputs"]
        if state is not State.STARTING:
            return False
        eyes = [registers[name] for name in ("stray_pass", "stray_chute", "chute_encoder", "pass_encoder")]
        seen = (*eyes, self._sightings, *(lane["created_seq"] for lane in snapshot.lanes))
        return self.clearance.run(registers["encoder"], seen)

    def sighted(self, told: Seen) -> Iterator[tuple[str, str]]:
        """An eye behind the gate saw a body; yield (code, text) if it is one that was said to be taken out by hand."""
        self._sightings += 1
        if told.unit in self.clearance.removed:
            code, where = ("ESCAPED", "past the gate") if told.passed else ("CLEARANCE", "in the chute")
            yield code, f"unit {told.unit} was said to be removed and was seen {where}"

    def inputs(self) -> tuple[tuple[str, bool], ...]:
        """Return (name, as it should be) of every input that is wired."""
        return tuple((entry.name, bool(self._word >> entry.bit & 1)) for entry in self._station.inputs)

    @property
    def barred(self) -> bool:
        """True while an input says that nothing may be accepted: by the table, or by the station's own reaction."""
        codes = [INPUTS[name] for name, met in self.inputs() if not met]
        return any(TABLE[code].bars or self.overrides.get(code) is Reaction.REJECT for code in codes)

    def vision_fault(self, fault: VisionFault, now: int) -> tuple[str, str]:
        """Return (code, text) of the alarm; light out of its band is said again for as long as it lasts."""
        if fault.code == "LIGHT":
            self._dim[fault.subject] = now
        known = fault.code in TABLE
        text = fault.text if known else f"{fault.code} {fault.text}"
        return fault.code if known else "VISION_FAULT", f"{fault.subject}: {text}" if fault.subject else text

    def lights(self, now: int) -> tuple[tuple[str, bool], ...]:
        """Return (camera, in its band) of the cameras with a reference patch."""
        watched = [camera.name for camera in self._station.cameras if camera.patch]
        return tuple((name, now - self._dim.get(name, -DIM_NS) >= DIM_NS) for name in watched)

    def finished(self, finish: Finish, defect: str) -> Iterator[tuple[str, str]]:
        """Count a closed unit; yield (code, text) of the stop rules that it fills."""
        yield from self._streaks[finish.unit.lane].finished(finish.reason, defect)

    def reset(self) -> None:
        """A person reset the line, or a batch begins: count anew."""
        for streaks in self._streaks:
            streaks.reset()

    def takes_back(self, state: State, found: Sequence[Condition], *, barred: bool = False) -> bool:
        """True once when every permit must be taken back: an abort, an input that bars accepting, or a fault that does
        and waits for a person (`barred`).
        """
        barred = barred or state in _ABORTED or any(TABLE[c.code].bars and not c.met for c in found)
        first, self._taken_back = barred and not self._taken_back, barred
        return first
