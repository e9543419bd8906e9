"""The account of frame ids: gaps, overtaking, duplicates."""

from hypothesis import given
from hypothesis import strategies as st

from daemon.camera.account import GEV_LAST_ID, LONGEST_LIST, Arrival, FrameAccount, FrameIds


def run(*ids: int) -> list[tuple[Arrival, tuple[int, ...]]]:
    account = FrameAccount()
    return [(found.arrival, found.lost) for found in map(account.delivered, ids)]


NEW = (Arrival.NEW, ())


def test_rising_ids_are_new() -> None:
    assert run(0, 1, 2) == [NEW] * 3
    assert run(41, 42) == [NEW] * 2


def test_a_gap_is_a_loss_one_frame_later() -> None:
    assert run(1, 3, 4) == [NEW, NEW, (Arrival.NEW, (2,))]


def test_an_overtaken_frame_is_no_loss() -> None:
    assert run(1, 3, 2, 4) == [NEW] * 4


def test_a_frame_given_up_is_refused_when_it_comes() -> None:
    assert run(1, 3, 4, 2)[-1] == (Arrival.TOO_LATE, ())


def test_the_same_id_twice() -> None:
    assert run(1, 2, 2, 1) == [NEW, NEW, (Arrival.TWICE, ()), (Arrival.TWICE, ())]


def test_an_id_before_the_first_is_refused() -> None:
    assert run(5, 4)[-1][0] is not Arrival.NEW


def test_a_jump_is_named_in_part() -> None:
    arrival, lost = run(1, 10_000_000)[-1]
    assert arrival is Arrival.NEW
    assert lost == tuple(range(10_000_000 - LONGEST_LIST, 10_000_000))


def test_the_end_gives_up_what_is_missing() -> None:
    account = FrameAccount()
    for frame_id in (1, 4):
        account.delivered(frame_id)
    assert account.finish() == (2, 3)
    assert account.finish() == ()


@given(st.lists(st.integers(0, 12), max_size=40))
def test_no_id_is_new_twice_and_none_both_new_and_lost(ids: list[int]) -> None:
    account = FrameAccount()
    new: list[int] = []
    lost: list[int] = []
    for frame_id in ids:
        finding = account.delivered(frame_id)
        if finding.arrival is Arrival.NEW:
            new.append(frame_id)
        lost += finding.lost
    lost += account.finish()
    assert len(new) == len(set(new))
    assert len(lost) == len(set(lost))
    assert not set(new) & set(lost)
    if new:
        assert set(new) | set(lost) == set(range(new[0], max(new) + 1))


def wire(frame_id: int) -> int:
    """The id as GigE Vision 1.x sends it."""
    return (frame_id - 1) % GEV_LAST_ID + 1


@given(st.integers(1, GEV_LAST_ID), st.lists(st.integers(1, 500), min_size=1, max_size=60), st.integers(0, 3))
def test_ids_of_16_bit_go_on_over_every_wrap(first: int, gaps: list[int], turns: int) -> None:
    ids, true = FrameIds(), first
    assert ids.continued(first) == first
    for gap in [*gaps, *[20_000] * (4 * turns)]:
        true += gap
        assert ids.continued(wire(true)) == true


def test_frames_that_overtake_each_other_at_the_wrap_keep_their_ids() -> None:
    ids = FrameIds()
    assert [ids.continued(raw) for raw in (65_534, 1, 65_535, 3, 2, 2)] == [
        65_534,
        65_536,
        65_535,
        65_538,
        65_537,
        65_537,
    ]


def test_wider_ids_are_left_as_they_are() -> None:
    ids = FrameIds()
    assert [ids.continued(raw) for raw in (65_534, 65_535, 65_536, 65_537, 1)] == [65_534, 65_535, 65_536, 65_537, 1]
