"""A state machine over tracker, binder, permits and gate program: any choice at any moment, over many vials.

Nothing passes that the line did not permit over the vial's own pixels; every unit closes exactly once; stale, shifted,
repeated, torn, wrapped and old-epoch values permit nothing. SmallLine notes what must not be.
"""

from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from small_line import SmallLine
from small_parts import MAP

from daemon.units import UnitId, Verdict

VIALS = 70


class LineMachine(RuleBasedStateMachine):
    """Rules are the choices of SmallLine; good things are likelier than faults, so that vials do pass."""

    def __init__(self) -> None:
        super().__init__()
        self.line = SmallLine()

    @initialize(
        number=st.sampled_from((1, 60, 0xFFFFFFFF - 1, 0xFFFFFFFF)),
        encoder=st.sampled_from((0, 0xFFFFFFFF - 3000, 0x7FFFFFFF)),
    )
    def begin(self, number: int, encoder: int) -> None:
        self.line = SmallLine(count=VIALS, number=number, encoder=encoder)

    def _open(self) -> list[UnitId]:
        return [unit for unit in self.line.bound if unit in self.line.tracker._units]

    @rule(permit=st.booleans())
    def go_on(self, permit: bool) -> None:
        """Everything that waits happens in order, and the belt goes on."""
        self._settle(permit)
        self.line.move()

    def _settle(self, permit: bool) -> None:
        line = self.line
        while line.events:
            line.hear()
        while line.frames:
            line.frame()
        for unit in self._open() if permit else ():
            line.judge(unit)
        while line.writes:
            line.write()

    @rule()
    def belt_moves(self) -> None:
        self.line.move()

    @precondition(lambda self: self.line.events)
    @rule()
    def line_reads(self) -> None:
        self.line.hear()

    @precondition(lambda self: self.line.frames)
    @rule(kind=st.sampled_from(("once", "twice", "kept", "lost", "swapped")))
    def a_frame(self, kind: str) -> None:
        line = self.line
        if kind == "lost":
            line.lose_frame()
        elif kind == "swapped":
            line.swap_frames()
        else:
            line.frame(twice=kind == "twice", keep=kind == "kept")

    @precondition(lambda self: self._open())
    @rule(data=st.data(), verdict=st.sampled_from(Verdict), own=st.booleans())
    def a_verdict(self, data: st.DataObject, verdict: Verdict, own: bool) -> None:
        unit = data.draw(st.sampled_from(self._open()))
        other = None if own else data.draw(st.sampled_from(list(self.line.bound)))
        self.line.judge(unit, verdict, other)

    @precondition(lambda self: self.line.writes)
    @rule()
    def half_a_write(self) -> None:
        self.line.write()

    @rule()
    def program_scans(self) -> None:
        self.line.scan()

    @precondition(lambda self: self.line.sent)
    @rule(data=st.data())
    def an_old_write_again(self, data: st.DataObject) -> None:
        self.line.replay(data.draw(st.integers(0, len(self.line.sent) - 1)))

    @precondition(lambda self: self.line.bodies)
    @rule(part=st.sampled_from((slice(0, 1), slice(0, 2), slice(1, 3), slice(2, 4), slice(0, 4))))
    def a_stranger_writes(self, part: slice) -> None:
        self.line.forge(part)

    @precondition(lambda self: self.line.sent)
    @rule(data=st.data(), shift=st.sampled_from((-1, 1)))
    def a_permit_in_its_neighbours_slot(self, data: st.DataObject, shift: int) -> None:
        _unit, address, words = data.draw(st.sampled_from(self.line.sent))
        slot = (address - MAP.permit.at(0)) // MAP.permit.entry + shift
        assume(0 <= slot < MAP.permit.length)
        if self.line.bank.words[MAP.permit.at(0, slot)] == 0:
            self.line.bank.write(MAP.permit.at(0, slot), words)

    @rule(new=st.booleans())
    def permits_of_mixed_epochs(self, new: bool) -> None:
        self.line.mix_epochs(new=new)

    @rule()
    def a_new_epoch(self) -> None:
        self.line.ask_epoch()

    @rule(goes=st.booleans())
    def heartbeats(self, goes: bool) -> None:
        self.line.wake() if goes else self.line.hang()

    @rule(what=st.sampled_from(("line", "PLC", "PLC forgets")))
    def a_restart(self, what: str) -> None:
        if what == "line":
            self.line.restart_line()
        else:
            self.line.restart_plc(what == "PLC")

    @invariant()
    def nothing_happened_that_must_not(self) -> None:
        assert self.line.violations == []

    def teardown(self) -> None:
        line = self.line
        while line.places() and len(line.bodies) < line.count:
            line.count = len(line.bodies)
        while line.places():
            line.move()
            self._settle(False)
        assert line.violations == []


LineMachine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
test_state_machine = LineMachine.TestCase


def test_the_machine_can_pass_vials() -> None:
    """Without this the invariants would hold of a line that passes nothing."""
    machine = LineMachine()
    machine.line = SmallLine(count=5)
    while machine.line.places():
        machine.go_on(True)
    assert machine.line.passes == 5
    assert machine.line.violations == []
