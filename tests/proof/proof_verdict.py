"""What a played case came to: truth against what the product did and wrote, and each fault's line in the table.

Escape: a body is past the gate without a permit that `line` gave its unit, that stood in the slot at the decision,
and behind which nothing but that body's own pixels stand. Misbound: a permit whose pixels are another body's or
nobody's, or a frame credited to a unit with a body that shows another. Physical: a body that no eye counted went
through the gate beside a permitted neighbour; the gate cannot part them, and the eyes must have told.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from proof_agenda import MS
from proof_fault import Safe, Strike
from proof_peers import PAIRS, TINT
from proof_world import RELEASE_MM, Told, World

from daemon.messages import PermitRow, UnitRow
from daemon.recorder.batch import Run, expected, joints, subtract
from daemon.units import Outcome, UnitId, Verdict
from drivers.sim.belt import End, Vial

NOTICE_NS = 3_000 * MS
AFTER_NS = 500 * MS
SAFE_NS = 100 * MS
RECORD_NS = 520 * MS
NEVER_NS = 1 << 50
LATEST_NS = 120 * MS
SLACK_MM = 12.0
EARLIER = frozenset({"too_close", "defect", "phantom"})
SETTLE_NS = 2_000 * MS
FORGETTING = "plc-power"
CAMERA_FAULTS = ("camera-lost", "camera-restart")
GOOD = (Outcome.ACCEPTED,)
BAD = (Outcome.REJECTED, Outcome.UNDECIDED)


@dataclass(slots=True)
class Line:
    """One fault's line: how often injected, units not accepted meanwhile, noticed of what could be, time to safe."""

    injected: int = 0
    affected: int = 0
    countable: int = 0
    detected: int = 0
    escapes: int = 0
    misbound: int = 0
    physical: int = 0
    safe_ns: int = -1


@dataclass(slots=True)
class Outcomes:
    """Of one case. `wrong` names every violation."""

    units: int = 0
    vials: int = 0
    passed: int = 0
    escapes: list[str] = field(default_factory=list)
    misbound: list[str] = field(default_factory=list)
    physical: list[int] = field(default_factory=list)
    misnamed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lines: dict[str, Line] = field(default_factory=dict)


def judge(world: World, strikes: list[Strike]) -> Outcomes:
    """Compare truth and claim of one played world."""
    out = Outcomes(len(world.units), len(world.plant.belt.vials), world.plant.belt.ended[0])
    out.wrong += world.wrong
    _bodies(world, out)
    _credits(world, out)
    forgot = any(strike.fault.name == FORGETTING and strike.at_ns for strike in strikes)
    _rows(world, out, out.misnamed if forgot or world.uncounted else out.wrong)
    if not forgot:
        _unrecorded(world, out)
    out.wrong += [f"escape: {text}" for text in out.escapes] + [f"misbound: {text}" for text in out.misbound]
    for strike in strikes:
        if strike.at_ns and strike.took:
            _line(world, strike, out)
    return out


def _bodies(world: World, out: Outcomes) -> None:
    units: dict[int, list[UnitId]] = {}
    for unit, told in world.units.items():
        units.setdefault(told.vial, []).append(unit)
    for vial in world.plant.belt.vials:
        if vial.end is not End.PASS:
            continue
        why = [_unpermitted(world, unit, vial) for unit in units.get(vial.ordinal, [])]
        if not why and vial.ordinal in world.uncounted and _beside(world, vial):
            out.physical.append(vial.ordinal)
        elif all(why):
            out.escapes.append(f"vial {vial.ordinal}: {'; '.join(why) or 'no unit'}")
    if out.physical and not _told_of_escape(world):
        out.wrong.append(f"uncounted bodies {out.physical} passed and nobody was told")


def _beside(world: World, body: Vial) -> bool:
    """Whether a unit that passed was so near that one movement of the gate could not part the two."""
    geometry = world.station.geometry
    near_mm = geometry.ejector_lead_mm + RELEASE_MM + SLACK_MM
    passed = (world.body(told.vial) for told in world.units.values() if told.passed and told.vial)
    return any(abs(vial.entry_at - body.entry_at) <= near_mm for vial in passed)


def _unpermitted(world: World, unit: UnitId, vial: Vial) -> str:
    """Return why this unit gave the body no right to pass, "" if it did."""
    told, row = world.units[unit], world.granted.get(unit)
    if not told.passed:
        return f"unit {unit} was diverted"
    if row is None or row.verdict is not Verdict.ACCEPT:
        return f"unit {unit} was never permitted"
    writes = [given for at_ns, given in world.written.get(unit, []) if at_ns <= told.decided_ns]
    if not writes or not writes[-1]:
        return f"unit {unit}: its permit was revoked or never reached the gate"
    if len(row.views) != world.spec.cameras or any(view.digest != f"vial {vial.ordinal}" for view in row.views):
        return f"unit {unit}: pixels of {[view.digest for view in row.views]}"
    return "" if not world.is_bad(vial.ordinal) else f"unit {unit}: a bad vial was accepted"


def _told_of_escape(world: World) -> bool:
    strays = world.plant.program.strays[0]
    return strays > 0 or any(row.code == "ESCAPED" for row in world.recorder.alarms)


def _credits(world: World, out: Outcomes) -> None:
    shown = {key: vial for camera in world.cameras for key, vial in camera.shown.items()}
    for unit, key in world.bound:
        vial = world.vial(unit)
        if vial and shown.get(key) not in (vial, 0 if vial in world.taken else vial):
            out.misbound.append(f"{key} shows vial {shown.get(key)}, credited to unit {unit}, vial {vial}")
    for unit, row in world.granted.items():
        if row.stages.permit_ns - row.stages.last_edge_ns > LATEST_NS:
            out.wrong.append(f"unit {unit} was permitted later than {LATEST_NS / MS:.0f} ms")
        if mixed := _mixed(row):
            out.wrong.append(f"permit of unit {unit} {mixed}")
        for view in row.views:
            if view.digest != f"vial {world.vial(unit)}":
                out.misbound.append(f"permit of unit {unit}, vial {world.vial(unit)}, rests on {view.digest}")


def _mixed(row: PermitRow | UnitRow) -> str:
    """What of a row belongs to another pair than its configuration names."""
    recipe = next(recipe for recipe, (_, configuration) in PAIRS.items() if configuration == row.configuration)
    if row.bundle != PAIRS[recipe][0]:
        return f"is of {row.configuration} and was judged by {row.bundle}"
    clean = {round(0.1 + TINT[recipe], 3), round(0.9 + TINT[recipe], 3)}
    odd = [view for view in row.views if round(view.scores["defect"], 3) not in clean]
    return f"is of {row.configuration} and rests on scores of another" if odd else ""


def _rows(world: World, out: Outcomes, named: list[str]) -> None:
    """Compare the ledger with the truth. `named`: where a row goes that names the wrong unit; a PLC that lost its
    memory leaves bodies to be counted, not named, and a body that nobody counted can stand for another."""
    out.wrong += [f"two rows contradict each other: {text}" for text in world.recorder.contradictions]
    for unit, row in world.recorder.units.items():
        told = world.units.get(unit)
        vial = world.body(told.vial) if told and told.vial else None
        if told is None:
            out.wrong.append(f"row of unit {unit}, which the PLC never made")
        elif told.closed > 1:
            out.wrong.append(f"the PLC closed unit {unit} {told.closed} times")
        elif vial and vial.end is End.PASS and row.outcome in BAD:
            named.append(f"unit {unit} is on record as {row.outcome}, its vial passed")
        elif row.outcome is Outcome.ESCAPED and vial and vial.end is End.PASS and not _taken_back(world, unit, told):
            named.append(f"unit {unit} escaped by the line's own account")
        elif row.bundle and (mixed := _mixed(row)):
            out.wrong.append(f"row of unit {unit} {mixed}")
        elif row.outcome in GOOD and unit in world.granted and row.configuration != world.granted[unit].configuration:
            out.wrong.append(f"unit {unit} is on record under another configuration than its permit")
        elif row.outcome in GOOD and unit not in world.granted:
            out.wrong.append(f"unit {unit} is accepted and was never permitted")
        elif row.outcome in GOOD and row.source == "plc" and unit not in world.recorder.permits:
            out.wrong.append(f"unit {unit} is accepted without a durable permit")
        elif row.outcome in GOOD and not (vial and vial.end is End.PASS):
            named.append(f"unit {unit} is on record as accepted, its vial did not pass")


def _taken_back(world: World, unit: UnitId, told: Told) -> bool:
    """Whether the line took the permit back before the gate decided: if that came too late, the unit has escaped."""
    return any(told.created_ns <= at_ns <= told.decided_ns for at_ns in world.line.taken_back.get(unit.number, ()))


def _unrecorded(world: World, out: Outcomes) -> None:
    """Every unit that the program closed has a row, once line and recorder had time to write it.

    Where the PLC started again and the recorder died with rows that were not durable, nobody has them any more: then
    the closing rule must name the numbers.
    """
    settled = world.agenda.now - SETTLE_NS
    if not (world.line.up and world.recorder.up) or world.recorder.full or world.recorder.gaps or world.wire.cut:
        return
    named = _named_missing(world)
    forgotten_ns = min(world.plant.started_ns, world.recorder.died_ns)
    for unit, told in world.units.items():
        if not 0 < told.closed_ns < settled or unit in world.recorder.units:
            continue
        if told.closed_ns > forgotten_ns:
            out.wrong.append(f"unit {unit} was closed by the program and has no row")
        elif not any(lane == unit.lane and run.first <= unit.number <= run.last for lane, run in named):
            out.wrong.append(f"unit {unit} has no row and the batch would close without it")


def _named_missing(world: World) -> list[tuple[int, Run]]:
    """Return lane and numbers that the closing rule names."""
    lanes = world.recorder.lanes()
    inside = [(lane.lane, run) for lane in lanes for run in subtract(expected(lane), lane.runs)]
    between = [(joint.lane, joint.lost) for joint in joints(lanes)]
    return [(lane, run) for lane, run in inside + between if run.count < len(world.units)]


def _line(world: World, strike: Strike, out: Outcomes) -> None:
    line = out.lines.setdefault(strike.fault.name, Line())
    line.injected += 1
    line.affected += sum(1 for unit, told in world.units.items() if _hit(world, unit, told, strike))
    line.escapes += len(out.escapes)
    line.misbound += len(out.misbound)
    line.physical += len(out.physical)
    if strike.fault.expect and strike.alone and not _masked(world, strike):
        line.countable += 1
        line.detected += bool(seen := _noticed(world, strike))
        if not seen:
            out.wrong.append(f"{strike.fault.name} at vial {strike.vial} ({strike.step}) was not noticed")
    safe_ns = _time_to_safe(world, strike)
    line.safe_ns = max(line.safe_ns, safe_ns)
    if safe_ns > _limit(world, strike):
        out.wrong.append(f"{strike.fault.name} at vial {strike.vial}: safe only after {safe_ns / MS:.1f} ms")


def _limit(world: World, strike: Strike) -> int:
    """Law 4 counts from the first row that waits for the disk, not from the moment when the disk is full."""
    if strike.fault.safe is not Safe.RECORD:
        return SAFE_NS
    starved = next((at_ns for at_ns in world.recorder.starved_ns if at_ns >= strike.at_ns), strike.at_ns)
    return RECORD_NS + starved - strike.at_ns


def _masked(world: World, strike: Strike) -> bool:
    """Whether every unit that was struck had been rejected already, for a reason of its own that stands on its row."""
    rows = [world.recorder.units.get(unit) for unit, told in world.units.items() if told.vial in strike.vials]
    return bool(rows) and all(row and str(row.reason) in EARLIER - strike.fault.expect for row in rows)


def _hit(world: World, unit: UnitId, told: Told, strike: Strike) -> bool:
    during = strike.at_ns <= told.decided_ns <= strike.end_ns + AFTER_NS
    return during and not told.passed and not world.bad.get(told.vial, False)


def _noticed(world: World, strike: Strike) -> bool:
    expect = strike.fault.expect
    return any(item in expect for item in _evidence(world, strike))


def _evidence(world: World, strike: Strike) -> Iterator[str]:
    begin, end = strike.at_ns, strike.end_ns + NOTICE_NS
    for alarm in world.recorder.alarms:
        if begin <= alarm.at_ns <= end:
            yield alarm.code
            yield from alarm.text.replace(":", " ").split()
    yield from ("UNBOUND" for at_ns, _camera in world.unbound if begin <= at_ns <= end)
    yield "NEW_EPOCH" if world.plant.program.epoch > 1 else ""
    yield "STRAY_BODY" if any(world.plant.program.strays) else ""
    for unit, told in world.units.items():
        row = world.recorder.units.get(unit)
        if begin <= told.decided_ns <= end:
            yield f"CAUSE_{told.cause}"
        struck = told.vial in strike.vials or (told.vial == 0 and begin <= told.created_ns <= end)
        if struck and row:
            yield str(row.reason)
            yield str(row.outcome)
        if struck and told.vial and row and row.outcome is Outcome.ACCEPTED:
            yield "IN_ORDER"
        if struck and sum(given for _, given in world.written.get(unit, [])) <= 1:
            yield "ONCE"


def _time_to_safe(world: World, strike: Strike) -> int:
    """Last instant after the fault at which a permit written then could pass a unit, less the fault's; -1 undefined.

    GATE: until the program honours no permit at all. It is defined where the fault lasts longer than the limit, or
    where the program stopped honouring meanwhile. SOURCE: the last permit that reached the gate while the part was
    faulty and rests on it. RECORD: the last permit while no row is stored.
    """
    begin, end, kind = strike.at_ns, strike.end_ns, strike.fault.safe
    if kind is Safe.NONE or not strike.alone:
        return -1
    if kind is Safe.GATE:
        falls = [at_ns - begin for at_ns in world.plant.dishonoured_ns if begin <= at_ns <= max(end, begin + SAFE_NS)]
        if strike.honoured and not falls:
            return NEVER_NS if end - begin > SAFE_NS else -1
        return min(falls) if strike.honoured else 0
    last = [at_ns - begin for unit, at_ns in _permits(world) if begin < at_ns < end and _rests(world, unit, strike)]
    return max(last, default=0)


def _permits(world: World) -> Iterator[tuple[UnitId, int]]:
    for unit, writes in world.written.items():
        yield from ((unit, at_ns) for at_ns, given in writes if given)


def _rests(world: World, unit: UnitId, strike: Strike) -> bool:
    """Whether the permit used what the faulty part made after the fault."""
    if strike.fault.name not in CAMERA_FAULTS:
        return True
    return world.edges.get((strike.camera, world.vial(unit)), 0) >= strike.at_ns
