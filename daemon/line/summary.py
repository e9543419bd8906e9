"""What the line can say about the open batch at any moment: counts, recent units, latency, the PLC's totals."""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass

from daemon.line.conditions import Facts, conditions
from daemon.line.desk import Desk
from daemon.messages import PlcTotals, Status, UnitRow
from daemon.units import Authority, LineMode, Outcome, Reason, Stages, UnitId
from drivers.plc_link import Snapshot

TOTALS_NS = 100_000_000
RECENT = 12
LATENCIES = 1000


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

    def totals(self, snapshot: Snapshot | None, now_ns: int, at_once: bool) -> Iterator[PlcTotals]:
        """Yield the PLC's totals that changed, at most every TOTALS_NS unless `at_once`."""
        if snapshot is None or (now_ns < self._next_ns and not at_once):
            return
        self._next_ns = now_ns + TOTALS_NS
        epoch = snapshot.registers["epoch"]
        for lane, head in enumerate(snapshot.lanes):
            known = self._ranges.get((epoch, lane))
            first, last = (known.first, known.last) if known else (0, 0)
            row = PlcTotals(0, epoch, lane, head["created"], head["passed"], head["diverted"], first, last)
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

    def status(
        self, desk: Desk, facts: Facts, mode: LineMode, key_switch: int | None, bundle: str, unstored: int
    ) -> Status:
        """Return the snapshot that `linewarden status`, `why` and the live view show."""
        counts = {"in": self.units_in, **{outcome.value: self.counts[outcome] for outcome in Outcome}}
        steps = {n: "in step" if step else "out of step" if on else "absent" for n, on, step in facts.cameras}
        return Status(
            state=desk.state.name,
            mode=mode.value,
            authority=Authority(key_switch).name if key_switch in set(Authority) else "unknown",
            batch=facts.batch,
            epoch=facts.epoch,
            first_out=desk.first_out,
            conditions=[(c.name, c.met, c.remedy) for c in conditions(facts)],
            counts=counts,
            reasons={reason.value: n for reason, n in self.reasons.items()},
            alarms=[(a.at_ns, a.code, a.text) for a in desk.alarms],
            recent=[(str(r.unit), r.outcome.value, r.reason.value, r.defect) for r in self.recent],
            latency_ms=self.latency_ms(),
            cameras=steps,
            unstored=unstored,
            bundle=bundle,
        )
