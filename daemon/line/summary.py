"""What the line can say about the open batch at any moment: counts, recent units, latency, the PLC's totals."""

import itertools
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from daemon.catalogue import catalogue
from daemon.line.alarms import Alarm
from daemon.line.conditions import Condition, Facts, conditions
from daemon.line.desk import Desk
from daemon.line.firstout import Cause
from daemon.line.oversight import Oversight
from daemon.line.strays import Strays
from daemon.messages import AlarmLine, PlcTotals, Status, UnitRow
from daemon.units import Authority, LineMode, Outcome, Reason, Stages, UnitId
from drivers.plc_link import Snapshot

TOTALS_NS = 100_000_000
RECENT = 12
LATENCIES = 1000
LISTED = 64


@dataclass(slots=True)
class _Range:
    """Unit numbers seen in one epoch of one lane."""

    first: int
    last: int
    units: int = 1


class Summary:
    """Owned by the line loop; nothing here decides anything."""

    def __init__(self) -> None:
        self.last_epoch = 0
        self.new_batch()

    def new_batch(self) -> None:
        """Begin counting anew."""
        self.counts: Counter[Outcome] = Counter()
        self.reasons: Counter[Reason] = Counter()
        self.units_in = 0
        self.recent: deque[UnitRow] = deque(maxlen=RECENT)
        self.latencies: deque[int] = deque(maxlen=LATENCIES)
        self._ranges: dict[tuple[int, int], _Range] = {}
        self._sent: dict[tuple[int, int], PlcTotals] = {}
        self._next_ns = 0

    def created(self, unit: UnitId) -> None:
        """A unit was heard of, by the infeed ring or only when it closed."""
        self.last_epoch = max(self.last_epoch, unit.epoch)
        known = self._ranges.get((unit.epoch, unit.lane))
        if known is None:
            self._ranges[unit.epoch, unit.lane] = _Range(unit.number, unit.number)
        elif unit.number > known.last:
            known.last = unit.number
        elif unit.number < known.first:
            known.first = unit.number
        else:
            return
        self.units_in += 1

    def permitted(self, stages: Stages) -> None:
        self.latencies.append(stages.permit_ns - stages.last_edge_ns)

    def finished(self, row: UnitRow) -> None:
        self.counts[row.outcome] += 1
        if row.reason is not Reason.NONE:
            self.reasons[row.reason] += 1
        self.recent.append(row)

    def totals(self, snapshot: Snapshot | None, strays: Strays, now_ns: int, at_once: bool) -> Iterator[PlcTotals]:
        """Yield the PLC's totals that changed, at most every TOTALS_NS unless `at_once`."""
        if snapshot is None or (now_ns < self._next_ns and not at_once):
            return
        self._next_ns = now_ns + TOTALS_NS
        epoch = snapshot.registers["epoch"]
        for lane, head in enumerate(snapshot.lanes):
            known = self._ranges.get((epoch, lane))
            first, last = (known.first, known.last) if known else (0, 0)
            counts = (head["created"], head["passed"], head["diverted"])
            row = PlcTotals(0, epoch, lane, *counts, first, last, *strays.recorded(lane))
            if self._sent.get((epoch, lane)) != row:
                self._sent[epoch, lane] = row
                yield row

    def latency_ms(self) -> dict[str, float]:
        """Return n, p50, p99 and max of last edge -> permit over the last units, in ms."""
        values = sorted(self.latencies)
        if not values:
            return {"n": 0.0}
        at = {"p50": values[len(values) // 2], "p99": values[int(len(values) * 0.99)], "max": values[-1]}
        return {"n": float(len(values)), **{name: round(value / 1e6, 2) for name, value in at.items()}}

    def status(self, desk: Desk, facts: Facts, mode: LineMode, bundle: str, unstored: int) -> Status:
        """Return the snapshot that `linewarden status`, `why` and the live view show."""
        found = conditions(facts)
        counts = {"in": self.units_in, **{outcome.value: self.counts[outcome] for outcome in Outcome}}
        steps = {n: "in step" if step else "out of step" if on else "absent" for n, on, step in facts.cameras}
        return Status(
            state=desk.state.name,
            mode=mode.value,
            authority=Authority(facts.key).name if facts.key in set(Authority) else "unknown",
            batch=facts.batch,
            epoch=facts.epoch,
            first_out=_sentence(desk.stops.first),
            conditions=[_told(c) for c in found],
            condition_keys=[(c.key, c.detail) for c in found],
            counts=counts,
            reasons={reason.value: n for reason, n in self.reasons.items()},
            alarms=[(a.at_ns, a.code, catalogue().sentence(a.code, a.text)) for a in desk.alarms],
            recent=[(str(r.unit), r.outcome.value, r.reason.value, r.defect) for r in self.recent],
            latency_ms=self.latency_ms(),
            cameras=steps,
            unstored=unstored,
            bundle=bundle,
        )


def in_full(status: Status, desk: Desk, oversight: Oversight, tracked: list[UnitId], now: int) -> Status:
    """Add what a person needs who has to bring the line back: causes, alarms, units in the machine, clearance."""
    units = [*oversight.earlier.units, *tracked]
    return msgspec.structs.replace(
        status,
        unit_mode=desk.mode.name.lower(),
        stopped=desk.stops.stopped,
        causes=[(cause.at_ns, cause.code, cause.detail) for cause in desk.stops.causes],
        latched=sorted(desk.latched),
        reset_owed=desk.reset_owed,
        in_machine=[str(unit) for unit in units[:LISTED]],
        units_in_machine=len(units),
        empty_run=oversight.clearance.why,
        behind_gate=oversight.earlier.behind_gate,
        standing=[_line(alarm) for alarm in itertools.islice(desk.book.shown(), LISTED)],
        lamps=" ".join(str(lamp.name).lower() for lamp in desk.lamps(alive=True)),
        now_ns=now,
    )


def _line(alarm: Alarm) -> AlarmLine:
    return AlarmLine(
        name=alarm.name,
        code=alarm.code,
        state=alarm.state.value,
        since_ns=alarm.since_ns,
        count=alarm.count,
        text=alarm.text,
        who=alarm.who,
        until_ns=alarm.until_ns,
    )


def _sentence(cause: Cause | None) -> str:
    return catalogue().sentence(cause.code, cause.detail) if cause else ""


def _told(condition: Condition) -> tuple[str, bool, str]:
    entry = catalogue().condition(condition.key, condition.detail)
    return entry.text, condition.met, entry.remedy
