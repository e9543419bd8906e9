"""Fusion: whatever comes in whatever order, a verdict is made once, from the frames `line` bound and no others."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from daemon.messages import Bound, Judged
from daemon.units import Channel, FrameKey, Reason, UnitId, Verdict, ViewKey
from daemon.vision.fusion import BOUND_NS, UNBOUND_NS, Command, Drop, Fusion, Judge, Looked
from daemon.vision.judging import Limit, Rules

BODY, CRIMP = ViewKey("body"), ViewKey("crimp")
RULES = Rules({view: {"mark": Limit(0.5, 0.5)} for view in (BODY, CRIMP)}, {"mark": Channel.CRITICAL})
RECIPE, OTHER = "recipe", "other"
JUDGES = {RECIPE: Judge("bundle", RULES), OTHER: Judge("other bundle", RULES)}
VIEWS = {"body": BODY, "crimp": CRIMP}


def unit(number: int) -> UnitId:
    return UnitId(1, 0, number)


def looked(key: FrameKey, score: float = 0.1, at_ns: int = 0, recipe: str = RECIPE) -> Looked:
    return Looked(key, 0, f"digest of {key}", {"mark": score}, at_ns, at_ns, 1, recipe)


def started() -> Fusion:
    fusion = Fusion(JUDGES)
    assert fusion.session("body", 1) == fusion.session("crimp", 1) == []
    return fusion


def judged(commands: list[Command]) -> list[Judged]:
    return [command for command in commands if isinstance(command, Judged)]


BODY_1, CRIMP_1, CRIMP_2 = FrameKey("body", 1, 1), FrameKey("crimp", 1, 1), FrameKey("crimp", 1, 2)


def test_a_unit_is_judged_when_its_last_view_is_there() -> None:
    fusion = started()
    assert fusion.bound(Bound(unit(7), BODY, BODY_1, RECIPE), 0) == []
    assert fusion.looked(looked(BODY_1), 0) == []
    assert fusion.looked(looked(CRIMP_1, at_ns=5), 5) == []
    (verdict,) = judged(fusion.bound(Bound(unit(7), CRIMP, CRIMP_1, RECIPE), 9))
    assert (verdict.unit, verdict.verdict, verdict.bundle) == (unit(7), Verdict.ACCEPT, "bundle")
    assert [(view.view, view.key, view.digest) for view in verdict.views] == [
        (BODY, BODY_1, f"digest of {BODY_1}"),
        (CRIMP, CRIMP_1, f"digest of {CRIMP_1}"),
    ]
    assert (verdict.frame_ns, verdict.judged_ns) == (5, 9)


def test_a_failed_engine_never_accepts() -> None:
    fusion = started()
    fusion.bound(Bound(unit(7), BODY, BODY_1, RECIPE), 0)
    fusion.bound(Bound(unit(7), CRIMP, CRIMP_1, RECIPE), 0)
    fusion.looked(looked(BODY_1), 0)
    (verdict,) = judged(fusion.looked(Looked(CRIMP_1, 0, "d", {}, 0, 0, 0, RECIPE), 0))
    assert (verdict.verdict, verdict.reason) == (Verdict.UNDECIDED, Reason.ENGINE_FAULT)


def test_the_same_binding_again_changes_nothing() -> None:
    fusion = started()
    for _ in range(2):
        assert fusion.bound(Bound(unit(7), BODY, BODY_1, RECIPE), 0) == []
    fusion.bound(Bound(unit(7), CRIMP, CRIMP_1, RECIPE), 0)
    fusion.looked(looked(BODY_1), 0)
    assert judged(fusion.looked(looked(CRIMP_1), 0))


def test_one_frame_for_two_units_spoils_both() -> None:
    fusion = started()
    fusion.bound(Bound(unit(7), BODY, BODY_1, RECIPE), 0)
    fusion.bound(Bound(unit(8), CRIMP, CRIMP_2, RECIPE), 0)
    fusion.looked(looked(CRIMP_2), 0)
    assert fusion.bound(Bound(unit(8), BODY, BODY_1, RECIPE), 0) == [Drop(CRIMP_2)]
    fusion.bound(Bound(unit(7), CRIMP, CRIMP_1, RECIPE), 0)
    assert fusion.looked(looked(CRIMP_1), 0) == [Drop(CRIMP_1)]
    assert fusion.looked(looked(BODY_1), 0) == [Drop(BODY_1)]


def test_nobody_says_whose_a_contested_frame_is() -> None:
    fusion = started()
    fusion.bound(Bound(unit(7), BODY, BODY_1, RECIPE), 0)
    fusion.looked(looked(BODY_1), 0)
    assert fusion.bound(Bound(unit(8), BODY, BODY_1, RECIPE), 0) == [Drop(BODY_1)]


@pytest.mark.parametrize("before", [True, False])
def test_a_frame_of_a_unit_that_was_given_up_is_still_its_own(before: bool) -> None:
    fusion = started()
    fusion.bound(Bound(unit(7), BODY, BODY_1, RECIPE), 0)
    own = [Drop(BODY_1, 0, (unit(7), BODY))]
    if before:
        fusion.looked(looked(BODY_1), 0)
        assert fusion.unbound(BODY_1, 0) == own
    else:
        assert fusion.unbound(BODY_1, 0) == []
        assert fusion.looked(looked(BODY_1), 0) == own
    assert fusion.looked(looked(BODY_1), 0) == [Drop(BODY_1)]


def test_two_frames_for_one_view_spoil_the_unit() -> None:
    fusion = started()
    fusion.bound(Bound(unit(7), BODY, BODY_1, RECIPE), 0)
    fusion.bound(Bound(unit(7), CRIMP, CRIMP_1, RECIPE), 0)
    fusion.bound(Bound(unit(7), CRIMP, CRIMP_2, RECIPE), 0)
    for key in (BODY_1, CRIMP_1, CRIMP_2):
        assert fusion.looked(looked(key), 0) == [Drop(key)]


def test_two_frames_of_one_key_spoil_the_unit() -> None:
    fusion = started()
    fusion.bound(Bound(unit(7), BODY, BODY_1, RECIPE), 0)
    fusion.looked(looked(BODY_1), 0)
    assert fusion.looked(looked(BODY_1, 0.2), 0) == [Drop(BODY_1)]
    fusion.bound(Bound(unit(7), CRIMP, CRIMP_1, RECIPE), 0)
    assert judged(fusion.looked(looked(CRIMP_1), 0)) == []


@pytest.mark.clause("21 CFR 11.10(h)", "ALCOA+ accurate")
def test_a_frame_of_another_session_is_never_credited() -> None:
    fusion = started()
    old = FrameKey("body", 99, 1)
    fusion.bound(Bound(unit(7), BODY, old, RECIPE), 0)
    assert fusion.looked(looked(old), 0) == [Drop(old)]


def test_a_new_session_voids_the_frames_of_the_old_one() -> None:
    fusion = started()
    fusion.bound(Bound(unit(7), BODY, BODY_1, RECIPE), 0)
    fusion.looked(looked(BODY_1), 0)
    assert fusion.session("body", 2) == [Drop(BODY_1, 0, (unit(7), BODY))]
    fusion.bound(Bound(unit(7), CRIMP, CRIMP_1, RECIPE), 0)
    assert judged(fusion.looked(looked(CRIMP_1), 0)) == []


@pytest.mark.clause("21 CFR 11.10(h)", "ALCOA+ attributable")
def test_a_view_of_another_camera_or_none_of_the_recipe_is_never_credited() -> None:
    fusion = started()
    fusion.looked(looked(BODY_1), 0)
    assert fusion.bound(Bound(unit(7), CRIMP, BODY_1, RECIPE), 0) == [Drop(BODY_1)]
    assert fusion.bound(Bound(unit(8), ViewKey("body", 0, 1), FrameKey("body", 1, 2), RECIPE), 0) == []
    assert fusion.looked(looked(FrameKey("body", 1, 2)), 0) == [Drop(FrameKey("body", 1, 2))]


def test_the_loss_of_line_voids_its_bindings() -> None:
    fusion = started()
    fusion.bound(Bound(unit(7), BODY, BODY_1, RECIPE), 0)
    fusion.looked(looked(BODY_1), 0)
    assert fusion.line_lost() == [Drop(BODY_1, 0, (unit(7), BODY))]


def test_what_waits_too_long_is_dropped() -> None:
    fusion = started()
    fusion.looked(looked(BODY_1), 0)
    fusion.bound(Bound(unit(7), CRIMP, CRIMP_1, RECIPE), 0)
    fusion.looked(looked(CRIMP_1), 0)
    assert fusion.expire(UNBOUND_NS) == []
    assert fusion.expire(UNBOUND_NS + 1) == [Drop(BODY_1)]
    assert fusion.expire(BOUND_NS + 1) == [Drop(CRIMP_1, 0, (unit(7), CRIMP))]


def test_an_unbound_frame_is_given_up_at_once() -> None:
    fusion = started()
    fusion.looked(looked(BODY_1), 0)
    assert fusion.unbound(BODY_1) == [Drop(BODY_1)]
    assert fusion.unbound(CRIMP_1) == []
    assert fusion.looked(looked(CRIMP_1), 0) == [Drop(CRIMP_1)]


@given(st.permutations([0, 1, 2, 3, 4, 5, 6, 7]))
def test_the_order_of_arrival_does_not_matter(order: list[int]) -> None:
    fusion = started()
    frames = [FrameKey(name, 1, frame) for name in VIEWS for frame in (1, 2)]
    commands: list[Command] = []
    for step in order:
        key = frames[step % 4]
        if step < 4:
            commands += fusion.looked(looked(key, 0.9 if key.frame_id == 2 else 0.1), 0)
        else:
            commands += fusion.bound(Bound(unit(key.frame_id), VIEWS[key.camera], key, RECIPE), 0)
    verdicts = {verdict.unit.number: verdict.verdict for verdict in judged(commands)}
    assert verdicts == {1: Verdict.ACCEPT, 2: Verdict.REJECT}
    assert len(commands) == 2


@dataclass
class World:
    """What was said about every unit and frame, kept apart from the fusion."""

    claims: set[tuple[UnitId, ViewKey, FrameKey]] = field(default_factory=set)
    held: set[FrameKey] = field(default_factory=set)
    verdicts: dict[UnitId, Judged] = field(default_factory=dict)
    used: list[FrameKey] = field(default_factory=list)


UNITS = st.integers(1, 4).map(unit)
KEYS = st.builds(FrameKey, st.sampled_from(["body", "crimp"]), st.integers(1, 2), st.integers(1, 4))


class Anything(RuleBasedStateMachine):
    """Any sequence of messages, contradictory ones included."""

    def __init__(self) -> None:
        super().__init__()
        self.fusion = Fusion(JUDGES)
        self.world = World()
        self.sessions: dict[str, int] = {}
        self.now_ns = 0

    def note(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Drop):
                self.world.held.discard(command.key)
                continue
            assert command.unit not in self.world.verdicts, "judged twice"
            self.world.verdicts[command.unit] = command
            assert {view.view for view in command.views} == set(RULES.limits)
            for view in command.views:
                assert (command.unit, view.view, view.key) in self.world.claims, "line never said so"
                assert self.sessions.get(view.key.camera) == view.key.session, "foreign session"
                assert view.key in self.world.held, "never looked at, or given up before"
                assert view.digest == f"digest of {view.key}"
                self.world.held.discard(view.key)
                self.world.used.append(view.key)

    @rule(camera=st.sampled_from(["body", "crimp"]), session=st.integers(1, 2))
    def session(self, camera: str, session: int) -> None:
        self.sessions[camera] = session
        self.note(self.fusion.session(camera, session))

    @rule(key=KEYS, score=st.sampled_from([0.1, 0.9]))
    def looked(self, key: FrameKey, score: float) -> None:
        self.world.held.add(key)
        self.note(self.fusion.looked(looked(key, score, self.now_ns), self.now_ns))

    @rule(unit=UNITS, key=KEYS)
    def bound(self, unit: UnitId, key: FrameKey) -> None:
        self.world.claims.add((unit, VIEWS[key.camera], key))
        self.note(self.fusion.bound(Bound(unit, VIEWS[key.camera], key, RECIPE), self.now_ns))

    @rule(key=KEYS)
    def unbound(self, key: FrameKey) -> None:
        self.note(self.fusion.unbound(key))

    @rule(later_ns=st.sampled_from([1, UNBOUND_NS, BOUND_NS]))
    def expire(self, later_ns: int) -> None:
        self.now_ns += later_ns
        self.note(self.fusion.expire(self.now_ns))

    @rule()
    def line_lost(self) -> None:
        self.note(self.fusion.line_lost())

    @invariant()
    def no_frame_is_credited_twice(self) -> None:
        assert len(self.world.used) == len(set(self.world.used))


@pytest.mark.clause("ALCOA+ accurate", "ALCOA+ attributable")
def test_no_sequence_of_messages_credits_a_frame_wrongly() -> None:
    run_state_machine_as_test(Anything, settings=settings(max_examples=150, stateful_step_count=30, deadline=None))


@given(st.lists(st.tuples(UNITS, KEYS), max_size=12))
def test_a_contradicted_unit_is_never_judged(claims: list[tuple[UnitId, FrameKey]]) -> None:
    """All frames exist before the first claim is made and are looked at after the last: claims alone decide."""
    fusion = started()
    for claimed, key in claims:
        fusion.bound(Bound(claimed, VIEWS[key.camera], key, RECIPE), 0)
    commands = [
        command
        for camera in VIEWS
        for frame in range(1, 5)
        for command in fusion.looked(looked(FrameKey(camera, 1, frame)), 0)
    ]
    for verdict in judged(commands):
        for view in verdict.views:
            assert {c for c, key in claims if key == view.key} == {verdict.unit}
            assert {key for c, key in claims if c == verdict.unit and key.camera == view.key.camera} == {view.key}
