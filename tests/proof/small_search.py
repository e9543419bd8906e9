"""Explicit-state search over SmallLine: every interleaving up to a depth, each state once, breadth first."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from proof_clone import Copies
from small_line import SmallLine
from small_parts import Body, Write

from daemon.line.binding import Binder, _Open
from daemon.line.tracking import Tracker
from daemon.line.unit import TrackedUnit
from daemon.units import Verdict
from drivers.gate.plc_bank import Bank
from drivers.gate.plc_io import Outputs, Unit
from drivers.gate.plc_lane import Lane
from drivers.gate.plc_logic import Plc
from drivers.gate.plc_permits import Device

CLASSES = (SmallLine, Body, Write, Bank, Plc, Lane, Device, Unit, Outputs, Tracker, TrackedUnit, Binder, _Open)
SHARED = frozenset({"_settings", "_spec", "map", "_writable", "_at", "_permit"})
COPIES = Copies(CLASSES, SHARED, frozenset({"violations", "sent", "passes"}))
Choice = tuple[str, Callable[[SmallLine], None]]


@dataclass(slots=True)
class Found:
    """What a search came to. `trace` leads to the first violation."""

    states: int = 0
    steps: int = 0
    depth: int = 0
    passes: int = 0
    ended: int = 0
    whole: bool = True
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)
    trace: tuple[str, ...] = ()


def choices(line: SmallLine, faults: int) -> Iterator[Choice]:
    """What can happen next; with `faults` left also what should not. Behind the last eye there is only news to read."""
    if line.places():
        yield "move", SmallLine.move
    if line.events:
        yield "hear", SmallLine.hear
    if not line.places():
        return
    if line.frames:
        yield "frame", SmallLine.frame
    for unit in list(line.bound):
        entry = line.tracker._units.get(unit)
        if entry and not entry.judged:
            yield f"judge {unit}", lambda small, unit=unit: small.judge(unit)
    if line.writes:
        yield "write", SmallLine.write
        if line.writes[0].done:
            yield "scan", SmallLine.scan
    if not line.beating:
        yield "wake", SmallLine.wake
    if faults:
        yield from _faults(line)


def _faults(line: SmallLine) -> Iterator[Choice]:
    if line.frames:
        yield "! frame twice", lambda small: small.frame(twice=True)
        yield "! frame kept", lambda small: small.frame(keep=True)
        yield "! frame lost", SmallLine.lose_frame
    if len(line.frames) > 1:
        yield "! frames swapped", SmallLine.swap_frames
    for unit in list(line.bound):
        if unit in line.tracker._units:
            for other in line.bound:
                if other != unit:
                    yield f"! {unit} judged by {other}", lambda small, a=unit, b=other: small.judge(a, other=b)
            yield f"! {unit} judged twice", lambda small, unit=unit: (small.judge(unit), small.judge(unit))
            yield f"! {unit} rejected", lambda small, unit=unit: small.judge(unit, Verdict.REJECT)
    if line.beating:
        yield "! hang", SmallLine.hang
    yield "! epoch", SmallLine.ask_epoch
    yield "! line restarts", SmallLine.restart_line
    yield "! PLC restarts", lambda small: small.restart_plc(True)
    yield "! PLC forgets", lambda small: small.restart_plc(False)
    for index in range(len(line.sent)):
        yield f"! replay {index}", lambda small, index=index: small.replay(index)
    if line.bodies:
        yield "! torn first", lambda small: small.forge(slice(0, 2))
        yield "! torn last", lambda small: small.forge(slice(2, 4))
        yield "! forged", lambda small: small.forge(slice(0, 4))
        if any(body.unit and body.unit.epoch != line.program.epoch for body in line.bodies):
            yield "! old permit", lambda small: small.mix_epochs(new=False)
            yield "! new permit", lambda small: small.mix_epochs(new=True)


def search(first: SmallLine, depth: int, faults: int, budget_s: float = 1e9) -> Found:
    """Visit every state that `depth` choices with at most `faults` faults can reach."""
    begun, found = time.monotonic(), Found()
    seen = {(COPIES.fingerprint(first), faults)}
    layer: list[tuple[SmallLine, int, tuple[str, ...]]] = [(first, faults, ())]
    while layer and found.depth < depth and not found.violations:
        following = []
        for line, left, trace in layer:
            if time.monotonic() - begun > budget_s:
                found.whole = False
                break
            found.ended += not line.places()
            for name, act in choices(line, left):
                after = COPIES.copy(line)
                act(after)
                found.steps += 1
                found.passes = max(found.passes, after.passes)
                rest = left - name.startswith("!")
                if after.violations:
                    found.violations, found.trace = after.violations, (*trace, name)
                    break
                print_ = (COPIES.fingerprint(after), rest)
                if print_ not in seen:
                    seen.add(print_)
                    following.append((after, rest, (*trace, name)))
            if found.violations:
                break
        found.depth += 1
        layer = following
    found.states, found.seconds = len(seen), time.monotonic() - begun
    return found


def underway(*, permits: bool = False, number: int = 1, encoder: int = 0) -> SmallLine:
    """A line whose two vials are before the gate, their frames on the way; or with both permits about to be written."""
    line = SmallLine(number=number, encoder=encoder)
    for _ in range(4):
        line.move()
        line.hear()
        if permits and line.frames:
            line.frame()
    for unit in list(line.bound) if permits else ():
        line.judge(unit)
    return line
