"""What a batch came to: reconciliation and the closing rule (DESIGN section 7). Pure.

`BatchFacts` is what the ledger holds (reading.py collects it); `why_open` says in one line each why the batch cannot
close, nothing said = it closes. report.py writes it down.

The PLC owns the unit numbers: a batch's units are those the PLC created while it was open, over all epochs it touched.
A number without a row, or a row without a number, keeps the batch open. The totals of the newest epoch are exact. Those
of an earlier one may be as old as the restart that ended it: there, rows read from the PLC's rings tell the rest.
"""

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from daemon.units import Outcome, UnitId

MAX_NAMED = 5
UNAGREED = 1

ACCOUNTED = (Outcome.ACCEPTED, Outcome.REJECTED, Outcome.UNDECIDED, Outcome.SAMPLED, Outcome.REMOVED)
RELEASED = (Outcome.ACCEPTED, Outcome.QUARANTINED, Outcome.ESCAPED)


class BatchState(enum.StrEnum):
    """A batch opens once and closes once."""

    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class SubLot:
    """Units of a batch that one pair judged. `number` 1 is what the batch was opened with, and nobody signed it.

    `entry` of the trail began it.
    """

    number: int
    bundle: str
    recipe: str
    bundle_name: str
    recipe_name: str
    plan: str
    configuration: str
    begun_wall_ns: int
    signer: str = ""
    key: str = ""
    signed_utc: str = ""
    why: str = ""
    entry: int = 0


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """The batch row. Wall times are UTC ns with the clock's quality, 0 and empty while open.

    `sublots` in order; bundle, recipe and configuration of the batch itself are those of the first.
    """

    id: str
    state: BatchState
    bundle: str
    recipe: str
    bundle_name: str
    recipe_name: str
    configuration: str
    actor: str
    reason: str
    opened_wall_ns: int
    opened_clock: str
    closed_wall_ns: int = 0
    closed_clock: str = ""
    sublots: tuple[SubLot, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive unit numbers, both ends included."""

    first: int
    last: int

    @property
    def count(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class Totals:
    """The PLC's own counts of one epoch and lane during the batch; `first` and `last` created number, 0 when none."""

    created: int
    passed: int
    diverted: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class LaneFacts:
    """One epoch and lane the batch touched: the PLC's totals and the batch's numbers on record.

    `current`: the newest epoch, whose totals still come. `released`: rows of units that went past the gate, or for
    which the PLC opened it: one that its restart then diverted was counted as passed. In an ended epoch a permit is
    enough, for a PLC that lost its memory has no flags of its units any more.
    """

    epoch: int
    lane: int
    totals: Totals | None
    runs: tuple[Run, ...]
    released: int
    current: bool = True


@dataclass(frozen=True, slots=True)
class Joint:
    """Numbers of a lane that neither of two epochs, one following the other, knows of."""

    lane: int
    before: int
    epoch: int
    lost: Run


@dataclass(frozen=True, slots=True)
class Gap:
    """Units the PLC's ring no longer held, with the cause."""

    epoch: int
    lane: int
    run: Run
    cause: str


@dataclass(frozen=True, slots=True)
class Pace:
    """Units of one epoch with a creation time, and the monotonic ns between the first and the last."""

    units: int
    span_ns: int


@dataclass(frozen=True, slots=True)
class AlarmFact:
    """One alarm of the batch record, newest last."""

    at_ns: int
    code: str
    text: str
    state: str
    unit: str


@dataclass(frozen=True, slots=True)
class SubLotShare:
    """What became of the units of a sub-lot: outcomes, and by epoch and lane the first and the last of its numbers."""

    number: int
    outcomes: Mapping[str, int]
    places: Mapping[tuple[int, int], Run]


@dataclass(frozen=True, slots=True)
class Island:
    """Units of one outcome among neighbours of an epoch and lane whose rows name one configuration.

    `entry` of the trail is the first of these neighbours.
    """

    epoch: int
    lane: int
    configuration: str
    outcome: str
    count: int
    first: int
    last: int
    entry: int


@dataclass(frozen=True, slots=True)
class Rules:
    """What the facts depend on besides the ledger: a line in AUTOMATIC needs a permit for every accepted unit;
    `permitted_flag` is the PLC's flag for a permit consumed at the gate."""

    automatic: bool
    permitted_flag: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFacts:
    """Everything the closing rule and the report look at. Counts are rows of this batch unless said otherwise.

    `unstored`: rows received and not durable yet. `unpermitted`: accepted without a permit row (0 where the line is
    not in AUTOMATIC). `stray`: accepted in a touched epoch under no batch on record. `foreign`: accepted under a
    configuration or bundle of none of the batch's sub-lots. `conflicts`: rows that contradict others, a frame credited
    to two units among them. `shares` are empty where there was no swap.
    `escape_alarms`: also bodies without a unit, and units that a person had said to be removed, were seen to escape.
    """

    batch: BatchRecord
    outcomes: Mapping[str, int]
    reasons: Mapping[str, int]
    defects: Mapping[str, int]
    lanes: Sequence[LaneFacts]
    open_permits: Sequence[UnitId]
    gaps: Sequence[Gap]
    conflicts: int
    unstored: int
    unpermitted: int
    stray: int
    foreign: int
    paces: Sequence[Pace]
    trigger_to_frame_ns: Sequence[int]
    frame_to_verdict_ns: Sequence[int]
    alarms: Sequence[AlarmFact]
    alarm_count: int
    escape_alarms: int = 0
    shares: Sequence[SubLotShare] = ()


def share_out(sublots: Sequence[SubLot], islands: Iterable[Island]) -> list[SubLotShare]:
    """Return what became of the units of each sub-lot.

    Args:
        islands: in order of epoch, lane and number. A pair that came back has the configuration that it had before:
            which of its sub-lots a unit belongs to is told by what lies between, and none is of one that began later.
    """
    outcomes: dict[int, dict[str, int]] = {lot.number: {} for lot in sublots}
    places: dict[int, dict[tuple[int, int], Run]] = {lot.number: {} for lot in sublots}
    reached: dict[int, int] = {}
    for island in islands:
        begun = [lot for lot in sublots if lot.entry <= island.entry]
        own = [lot.number for lot in begun if lot.configuration == island.configuration]
        if not own:
            continue  # the closing rule names it
        number = next((each for each in own if each >= reached.get(island.lane, 1)), own[-1])
        reached[island.lane] = max(number, reached.get(island.lane, 1))
        tally, place = outcomes[number], (island.epoch, island.lane)
        tally[island.outcome] = tally.get(island.outcome, 0) + island.count
        known = places[number].get(place, Run(island.first, island.last))
        places[number][place] = Run(min(known.first, island.first), max(known.last, island.last))
    return [SubLotShare(lot.number, outcomes[lot.number], places[lot.number]) for lot in sublots]


def runs(numbers: Iterable[int]) -> tuple[Run, ...]:
    """Return the numbers as ascending runs."""
    found: list[Run] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1].last + 1:
            found[-1] = Run(found[-1].first, number)
        else:
            found.append(Run(number, number))
    return tuple(found)


def expected(lane: LaneFacts) -> tuple[Run, ...]:
    """Return the numbers the PLC created in the batch; an ended epoch reaches as far as totals and rows together."""
    ends = [(run.first, run.last) for run in lane.runs] if not lane.current else []
    if lane.totals and lane.totals.first:
        ends.append((lane.totals.first, lane.totals.last))
    return (Run(min(first for first, _ in ends), max(last for _, last in ends)),) if ends else ()


def subtract(left: Sequence[Run], right: Sequence[Run]) -> tuple[Run, ...]:
    """Return the numbers of `left` that are not in `right`; both ascending."""
    rest: list[Run] = []
    for run in left:
        first = run.first
        for cut in (cut for cut in right if cut.last >= run.first and cut.first <= run.last):
            if cut.first > first:
                rest.append(Run(first, cut.first - 1))
            first = cut.last + 1
        if first <= run.last:
            rest.append(Run(first, run.last))
    return tuple(rest)


def joints(lanes: Sequence[LaneFacts]) -> Iterator[Joint]:
    """Yield the numbers lost between two epochs of a lane: they go on, or begin again at 1 when the PLC forgot them.

    Epoch 1 has no place in that order: it is the PLC's own, before any agreement and again after it lost its memory.
    """
    newest: dict[int, tuple[int, Run]] = {}
    unagreed = {lane.lane: lane.runs for lane in lanes if lane.epoch == UNAGREED}
    for lane in sorted((lane for lane in lanes if lane.epoch != UNAGREED), key=lambda lane: lane.epoch):
        for run in expected(lane):
            epoch, before = newest.get(lane.lane, (lane.epoch, Run(0, run.first - 1)))
            newest[lane.lane] = lane.epoch, run
            first = before.last + 1 if run.first > before.last else 1
            for lost in subtract((Run(first, run.first - 1),), unagreed.get(lane.lane, ())):
                yield Joint(lane.lane, epoch, lane.epoch, lost)


def units_in(facts: BatchFacts) -> int:
    """Return how many units came in: created by the PLC while the batch was open."""
    return sum(_created(lane) for lane in facts.lanes)


def why_open(facts: BatchFacts) -> tuple[str, ...]:
    """Return one line for each thing that keeps the batch open; empty = it may close."""
    lanes = [line for lane in facts.lanes for line in _identity(lane)]
    return (*_balance(facts), *lanes, *_joints(facts.lanes), *_released(facts))


def _balance(facts: BatchFacts) -> Iterator[str]:
    arrived, counted = units_in(facts), sum(facts.outcomes.get(outcome, 0) for outcome in ACCOUNTED)
    if arrived != counted:
        yield f"{arrived} units came in and {counted} are accounted for: wait for the missing rows or find the units"
    for outcome in (Outcome.QUARANTINED, Outcome.ESCAPED):
        if count := facts.outcomes.get(outcome, 0):
            yield f"{count} units are {outcome.value}: find them; the batch stays open for QA to investigate"
    if (bodies := facts.escape_alarms - facts.outcomes.get(Outcome.ESCAPED, 0)) > 0:
        yield f"{bodies} escapes are on record that have no row: see the alarms and find the bodies"
    if facts.open_permits:
        named = _named([str(unit) for unit in facts.open_permits])
        yield f"{len(facts.open_permits)} permits have no unit row ({named}): where these units went is unknown"
    if facts.unstored:
        yield f"{facts.unstored} rows are not on disk yet: make room for the ledger, they are kept until then"


def _identity(lane: LaneFacts) -> Iterator[str]:
    where = f"epoch {lane.epoch} lane {lane.lane}"
    if lane.totals is None and lane.current:
        yield f"{where}: the PLC's totals are missing: line must read and send them"
        return
    created = expected(lane)
    if (size := _count(created)) != _created(lane):
        yield f"{where}: the PLC created {_created(lane)} units but {size} numbers are known: its totals do not agree"
    if missing := subtract(created, lane.runs):
        yield f"{where}: no row for {_count(missing)} units of the PLC ({_named([str(run) for run in missing])})"
    if extra := subtract(lane.runs, created):
        yield f"{where}: {_count(extra)} rows for units the PLC does not know ({_named([str(run) for run in extra])})"


def _joints(lanes: Sequence[LaneFacts]) -> Iterator[str]:
    for joint in joints(lanes):
        units = f"{joint.lost.count} units ({joint.lost})"
        yield f"lane {joint.lane}: no row for {units} between the epochs {joint.before} and {joint.epoch}"


def _released(facts: BatchFacts) -> Iterator[str]:
    passed = sum(lane.totals.passed for lane in facts.lanes if lane.totals)
    released = sum(lane.released for lane in facts.lanes)
    problems = {
        f"the PLC passed {passed} units, the ledger knows of {released}: find the others": passed > released,
        f"{facts.unpermitted} accepted units have no permit on record: quarantine them": facts.unpermitted,
        f"{facts.stray} accepted units belong to no batch: quarantine them": facts.stray,
        f"{facts.foreign} accepted units were judged under another configuration: quarantine them": facts.foreign,
        f"{facts.conflicts} rows contradict others on record: see table conflict": facts.conflicts,
    }
    return (text for text, wrong in problems.items() if wrong)


def _created(lane: LaneFacts) -> int:
    """Units of the PLC: its count, and in an ended epoch at least as many as there are known numbers."""
    counted = lane.totals.created if lane.totals else 0
    return counted if lane.current else max(counted, _count(expected(lane)))


def _count(found: Sequence[Run]) -> int:
    return sum(run.count for run in found)


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:MAX_NAMED]) + (" …" if len(names) > MAX_NAMED else "")
