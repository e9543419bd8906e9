"""The reject board's C core, driven through its bytes: what makes it spare a unit, and all that makes it eject."""

from itertools import pairwise

import pytest
from board_world import DEVICE, FOREIGN, GATE, SPEC, BoardWorld
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.gate.plc_io import Cause, Flag, Key, Latch, Step
from drivers.registers import CHANNEL_MARK, Command, channel_check
from drivers.serial_frames import Frame, Ping, Ring, Sort, encode

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


def test_more_units_than_it_can_follow_stop_the_belt(world: BoardWorld) -> None:
    for _ in range(65):
        world.body()
        world.scan()
    assert not world.out.belt and world.board.in_flight == 64
    assert world.status.state & 16


def test_more_edges_than_it_can_latch_stop_the_belt(world: BoardWorld) -> None:
    for _ in range(65):
        world.inputs.chute.append(Latch(world.now_us, world.encoder))
    world.scan(2)
    assert not world.out.belt


def test_an_ejected_body_at_the_pass_eye_stops_the_belt_until_reset(world: BoardWorld) -> None:
    world.travel(SPEC.pass_eye + SPEC.window + 100)
    world.body()
    world.travel(GATE + 500)
    world.inputs.passed.append(Latch(world.now_us, (world.encoder + SPEC.pass_eye - GATE - 500) & 0xFFFFFFFF))
    world.scan(2)
    assert not world.out.belt and not world.out.infeed
    world.command = Command.RUN | Command.RESET
    world.scan(20)
    assert world.out.belt


def test_an_input_without_which_it_may_not_run_stops_the_belt() -> None:
    world = BoardWorld(must=0b10)
    world.agree()
    assert world.out.belt
    world.board.wired = 0xFFFF ^ 0b10
    world.scan()
    assert not world.out.belt
    world.command = Command.RUN | Command.RESET
    world.scan(20)
    assert not world.out.belt


def test_abort_counts_from_anybody_and_at_any_time(world: BoardWorld) -> None:
    world.device, world.command = FOREIGN, Command.ABORT
    world.scan(20)
    assert not world.out.belt and not world.out.gates[0]


def test_a_stop_in_an_open_window_closes_it(world: BoardWorld) -> None:
    world.body()
    world.scan()
    world.permit(1)
    world.travel(GATE - 300)
    assert world.out.gates == [True]
    world.command = Command.ABORT
    world.scan(10)
    assert world.out.gates == [False] and not world.out.belt


def test_a_belt_that_steps_back_at_the_infeed_eye_decides_nothing(world: BoardWorld) -> None:
    world.body()
    world.encoder -= 100
    world.scan()
    assert [step.step for step in world.steps] == [Step.CREATED]


def test_a_board_without_power_ejects_and_stops_the_belt(world: BoardWorld) -> None:
    world.body()
    world.scan()
    world.permit(1)
    world.travel(GATE - 300)
    assert world.out.gates == [True]
    out = world.board.stop()
    assert (out.gates, out.belt, out.infeed) == ([False], False, False)
    assert world.board.transmit(100) == b""


@pytest.mark.parametrize("retained", [True, False])
def test_after_a_restart_nothing_that_was_permitted_passes(world: BoardWorld, retained: bool) -> None:
    world.body()
    world.scan()
    old = world.permit(1)
    world.scan()
    epoch = world.status.epoch
    world.out = world.board.stop()
    world.board.start(world.encoder, retained)
    world.events.clear()
    world.board.receive(old)
    world.proposal = epoch + 1
    assert world.agree() > epoch
    world.board.receive(old)
    world.body()
    world.scan()
    number = world.steps[-1].number
    assert number == (2 if retained else 1)
    world.through()
    assert world.ended == [False, False]


def test_sync_shots_are_ordered_on_an_empty_belt_and_their_edges_name_no_unit(world: BoardWorld) -> None:
    world.command = Command.RUN | Command.SYNC
    world.scan(20)
    assert [(order.station, order.shot) for order in world.fired] == [(s, n) for s in (0, 3) for n in range(4)]
    gaps = {b.at_us - a.at_us for a, b in pairwise(world.fired[:4]) if a.at_us and b.at_us}
    assert gaps == {100_000}
    world.fire(world.fired[0])
    world.scan()
    assert [(e.ring, e.index, e.number) for _, e in world.events] == [(Ring.EDGE, 0, 0)]


def test_every_unit_orders_its_shots_and_a_restart_orders_those_still_ahead(world: BoardWorld) -> None:
    world.body()
    expected = [(place.station, (world.encoder + place.at) & 0xFFFFFFFF) for place in SPEC.stations]
    world.scan()
    assert [(o.station, o.encoder) for o in world.fired] == expected
    world.travel(4_000)
    world.fired.clear()
    world.board.stop()
    world.board.start(world.encoder)
    world.scan()
    assert [order.station for order in world.fired] == [3]


def test_a_channel_sorts_an_ejected_unit_and_never_spares_one(world: BoardWorld) -> None:
    world.body()
    world.scan()
    epoch = world.status.epoch
    check = channel_check(1, epoch, 0, 2, DEVICE)
    world.say(Sort(DEVICE, epoch, 1, 0, CHANNEL_MARK | 2, check, world.seen), 1)
    world.travel(GATE - 300)
    assert (world.out.gates, world.out.channels) == ([False], [2])
    assert world.through()[0] >> 8 == 2
    assert world.out.channels == [0]


def test_events_are_kept_until_they_are_acknowledged_and_given_again(world: BoardWorld) -> None:
    world.acknowledge = 0
    world.body()
    world.scan(60)
    sequences = [sequence for sequence, _ in world.events]
    assert sequences.count(1) >= 2 and set(sequences) == {1}
    world.acknowledge = 1
    world.scan(2)
    world.events.clear()
    world.scan(60)
    assert world.events == []


def test_a_device_that_misses_events_gets_them_at_once(world: BoardWorld) -> None:
    world.acknowledge = 0
    world.body()
    world.scan(5)
    world.events.clear()
    world.say(Ping(1, again=True))
    world.scan(2)
    assert [sequence for sequence, _ in world.events] == [1]


def test_an_acknowledgement_of_what_was_never_said_changes_nothing(world: BoardWorld) -> None:
    world.acknowledge = 12_345
    world.body()
    world.scan(60)
    assert {sequence for sequence, _ in world.events} == {1} and len(world.events) >= 2
    world.body()
    world.scan(30)
    assert {sequence for sequence, _ in world.events} == {1, 2}


def test_reset_does_not_overrule_an_abort_in_the_same_heartbeat(world: BoardWorld) -> None:
    world.command = Command.RUN | Command.ABORT | Command.RESET
    world.scan(12)
    assert not any(world.scan() or world.out.belt for _ in range(30))


def test_a_device_that_forgot_hears_everything_that_is_still_held(world: BoardWorld) -> None:
    for _ in range(140):
        world.body()
        world.travel(2_000)
    world.through()
    assert [sequence for sequence, _ in world.events] == list(range(1, 281))
    world.events.clear()
    world.acknowledge = world.status.tail - 1
    for _ in range(200):
        world.scan()
        world.acknowledge = world.events[-1][0] if world.events else world.acknowledge
    assert [sequence for sequence, _ in world.events[:256]] == list(range(25, 281))


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
