"""Reject channels: the line names one for what it does not accept, the gate obeys valid ones, none ever passes."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plc_world import DEVICE, FOREIGN, MAP, PlcWorld, run_through

from daemon.line.tracking import Command, Divert, Grant, Misplaced, Settings, Tracker
from daemon.line.unit import CHANNELS, Finish, Seen, channel_of
from daemon.messages import Judged
from daemon.units import Channel, Evidence, FrameKey, JudgedView, Outcome, Reason, UnitId, Verdict, ViewKey
from drivers.gate.plc_io import Cause, Flag
from drivers.registers import CHANNEL_MARK, channel_check, permit_check, split

MS = 1_000_000
BODY = ViewKey("body")
SETTINGS = Settings(frozenset({BODY}), 800, 11_700, 300, 120 * MS)
COSMETIC = CHANNELS[Channel.COSMETIC]


@pytest.fixture
def world() -> PlcWorld:
    """A PLC with an agreed epoch and a belt that runs."""
    world = PlcWorld()
    world.ask_epoch(7)
    return world


def name(world: PlcWorld, number: int, channel: int, *, device: int = DEVICE, epoch: int = 0, spoil: int = 0) -> None:
    check = channel_check(number, epoch or world.plc.epoch, 0, channel, device) ^ spoil
    world.bank.write(MAP.channel.at(0, number % 64), [*split(number), channel, check])


def test_the_line_and_the_map_count_the_channels_alike() -> None:
    assert {channel.value: number for channel, number in CHANNELS.items()} == MAP.channels


@pytest.mark.parametrize("channel", sorted(CHANNELS.values()))
def test_a_diverted_unit_goes_where_the_line_says_and_the_ring_says_so(world: PlcWorld, channel: int) -> None:
    world.body()
    world.scan()
    name(world, 1, channel)
    turned: set[int] = set()
    while not world.entry("closed", 1)["seq"]:
        world.scan()
        turned.add(world.out.channels[0])
    entry = world.entry("closed", 1)
    assert entry["flags"] == Flag.DIVERTED | Flag.CHUTE_SEEN | channel << 8
    assert turned == {0, channel} and world.out.channels == [0], "it turns for that unit's window only"


@pytest.mark.parametrize(
    "wrong",
    [
        {"spoil": 1},
        {"device": FOREIGN},
        {"epoch": 999},
        {"channel": 5},
        {"channel": CHANNEL_MARK},
        {"number": 65},
    ],
)
def test_what_is_not_valid_is_critical(world: PlcWorld, wrong: dict[str, int]) -> None:
    world.body()
    world.scan()
    words = {"number": 1, "channel": COSMETIC} | wrong
    name(world, **words)  # type: ignore[arg-type]  # its keys are the function's arguments
    assert run_through(world)[0] >> 8 == 0


def test_two_bodies_that_the_chute_cannot_part_go_to_the_gravest_channel(world: PlcWorld) -> None:
    """Turned for the second, the chute would take the first one along."""
    world.body()
    world.scan(5)
    world.body()
    world.scan()
    name(world, 1, 0)
    name(world, 2, COSMETIC)
    run_through(world)
    assert [world.entry("closed", seq)["flags"] >> 8 for seq in (1, 2)] == [0, 0]


def test_a_dead_device_loses_its_channels_too(world: PlcWorld) -> None:
    world.body()
    world.scan()
    name(world, 1, COSMETIC)
    world.beating = False
    flags, cause = run_through(world)
    assert (flags >> 8, cause) == (0, Cause.HEARTBEAT_STALE)


def test_a_permit_beats_a_channel_and_creation_clears_it(world: PlcWorld) -> None:
    name(world, 1, COSMETIC)
    world.body()
    world.scan()
    world.permit(1, world.plc.epoch)
    assert run_through(world)[0] == Flag.PERMITTED | Flag.PASS_SEEN


@given(st.integers(0, 63), st.lists(st.integers(0, 0xFFFF), min_size=4, max_size=4), st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_channel_ever_lets_a_unit_pass(slot: int, words: list[int], named: bool) -> None:
    world = PlcWorld()
    world.ask_epoch(7)
    world.body()
    world.scan()
    world.bank.write(MAP.channel.at(0, slot), words)
    if named:
        name(world, 1, words[2] % 4)
    flags, cause = run_through(world)
    assert flags & Flag.DIVERTED and cause is Cause.NO_PERMIT


@given(st.integers(1, 0xFFFFFFFF), st.integers(0, 3), st.integers(0, 3))
def test_channel_words_in_a_permit_slot_are_no_permit(number: int, lane: int, channel: int) -> None:
    slot = number % 64
    assert channel_check(number, channel, lane, channel, DEVICE) != permit_check(number, channel, lane, slot, DEVICE)


class Line:
    """A tracker with one camera."""

    def __init__(self, sampling_every: int = 0, acting: bool = True) -> None:
        self.tracker = Tracker(replace(SETTINGS, sampling_every=sampling_every), acting)

    def unit(self, n: int, verdict: Verdict, channel: Channel = Channel.NONE) -> list[Command]:
        unit, key = UnitId(1, 0, n), FrameKey("body", 7, n)
        self.tracker.created(unit, n * 1200, 0, None)
        self.tracker.edge(unit, BODY, 100 * MS)
        self.tracker.bound(unit, BODY, Evidence(key, n, 0, 0, 0, 0, 0, 0, True, True, 0))
        views = [JudgedView(BODY, key, 0, "d", {})]
        reason = {Verdict.ACCEPT: Reason.NONE, Verdict.REJECT: Reason.DEFECT}.get(verdict, Reason.DOUBTFUL)
        judged = Judged(unit, verdict, reason, channel, "scratch", views, "digest", "recipe", 1, 2, 3, 4)
        return self.tracker.judged(judged, 110 * MS, None, ours=True)

    def close(self, n: int, channel: int, *, chute: bool = True) -> list[Command]:
        seen = Seen(UnitId(1, 0, n), False, True, chute, not chute, False, 2 | channel << 8, 0, channel)
        return self.tracker.closed(seen, False)


@pytest.mark.parametrize(
    ("verdict", "judged", "told"),
    [
        (Verdict.REJECT, Channel.CRITICAL, Channel.CRITICAL),
        (Verdict.REJECT, Channel.COSMETIC, Channel.COSMETIC),
        (Verdict.UNDECIDED, Channel.GREY, Channel.GREY),
        (Verdict.REJECT, Channel.SAMPLE, Channel.CRITICAL),
        (Verdict.REJECT, Channel.NONE, Channel.CRITICAL),
    ],
)
def test_a_verdict_names_its_channel_in_command_and_row(verdict: Verdict, judged: Channel, told: Channel) -> None:
    line = Line()
    assert Divert(UnitId(1, 0, 1), told) in line.unit(1, verdict, judged)
    finish = line.close(1, CHANNELS[told])[0]
    assert isinstance(finish, Finish) and channel_of(finish) == (told, "scratch")


def test_a_unit_without_a_verdict_is_grey_and_a_defect_found_later_moves_it() -> None:
    line, unit = Line(), UnitId(1, 0, 1)
    line.tracker.created(unit, 0, 0, None)
    assert line.tracker.missing(unit, Reason.NO_IMAGE) == [Divert(unit, Channel.GREY)]
    assert line.tracker.missing(unit, Reason.UNSYNCED) == [], "said once"
    assert line.unit(1, Verdict.REJECT, Channel.CRITICAL)[-1] == Divert(unit, Channel.CRITICAL)


def test_without_authority_nothing_is_told() -> None:
    line = Line(acting=False)
    assert not [c for c in line.unit(1, Verdict.REJECT, Channel.COSMETIC) if isinstance(c, Divert)]


def test_every_nth_good_unit_is_a_sample_and_gets_no_permit() -> None:
    line, taken = Line(sampling_every=3), []
    for n in range(1, 8):
        commands = line.unit(n, Verdict.ACCEPT)
        if Divert(UnitId(1, 0, n), Channel.SAMPLE) in commands:
            taken.append(n)
        else:
            assert [type(c) for c in commands] == [Grant]
    assert taken == [3, 6]
    assert not line.tracker.tick(9_000 * MS, Reason.LATE, 0), "a sample is never late"
    finish = line.close(3, CHANNELS[Channel.SAMPLE])[0]
    assert isinstance(finish, Finish)
    assert (finish.outcome, finish.reason, channel_of(finish)) == (Outcome.SAMPLED, Reason.NONE, (Channel.SAMPLE, ""))


@pytest.mark.parametrize(("chute", "outcome"), [(True, Outcome.REJECTED), (False, Outcome.ESCAPED)])
def test_a_sample_seen_elsewhere_is_no_sample(chute: bool, outcome: Outcome) -> None:
    line = Line(sampling_every=1)
    line.unit(1, Verdict.ACCEPT)
    finish = line.close(1, 0, chute=chute)[0]
    assert isinstance(finish, Finish) and finish.outcome is outcome


def test_a_sample_of_an_earlier_life_of_the_line_is_still_in_its_channel() -> None:
    finish = Line().close(1, CHANNELS[Channel.SAMPLE])[0]
    assert isinstance(finish, Finish)
    assert (finish.outcome, finish.reason, finish.source) == (Outcome.SAMPLED, Reason.LINE_DOWN, "plc")
    assert channel_of(finish) == (Channel.SAMPLE, "")


def test_a_unit_in_another_channel_than_its_own_is_told_but_for_critical() -> None:
    line = Line()
    line.unit(1, Verdict.REJECT, Channel.COSMETIC)
    line.unit(2, Verdict.REJECT, Channel.COSMETIC)
    assert not [c for c in line.close(1, 0) if isinstance(c, Misplaced)]
    assert Misplaced(UnitId(1, 0, 2), 3) in line.close(2, 3)
