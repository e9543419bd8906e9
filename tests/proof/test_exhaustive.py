"""All interleavings of a small line: two vials, one camera, one fault anywhere. `make exhaustive` goes deeper."""

from proof_clone import Copies
from small_line import SmallLine
from small_search import CLASSES, COPIES, SHARED, Found, search, underway


def _sound(found: Found) -> None:
    assert found.violations == [], f"after {' > '.join(found.trace)}"
    assert found.whole
    assert found.states > 100


def test_every_interleaving_without_a_fault_passes_both_vials_and_nothing_else() -> None:
    found = search(underway(permits=True), depth=40, faults=0)
    _sound(found)
    assert found.ended > 0, "no way to the end was found: the search proves nothing"
    assert found.passes == 2, "the line can not pass two good vials: the search proves nothing"


def test_every_interleaving_of_the_way_to_the_permits() -> None:
    _sound(search(SmallLine(), depth=12, faults=0))
    _sound(search(underway(), depth=9, faults=0))


def test_one_fault_anywhere_between_the_first_edge_and_the_gate_passes_nothing_unpermitted() -> None:
    _sound(search(underway(), depth=6, faults=1))


def test_one_fault_while_permits_are_on_their_way_or_in_their_slots() -> None:
    _sound(search(underway(permits=True), depth=5, faults=1))


def test_the_last_number_and_the_encoder_wrap_change_nothing() -> None:
    found = search(underway(permits=True, number=0xFFFFFFFF, encoder=0xFFFFFFFF - 1000), depth=8, faults=0)
    _sound(found)
    assert found.passes == 2


def test_a_copy_shares_nothing_that_changes_and_equal_lines_have_equal_fingerprints() -> None:
    copies = Copies(CLASSES, SHARED)
    line = SmallLine()
    other = copies.copy(line)
    assert COPIES.fingerprint(other) == COPIES.fingerprint(line)
    before = copies.fingerprint(line)
    while other.places():
        other.move()
    assert copies.fingerprint(line) == before
    assert copies.fingerprint(other) != before
