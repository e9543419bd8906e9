"""What makes the simulated PLC pass a unit, and what voids a permit: examples, and a property over any schedule."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plc_world import (
    AUTOMATIC,
    COUNTS_PER_SCAN,
    DEVICE,
    FOREIGN,
    GATE,
    RUN,
    SPEC,
    PlcWorld,
    decided_to_pass,
    run_through,
)

from drivers.gate.plc_io import MAX_U32, Cause, Flag, Key, Step
from drivers.gate.plc_logic import ABORT, HOLD, RESET


@pytest.fixture
def world() -> PlcWorld:
    """A line that runs in a granted epoch."""
    world = PlcWorld()
    world.ask_epoch(7)
    return world


@pytest.mark.clause("21 CFR 11.10(h)", "Annex 11 §5")
@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        ({"spoil": 1}, Cause.BAD_CHECK),
        ({"device": FOREIGN}, Cause.BAD_CHECK),
        ({"number": 2, "slot": 1}, Cause.NO_PERMIT),
        ({"number": 65}, Cause.NO_PERMIT),
        ({"slot": 2}, Cause.NO_PERMIT),
        ({"epoch": 3}, Cause.WRONG_EPOCH),
    ],
)
def test_a_permit_must_name_unit_epoch_place_and_device(world: PlcWorld, spoil: dict[str, int], cause: Cause) -> None:
    world.body()
    world.scan()
    arguments = {"number": 1, "epoch": world.plc.epoch} | spoil
    world.permit(arguments.pop("number"), arguments.pop("epoch"), **arguments)
    assert run_through(world)[1] is cause
    assert world.ended == [False]


def test_a_permit_is_used_once(world: PlcWorld) -> None:
    """A slot filled again after the decision never serves another body."""
    world.body()
    world.scan()
    world.permit(1, world.plc.epoch)
    world.travel(GATE - 300)
    assert world.out.gates == [True] and world.slots() == set()
    world.permit(1, world.plc.epoch)
    world.travel(GATE)
    assert world.ended == [True] and world.plc.in_flight == 0


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
def test_inspection_authority(world: PlcWorld, key: Key, accept: bool, permit: bool, passes: bool) -> None:
    world.inputs.authority, world.inputs.legacy_accept = key, accept
    world.body()
    world.scan()
    if permit:
        world.permit(1, world.plc.epoch)
    flags, _ = run_through(world)
    assert world.ended == [passes]
    assert world.bank.get("authority") == key
    assert bool(flags & Flag.PERMITTED) == (passes and key is not Key.LEGACY)


def test_permits_count_in_automatic_only(world: PlcWorld) -> None:
    world.mode = AUTOMATIC - 1
    world.body()
    world.scan(11)
    world.permit(1, world.plc.epoch)
    assert run_through(world)[1] is Cause.MODE


def test_a_stale_heartbeat_voids_permits_and_lets_the_belt_run(world: PlcWorld) -> None:
    world.body()
    world.scan()
    world.permit(1, world.plc.epoch)
    world.scan()
    world.beating = False
    world.scan(30)
    assert world.slots() == {1}
    world.scan(15)
    assert world.slots() == set() and world.out.belt and world.out.infeed
    assert not world.bank.get("plc_state") & 4
    assert run_through(world)[1] is Cause.HEARTBEAT_STALE


def test_slots_written_while_dead_are_gone_when_the_heartbeat_returns(world: PlcWorld) -> None:
    world.body()
    world.scan()
    world.beating = False
    world.scan(50)
    world.permit(1, world.plc.epoch)
    world.beating = True
    world.scan(11)
    assert world.slots() == set()
    assert run_through(world)[1] is Cause.NO_PERMIT


@pytest.mark.clause("21 CFR 11.10(h)")
def test_a_foreign_device_permits_nothing(world: PlcWorld) -> None:
    world.body()
    world.scan()
    world.permit(1, world.plc.epoch)
    world.identity = FOREIGN
    world.scan(11)
    assert world.slots() == set()
    world.permit(1, world.plc.epoch)
    assert run_through(world)[1] is Cause.FOREIGN_DEVICE
    assert world.bank.get("foreign_writes") > 1


@pytest.mark.clause("21 CFR 11.10(h)")
def test_a_foreign_device_gets_no_epoch(world: PlcWorld) -> None:
    before = world.plc.epoch
    world.identity = FOREIGN
    assert world.ask_epoch(99) == before
    assert world.bank.get("epoch_nonce_granted") == 7


def test_epoch_handshake() -> None:
    world = PlcWorld()
    assert world.plc.epoch == 2 - 1
    assert world.ask_epoch(0) == 1, "nonce 0 asks for nothing"
    assert not world.bank.get("plc_state") & 8
    assert world.ask_epoch(5) == 2
    assert world.ask_epoch(5) == 2, "the same nonce asks once"
    assert world.ask_epoch(6, proposal=50) == 50
    assert world.ask_epoch(8, proposal=10) == 51
    assert (world.bank.get("epoch"), world.bank.get("epoch_nonce_granted")) == (51, 8)
    assert world.bank.get("plc_state") & 8


def test_a_new_epoch_voids_slots_and_counters_and_units_of_the_old_one(world: PlcWorld) -> None:
    world.body()
    world.scan()
    world.permit(1, world.plc.epoch)
    assert world.head("created") == 1
    epoch = world.ask_epoch(8)
    assert world.slots() == set() and world.head("created") == 0
    world.permit(1, epoch)
    assert run_through(world)[1] is Cause.WRONG_EPOCH
    assert world.ended == [False]


def test_the_last_epoch_names_no_single_agreement_and_permits_nothing(world: PlcWorld) -> None:
    assert world.ask_epoch(8, proposal=MAX_U32) == MAX_U32
    world.body()
    world.scan()
    assert world.ask_epoch(9) == MAX_U32
    world.permit(1, MAX_U32)
    assert run_through(world)[1] is Cause.WRONG_EPOCH
    assert world.ended == [False]


OPERATIONS = st.one_of(
    st.tuples(st.just("travel"), st.integers(1, 3000)),
    st.tuples(st.just("travel"), st.integers(1, 3000)),
    st.tuples(st.just("body"), st.just(0)),
    st.tuples(st.just("body"), st.just(0)),
    st.tuples(st.just("bounce"), st.just(0)),
    st.tuples(st.just("permit"), st.integers(0, 5)),
    st.tuples(st.just("permit"), st.integers(0, 5)),
    st.tuples(st.just("spoiled"), st.integers(0, 3)),
    st.tuples(st.just("beating"), st.booleans()),
    st.tuples(st.just("identity"), st.sampled_from([DEVICE, DEVICE, FOREIGN])),
    st.tuples(st.just("mode"), st.sampled_from([AUTOMATIC, AUTOMATIC, 0])),
    st.tuples(st.just("nonce"), st.integers(1, 4)),
    st.tuples(st.just("restart"), st.just(True)),
    st.tuples(st.just("command"), st.sampled_from([RUN, RUN, RUN | HOLD, RUN | RESET, ABORT])),
)


class Oracle:
    """Knows by itself which permits may count: the last one written for a unit that exists, in its own epoch, with the
    device alive from then on."""

    def __init__(self) -> None:
        self.world = PlcWorld()
        self.world.ask_epoch(7)
        self.good: dict[int, int] = {}
        self.created: list[int] = []
        self.closed: list[int] = []
        self.passed = 0
        self._checked = 0

    def do(self, name: str, value: int) -> None:
        world = self.world
        if name == "travel":
            self.scan(-(-value // COUNTS_PER_SCAN))
        elif name in ("body", "bounce"):
            getattr(world, name)()
            self.scan()
        elif name in ("permit", "spoiled"):
            getattr(self, name)(value)
            self.scan()
        elif name == "restart":
            world.restart()
            assert world.slots() == set()
        else:
            setattr(world, name, value)
            self.scan(11)

    def permit(self, back: int) -> None:
        """A right permit for one of the newest units, open or long gone."""
        if len(self.created) > back:
            number = self.created[-1 - back]
            self.world.permit(number, self.world.plc.epoch)
            self.good = {n: g for n, g in self.good.items() if n % 64 != number % 64}
            if number not in self.closed:
                self.good[number] = self.world.plc.epoch

    def spoiled(self, kind: int) -> None:
        """A permit with one thing wrong."""
        if self.created:
            number, epoch = self.created[-1], self.world.plc.epoch
            extra = ({"spoil": 4}, {"device": FOREIGN}, {"slot": (number + 1) % 64}, {})[kind]
            self.world.permit(number, epoch - 1 if kind == 3 else epoch, **extra)
            place = extra.get("slot", number % 64)
            self.good = {n: g for n, g in self.good.items() if n % 64 != place}

    def scan(self, count: int = 1) -> None:
        for _ in range(count):
            self.world.scan()
            self._check()

    def _check(self) -> None:
        world = self.world
        events, self._checked = world.events[self._checked :], len(world.events)
        alive = world.now_us - world.beat_us <= 80_000 and world.bank.get("device_identity") == DEVICE
        if not alive:
            self.good.clear()
        for event in events:
            if event.step is Step.CREATED:
                self.created.append(event.number)
            elif decided_to_pass(event):
                assert self.good.pop(event.number, None) == event.epoch == world.plc.epoch
                assert world.bank.get("line_mode") == AUTOMATIC and event.flags & Flag.PERMITTED
                self.passed += 1
            elif event.step is Step.CLOSED:
                self.closed.append(event.number)
        for ring, numbers in (("created", self.created), ("closed", self.closed)):
            head = world.head(f"{ring}_seq")
            if head and numbers:
                name = "unit" if ring == "created" else ring
                assert world.entry(name, head) | {"seq": head, "number": numbers[-1]} == world.entry(name, head)


@settings(max_examples=200, deadline=None)
@given(st.lists(OPERATIONS, max_size=60))
def test_nothing_passes_without_its_own_permit_and_every_unit_is_closed_once(steps: list[tuple[str, int]]) -> None:
    oracle = Oracle()
    for name, value in steps:
        oracle.do(name, value)
    world = oracle.world
    world.identity, world.beating = DEVICE, True
    for command in (RUN, RUN | RESET, RUN):
        oracle.do("command", command)
    oracle.do("travel", SPEC.pass_eye + SPEC.window + 2000)
    assert sorted(oracle.closed) == sorted(oracle.created) == list(range(1, len(oracle.created) + 1))
    assert world.plc.in_flight == 0
    assert sum(world.ended) <= oracle.passed


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(350, 2500), min_size=5, max_size=40), st.integers(0, 2**32 - 1), st.randoms())
def test_permitted_bodies_pass_and_no_others(gaps: list[int], encoder: int, chance: object) -> None:
    world = PlcWorld(encoder)
    world.ask_epoch(7)
    wanted = []
    for gap in gaps:
        world.body()
        world.scan()
        number = world.head("created_seq")
        wanted.append(chance.random() < 0.6)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
        if wanted[-1]:
            world.permit(number, world.plc.epoch)
        world.travel(gap)
    world.travel(SPEC.pass_eye + SPEC.window + 100)
    assert len(world.ended) == len(gaps)
    assert not any(ended and not permitted for ended, permitted in zip(world.ended, wanted, strict=True))
    far = [k for k in range(len(gaps)) if wanted[k] and (k == 0 or gaps[k - 1] > 700) and gaps[k] > 700]
    assert all(world.ended[k] for k in far)


def test_a_permit_that_comes_with_the_first_heartbeat_is_gone(world: PlcWorld) -> None:
    world.body()
    world.scan()
    world.beating = False
    world.scan(50)
    world.permit(1, world.plc.epoch)
    world.beat()
    world.scan()
    assert world.bank.get("plc_state") & 4 and world.slots() == set()


def test_no_permit_counts_before_an_epoch_was_granted(world: PlcWorld) -> None:
    world.restart()
    world.nonce = 0
    world.scan(11)
    world.body()
    world.scan()
    world.permit(2 - 1, world.plc.epoch)
    assert run_through(world)[1] is Cause.WRONG_EPOCH
