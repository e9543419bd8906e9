"""The reject board's C core, driven through its bytes: what makes it spare a unit, and all that makes it eject."""

import pytest
from board_world import FOREIGN, GATE, SPEC, BoardWorld
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.gate.plc_io import Cause, Flag, Key, Latch, Step
from drivers.serial_frames import Frame, Ping, Ring, encode

STALE_SCANS = 60


@pytest.fixture
def world() -> BoardWorld:
    """A board that runs in a granted epoch."""
    world = BoardWorld()
    world.agree()
    return world


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"check": 0x1234}, Cause.BAD_CHECK),
        ({"device": FOREIGN}, Cause.FOREIGN_DEVICE),
        ({"number": 2}, Cause.NO_PERMIT),
        ({"number": 65}, Cause.NO_PERMIT),
        ({"number": 0}, Cause.NO_PERMIT),
        ({"place": 2}, Cause.BAD_CHECK),
        ({"lane": 1}, Cause.NO_PERMIT),
        ({"lane": 9}, Cause.NO_PERMIT),
        ({"epoch": 3}, Cause.WRONG_EPOCH),
    ],
)
def test_a_permit_must_name_unit_epoch_place_and_device(
    world: BoardWorld, changes: dict[str, int], cause: Cause
) -> None:
    world.body()
    world.scan()
    world.permit(1, **changes)
    assert world.through()[1] is cause
    assert world.ended == [False]


def test_a_valid_permit_spares_its_unit_alone_and_between_units_the_ejector_is_on(world: BoardWorld) -> None:
    for _ in range(3):
        world.body()
        world.travel(2_000)
    world.permit(2)
    levels = set()
    for _ in range(400):
        world.scan()
        levels.add(world.out.gates[0])
    assert world.ended == [False, True, False] and levels == {False, True}
    assert world.board.in_flight == 0 and world.board.strays == (0, 0)
    causes = {e.number: (e.first, e.second) for _, e in world.events if e.ring is Ring.CLOSED}
    assert causes[2] == (Flag.PERMITTED | Flag.PASS_SEEN, Cause.NONE)
    assert causes[1] == causes[3] == (Flag.DIVERTED | Flag.CHUTE_SEEN, Cause.NO_PERMIT)
    assert world.out.gates == [False]


def test_a_permit_said_twice_counts_once_and_one_after_the_decision_never(world: BoardWorld) -> None:
    world.body()
    world.scan()
    again = world.permit(1)
    world.board.receive(again)
    world.travel(GATE - 300)
    assert world.out.gates == [True]
    world.board.receive(again)
    world.permit(1)
    world.body()
    world.scan()
    world.board.receive(again)
    assert world.through()[1] is Cause.NO_PERMIT
    assert world.ended == [True, False]


def test_a_permit_out_of_its_sequence_is_not_taken_and_not_acknowledged(world: BoardWorld) -> None:
    world.body()
    world.scan()
    world.sequence = 4
    late = world.permit(1)
    world.scan(5)
    assert not [step for step in world.steps if step.step is Step.PERMIT_SEEN]
    for sequence in range(4):
        world.sequence = sequence
        world.revoke(99)
    world.board.receive(late)
    world.scan()
    assert [step.number for step in world.steps if step.step is Step.PERMIT_SEEN] == [1]


def test_a_revocation_counts_at_once_whatever_its_sequence(world: BoardWorld) -> None:
    world.body()
    world.scan()
    world.permit(1)
    world.sequence = 40
    world.revoke(1)
    assert world.through()[1] is Cause.NO_PERMIT


def test_a_permit_stamped_more_than_80_ms_ago_is_stale(world: BoardWorld) -> None:
    world.body()
    world.scan()
    echo = world.seen
    world.scan(STALE_SCANS)
    world.permit(1, echo=echo)
    assert world.through()[1] is Cause.HEARTBEAT_STALE


@pytest.mark.parametrize("silence", [STALE_SCANS, 2_000])
def test_when_the_device_is_silent_everything_is_ejected_and_the_belt_goes_on(world: BoardWorld, silence: int) -> None:
    world.body()
    world.scan()
    world.permit(1)
    world.scan()
    world.beating = False
    world.scan(silence)
    assert world.out.belt and not world.out.gates[0]
    world.body()
    assert world.through()[1] is Cause.HEARTBEAT_STALE
    assert world.ended == [False, False]


def test_a_permit_that_comes_before_the_heartbeat_is_back_is_not_kept_for_it(world: BoardWorld) -> None:
    world.body()
    world.scan()
    world.beating = False
    for _ in range(STALE_SCANS):
        world.say(Ping(5))
        world.scan()
    world.permit(1)
    world.beat()
    world.beating = True
    world.scan(8)
    assert world.status.state & 4
    assert world.through()[1] is Cause.HEARTBEAT_STALE


def test_a_heartbeat_that_echoes_an_old_beat_or_repeats_keeps_nobody_alive(world: BoardWorld) -> None:
    world.echo = world.seen
    world.scan(100)
    assert not world.status.state & 4
    world.echo = None
    world.scan(30)
    assert world.status.state & 4
    world._beat -= 2000
    world.scan(100)
    assert not world.status.state & 4


def test_silence_of_a_whole_turn_of_the_clock_does_not_make_a_heartbeat_fresh_again(world: BoardWorld) -> None:
    world.body()
    world.scan()
    world.permit(1)
    world.beating = False
    world.scan(STALE_SCANS)
    world.now_us += (1 << 32) - STALE_SCANS * 2_000 + 1_000
    world.scan()
    world.say(Ping(77))
    world.scan(2)
    assert (world.status.stamp, world.status.state & 4) == (77, 0)
    assert world.through()[1] is Cause.HEARTBEAT_STALE


def test_a_new_epoch_voids_permits_of_the_old_one(world: BoardWorld) -> None:
    world.body()
    world.scan()
    permit = world.valid(1)
    world.permit(1)
    world.agree(nonce=8)
    world.sequence += 1
    world.say(permit, world.sequence)
    assert world.through()[1] is Cause.WRONG_EPOCH


@pytest.mark.clause("21 CFR 11.10(h)")
def test_a_foreign_device_permits_nothing_and_voids_what_was(world: BoardWorld) -> None:
    world.body()
    world.scan()
    world.permit(1)
    world.scan()
    world.device = FOREIGN
    world.scan(20)
    world.permit(1, device=FOREIGN)
    assert world.through()[1] is Cause.FOREIGN_DEVICE
    assert world.status.foreign > 0


@pytest.mark.parametrize(
    ("key", "accept", "permit", "passes"),
    [
        (Key.LEGACY, False, True, False),
        (Key.LEGACY, True, False, True),
        (Key.BOTH, False, True, False),
        (Key.BOTH, True, False, False),
        (Key.BOTH, True, True, True),
        (Key.LINEWARDEN, True, False, False),
        (Key.LINEWARDEN, False, True, True),
    ],
)
def test_the_key_switch_says_who_decides(world: BoardWorld, key: Key, accept: bool, permit: bool, passes: bool) -> None:
    world.inputs.authority, world.inputs.legacy_accept = key, accept
    world.body()
    world.scan()
    if permit:
        world.permit(1)
    world.through()
    assert world.ended == [passes]


def test_in_any_mode_but_automatic_everything_is_ejected(world: BoardWorld) -> None:
    world.body()
    world.scan()
    world.permit(1)
    world.mode = 1
    assert world.through()[1] is Cause.MODE


def test_a_unit_close_behind_an_ejected_one_is_ejected_too(world: BoardWorld) -> None:
    world.body()
    world.travel(SPEC.clear - 100)
    world.body()
    world.scan()
    world.permit(2)
    assert world.through()[1] is Cause.TOO_CLOSE


def test_two_units_in_one_tick_keep_their_names(world: BoardWorld) -> None:
    world.inputs.infeed.append(Latch(world.now_us, (world.encoder - 40) & 0xFFFFFFFF))
    world.inputs.infeed.append(Latch(world.now_us, world.encoder))
    world.scan()
    world.permit(1)
    world.travel(GATE - 200)
    decided = [(step.number, step.cause) for step in world.steps if step.step is Step.DECIDED]
    assert decided == [(1, Cause.NONE), (2, Cause.NO_PERMIT)]
    assert world.out.gates == [False]


@pytest.mark.clause("Annex 11 §5", "IEC 62443-4-2 CR 3.1")
@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 45), flip=st.integers(1, 255), drop=st.booleans())
def test_a_corrupted_permit_is_no_permit(place: int, flip: int, drop: bool) -> None:
    world = BoardWorld()
    world.agree()
    world.body()
    world.scan()
    data = bytearray(encode(Frame(world.valid(1), 1)))
    place = 1 + place % (len(data) - 2)
    if drop:
        del data[place]
    else:
        data[place] ^= flip
    world.board.receive(bytes(data))
    world.scan(3)
    assert not [step for step in world.steps if step.step is Step.PERMIT_SEEN]


@settings(max_examples=40, deadline=None)
@given(noise=st.lists(st.binary(min_size=1, max_size=90), min_size=1, max_size=20))
def test_after_any_noise_the_next_frame_is_heard(noise: list[bytes]) -> None:
    world = BoardWorld()
    world.agree()
    world.body()
    for data in noise:
        world.board.receive(data)
        world.scan()
    world.permit(1)
    world.scan()
    assert [step.number for step in world.steps if step.step is Step.PERMIT_SEEN] == [1]
