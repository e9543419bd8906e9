"""The empty-line run ends only when the belt moved for the length of the machine and nobody was seen."""

from hypothesis import given
from hypothesis import strategies as st

from daemon.line.clearance import REMEMBERED, Clearance
from daemon.units import UnitId

LENGTH = 1000
NEAR_WRAP = 0xFFFFFFFF - 400


def test_nothing_is_pending_before_somebody_asks() -> None:
    clearance = Clearance(LENGTH)
    assert not clearance.pending and not clearance.run(5 * LENGTH, (0,))


def test_the_belt_must_move_for_the_whole_length_even_over_the_wrap() -> None:
    clearance = Clearance(LENGTH)
    clearance.require("line clearance by ann")
    for moved in range(0, LENGTH, 100):
        assert not clearance.run((NEAR_WRAP + moved) & 0xFFFFFFFF, (3, 4))
    assert clearance.run((NEAR_WRAP + LENGTH) & 0xFFFFFFFF, (3, 4))
    assert not clearance.pending


def test_a_body_at_any_eye_begins_the_run_anew() -> None:
    clearance = Clearance(LENGTH)
    clearance.require("x")
    assert not clearance.run(0, (0,))
    assert not clearance.run(900, (1,))
    assert not clearance.run(1800, (1,))
    assert clearance.run(1900, (1,))


def test_asking_again_begins_anew_and_keeps_the_first_reason() -> None:
    clearance = Clearance(LENGTH)
    clearance.require("first")
    clearance.run(0, (0,))
    clearance.run(999, (0,))
    clearance.require("second")
    assert not clearance.run(1000, (0,))
    assert clearance.why == "first"


def test_a_standing_belt_never_ends_it() -> None:
    clearance = Clearance(LENGTH)
    clearance.require("x")
    assert not any(clearance.run(77, (0,)) for _ in range(10_000))


def test_the_newest_removed_units_are_remembered() -> None:
    clearance = Clearance(LENGTH)
    clearance.take_out(UnitId(1, 0, number) for number in range(REMEMBERED + 10))
    assert UnitId(1, 0, 9) not in clearance.removed and UnitId(1, 0, REMEMBERED + 9) in clearance.removed


@given(st.lists(st.tuples(st.integers(0, 400), st.booleans()), max_size=60))
def test_it_ends_exactly_after_a_quiet_length(steps: list[tuple[int, bool]]) -> None:
    clearance, encoder, bodies, quiet_from = Clearance(LENGTH), 0, 0, None
    clearance.require("x")
    for counts, body in steps:
        encoder, bodies = encoder + counts, bodies + body
        quiet_from = encoder if body or quiet_from is None else quiet_from
        ended = clearance.run(encoder, (bodies,))
        assert ended == (encoder - quiet_from >= LENGTH)
        if ended:
            return
