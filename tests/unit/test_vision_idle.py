"""What thread `infer` does while nothing waits: golden cases in turn within the period, and calls that keep warm."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from daemon.config import load
from daemon.vision.idle import KEEP_WARM_NS, MINUTE_NS, PERIODS_AT_MOST, Idle
from daemon.vision.plan import Plan, folders_of, loaded_of, looker, verify_pair
from engines.canary import Canary
from engines.errors import GoldenRefused
from engines.model_engine import ModelEngine
from tests.contract.engine_models import FILES, Aged, make_bundle
from tests.contract.vision_bench import STATION
from tests.vectors import bundle_1

MINUTES = 2.0
PERIOD_NS = int(MINUTES * MINUTE_NS)
STEP_NS = KEEP_WARM_NS // 2
BEGIN_NS = 7 * MINUTE_NS


@dataclass(frozen=True)
class Room:
    """A real plan, the session that its only engine runs on, and what looks after both; the clock is the test's."""

    plan: Plan
    session: Aged
    idle: Idle
    canary: Callable[[], Canary]
    turns: list[int] = field(default_factory=list)

    def advanced(self) -> None:
        self.turns.append(1)

    def runs(self, now_ns: int) -> int:
        """How often the graph ran in one turn."""
        before = self.session.runs
        self.idle.work([self.plan], now_ns)
        return self.session.runs - before


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("station")
    bundle_1.make_trust(root / "trust", bundle_1.KEYS)
    bundle_1.make_recipe(root / "recipe", make_bundle(root / "bundle", "logit"))
    (root / "station.toml").write_text(STATION.format(production="false"))
    return root / "station.toml"


@pytest.fixture
def room(station: Path) -> Iterator[Room]:
    read = load(station)
    pair = verify_pair(read, folders_of(station, read))
    model, session = pair.bundle.manifest.models["side"], Aged(pair.bundle)
    engine = ModelEngine(model, session, "0" * 64)

    def canary() -> Canary:
        return Canary(pair.bundle, [("side", engine)])

    plan = Plan(loaded_of(pair, ""), pair.recipe, {"side": looker(engine, model)}, {"side": "side"}, canary())
    yield Room(plan, session, Idle(MINUTES), canary)
    plan.close()


def test_on_a_busy_line_every_case_is_run_once_in_each_period(room: Room) -> None:
    """Frames come so often that nothing has to be kept warm: what runs is golden cases, evenly spread."""
    ran: list[int] = []
    for now_ns in range(BEGIN_NS, BEGIN_NS + 3 * PERIOD_NS, STEP_NS):
        room.idle.inferred(now_ns)
        ran += [now_ns] * room.runs(now_ns)
    assert len(ran) == 3 * len(FILES)
    apart = {later - sooner for sooner, later in zip(ran, ran[1:], strict=False)}
    assert apart == {PERIOD_NS // len(FILES)}


def test_an_idle_line_is_kept_warm_in_between(room: Room) -> None:
    ran = []
    for now_ns in range(BEGIN_NS, BEGIN_NS + PERIOD_NS, STEP_NS):
        ran.append(room.runs(now_ns))
    assert set(ran) == {0, 1}
    assert all(sum(ran[at : at + 3]) >= 1 for at in range(len(ran) - 2))
    assert len(ran) // 3 <= sum(ran) <= len(ran) // 2 + len(FILES)


def test_a_call_that_keeps_warm_proves_nothing(room: Room) -> None:
    room.idle.batch_began([room.plan], BEGIN_NS, room.advanced)
    room.idle.inferred(BEGIN_NS)
    right = room.plan.canary.right_since_ns
    room.session.breaks = 0
    assert room.runs(BEGIN_NS + KEEP_WARM_NS - 1) == 0
    assert room.runs(BEGIN_NS + KEEP_WARM_NS) == 1
    assert room.plan.canary.right_since_ns == right


@pytest.mark.clause("21 CFR 11.10(a)")
def test_a_batch_begins_with_the_whole_set_and_the_next_case_comes_in_its_turn(room: Room) -> None:
    assert room.runs(BEGIN_NS) == 1
    before = room.session.runs
    room.idle.batch_began([room.plan], BEGIN_NS + 1, room.advanced)
    assert room.session.runs - before == len(FILES) == len(room.turns)
    next_ns = BEGIN_NS + 1 + PERIOD_NS // len(FILES)
    for now_ns in (BEGIN_NS + 2, next_ns - 1):
        room.idle.inferred(now_ns)
        assert room.runs(now_ns) == 0
    room.idle.inferred(next_ns)
    assert room.runs(next_ns) == 1


def test_a_pair_that_only_waits_to_be_swapped_in_is_asked_too(room: Room) -> None:
    """The judging one comes first; both have had their turn within the period."""
    waiting = replace(room.plan, canary=room.canary())
    room.idle.batch_began([room.plan], BEGIN_NS, room.advanced)
    since = waiting.canary.right_since_ns
    for now_ns in range(BEGIN_NS, BEGIN_NS + PERIOD_NS + 1, STEP_NS):
        room.idle.inferred(now_ns)
        room.idle.work([room.plan, waiting], now_ns)
    assert waiting.canary.right_since_ns > since


def test_a_case_that_nobody_finds_time_for_becomes_overdue(room: Room) -> None:
    right_ns = room.plan.canary.right_since_ns
    assert not room.idle.overdue([room.plan], right_ns + PERIODS_AT_MOST * PERIOD_NS)
    assert room.idle.overdue([room.plan], right_ns + PERIODS_AT_MOST * PERIOD_NS + 1)


@pytest.mark.clause("21 CFR 11.10(a)")
def test_a_wrong_answer_ends_it_at_once_and_is_not_put_off(room: Room) -> None:
    room.idle.batch_began([room.plan], BEGIN_NS, room.advanced)
    room.session.breaks = 0
    due_ns = BEGIN_NS + PERIOD_NS // len(FILES)
    for file in FILES:
        with pytest.raises(GoldenRefused, match=file):
            room.idle.work([room.plan], due_ns)
    with pytest.raises(GoldenRefused, match="golden"):
        room.idle.batch_began([room.plan], due_ns, room.advanced)
