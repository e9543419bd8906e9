"""A unit passes only with a grant that names it; every unit is closed exactly once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.line.tracking import (
    MAX_IN_FLIGHT,
    Command,
    Divert,
    Escape,
    Forget,
    Grant,
    Revoke,
    Settings,
    Tracker,
    WouldPermit,
)
from daemon.line.unit import Finish, Seen
from daemon.messages import Judged
from daemon.units import Channel, Evidence, FrameKey, JudgedView, Outcome, Reason, UnitId, Verdict, ViewKey

MS = 1_000_000
BODY, CRIMP = ViewKey("body"), ViewKey("crimp")
SETTINGS = Settings(frozenset({BODY, CRIMP}), 800, 11_700, 300, 120 * MS)


def unit(n: int, epoch: int = 1) -> UnitId:
    return UnitId(epoch, 0, n)


def evidence(view: ViewKey, n: int) -> Evidence:
    return Evidence(FrameKey(view.camera, 7, n), n, 0, 0, 0, 0, 0, 0, True, True, 0)


def judged(n: int, verdict: Verdict = Verdict.ACCEPT, shift: int = 0) -> Judged:
    views = [JudgedView(v, FrameKey(v.camera, 7, n + shift), 0, "d", {"crack": 0.1}) for v in (BODY, CRIMP)]
    reason = Reason.NONE if verdict is Verdict.ACCEPT else Reason.DEFECT
    return Judged(unit(n), verdict, reason, Channel.CRITICAL, "crack", views, "bundle", "recipe", 1, 2, 3, 4)


def seen(n: int, *, permitted: bool = False, chute: bool = False, passed: bool = False, phantom: bool = False) -> Seen:
    return Seen(unit(n), permitted, not permitted, chute, passed, phantom, 0, 900 * MS)


def imaged(n: int = 1, encoder: int = 0, tracker: Tracker | None = None) -> Tracker:
    tracker = Tracker(SETTINGS) if tracker is None else tracker
    tracker.created(unit(n), encoder, 0, None)
    for view in (BODY, CRIMP):
        tracker.edge(unit(n), view, 100 * MS)
        assert tracker.bound(unit(n), view, evidence(view, n)) == []
    return tracker


def test_an_accepted_unit_gets_its_permit_and_is_accepted_when_seen_past_the_gate() -> None:
    tracker = imaged()
    granted = tracker.judged(judged(1), 110 * MS, None, ours=True)
    assert [type(c) for c in granted] == [Grant]
    closed = tracker.closed(seen(1, permitted=True, passed=True), False)
    assert isinstance(closed[0], Finish)
    assert (closed[0].outcome, closed[0].reason) == (Outcome.ACCEPTED, Reason.NONE)
    assert len(tracker) == 0


@pytest.mark.parametrize(
    ("message", "now_ms", "refuse", "reason", "ours"),
    [
        (judged(1, Verdict.REJECT), 110, None, Reason.DEFECT, True),
        (judged(1, Verdict.UNDECIDED), 110, None, Reason.DEFECT, True),
        (judged(1), 221, None, Reason.LATE, True),
        (judged(1), 110, None, Reason.MISMATCH, False),
        (judged(1, Verdict.REJECT), 110, None, Reason.MISMATCH, False),
        (judged(1, shift=1), 110, None, Reason.MISMATCH, True),
        (judged(1), 110, Reason.NO_RECORD, Reason.NO_RECORD, True),
        (judged(1), 110, Reason.LINE_FAULT, Reason.LINE_FAULT, True),
    ],
)
def test_anything_but_a_clean_verdict_in_time_rejects(
    message: Judged, now_ms: int, refuse: Reason | None, reason: Reason, ours: bool
) -> None:
    tracker = imaged()
    assert not [c for c in tracker.judged(message, now_ms * MS, refuse, ours=ours) if isinstance(c, Grant)]
    closed = tracker.closed(seen(1, chute=True), False)[0]
    assert isinstance(closed, Finish)
    assert (closed.outcome, closed.reason) == (Outcome.REJECTED, reason)


def test_a_verdict_over_one_view_of_two_is_no_verdict() -> None:
    tracker = Tracker(SETTINGS)
    tracker.created(unit(1), 0, 0, None)
    for view in (BODY, CRIMP):
        tracker.edge(unit(1), view, 100 * MS)
    tracker.bound(unit(1), BODY, evidence(BODY, 1))
    half = judged(1)
    half = Judged(
        half.unit, half.verdict, half.reason, half.channel, "", half.views[:1], "bundle", "recipe", 1, 2, 3, 4
    )
    assert not [c for c in tracker.judged(half, 110 * MS, None, ours=True) if isinstance(c, Grant)]


def test_no_permit_for_a_unit_that_already_stands_before_the_gate() -> None:
    tracker = imaged()
    tracker.encoder(11_400)
    assert not [c for c in tracker.judged(judged(1), 110 * MS, None, ours=True) if isinstance(c, Grant)]


def test_two_units_too_close_are_both_rejected_and_the_permit_is_taken_back() -> None:
    tracker = imaged()
    tracker.judged(judged(1), 110 * MS, None, ours=True)
    grey = [Divert(unit(1), Channel.GREY), Divert(unit(2), Channel.GREY)]
    assert tracker.created(unit(2), 700, 0, None) == [Revoke(unit(1)), *grey]
    phantom = tracker.closed(seen(2, phantom=True), False)[0]
    assert isinstance(phantom, Finish)
    assert (phantom.outcome, phantom.reason) == (Outcome.REJECTED, Reason.PHANTOM)


def test_lost_step_takes_back_unspent_permits_only() -> None:
    tracker = imaged(1, encoder=0)
    tracker.judged(judged(1), 110 * MS, None, ours=True)
    imaged(2, encoder=6000, tracker=tracker)
    tracker.judged(judged(2), 110 * MS, None, ours=True)
    tracker.encoder(12_000)
    tracker.distrust("body")
    spent = tracker.closed(seen(1, permitted=True, passed=True), False)[0]
    taken = tracker.closed(seen(2, chute=True), False)[0]
    assert isinstance(spent, Finish) and isinstance(taken, Finish)
    assert (spent.outcome, taken.outcome) == (Outcome.ACCEPTED, Outcome.REJECTED)
    assert taken.reason is Reason.UNSYNCED


@pytest.mark.parametrize(
    ("flags", "outcome"),
    [
        ({"passed": True}, Outcome.ESCAPED),
        ({"permitted": True, "passed": True}, Outcome.ESCAPED),
        ({}, Outcome.ESCAPED),
        ({"chute": True}, Outcome.REJECTED),
    ],
)
def test_what_the_eyes_saw_decides(flags: dict[str, bool], outcome: Outcome) -> None:
    tracker = imaged()
    commands = tracker.closed(seen(1, **flags), False)
    assert isinstance(commands[0], Finish)
    assert commands[0].outcome is outcome
    assert bool([c for c in commands if isinstance(c, Escape)]) is (outcome is Outcome.ESCAPED)


@pytest.mark.parametrize(("durable", "outcome"), [(True, Outcome.ACCEPTED), (False, Outcome.QUARANTINED)])
def test_unit_that_passed_while_the_line_was_down(durable: bool, outcome: Outcome) -> None:
    closed = Tracker(SETTINGS).closed(seen(9, permitted=True, passed=True), durable)[0]
    assert isinstance(closed, Finish)
    assert (closed.outcome, closed.source) == (outcome, "plc")


def test_orphans_of_a_plc_that_forgot_are_counted_by_the_chute_eye_or_quarantined() -> None:
    tracker = imaged(1)
    imaged(2, encoder=2000, tracker=tracker)
    tracker.memory_lost()
    first = tracker.stray_chute(1, 5)
    rest = tracker.give_up_orphans(6)
    outcomes = [c.outcome for c in (*first, *rest) if isinstance(c, Finish)]
    assert outcomes == [Outcome.REJECTED, Outcome.QUARANTINED]


def test_an_orphan_past_the_gate_with_its_permit_is_accepted_when_the_pass_eye_counts_it() -> None:
    tracker = imaged(1)
    imaged(2, encoder=2000, tracker=tracker)
    tracker.judged(judged(1), 110 * MS, None, ours=True)
    tracker.judged(judged(2), 110 * MS, None, ours=True)
    tracker.encoder(11_900)
    tracker.memory_lost()
    commands, nobodys = tracker.stray_pass(2, 5)
    assert [(c.unit, c.outcome) for c in commands if isinstance(c, Finish)] == [(unit(1), Outcome.ACCEPTED)]
    assert nobodys == 1


def test_a_person_who_clears_the_machine_does_not_vouch_for_what_may_have_passed() -> None:
    tracker = imaged(1)
    imaged(2, encoder=2000, tracker=tracker)
    tracker.judged(judged(1), 110 * MS, None, ours=True)
    tracker.encoder(11_900)
    tracker.memory_lost()
    imaged(3, encoder=4000, tracker=tracker)
    outcomes = {c.unit.number: c.outcome for c in tracker.remove_all(1, 5) if isinstance(c, Finish)}
    assert outcomes == {1: Outcome.QUARANTINED, 2: Outcome.REMOVED, 3: Outcome.REMOVED}
    assert len(tracker) == 0


def test_no_more_than_the_permit_slots_allow_are_in_flight() -> None:
    tracker = Tracker(SETTINGS)
    for n in range(MAX_IN_FLIGHT + 1):
        imaged(n + 1, encoder=n * 1000, tracker=tracker)
    assert not [c for c in tracker.judged(judged(MAX_IN_FLIGHT + 1), 110 * MS, None, ours=True) if isinstance(c, Grant)]


@pytest.mark.parametrize("consumed", [True, False])
def test_a_permit_given_before_the_link_went_stands_if_the_plc_consumed_it(consumed: bool) -> None:
    tracker = imaged()
    tracker.judged(judged(1), 110 * MS, None, ours=True)
    assert tracker.void_all(Reason.LINE_FAULT) == []
    finish = tracker.closed(seen(1, permitted=consumed, passed=consumed, chute=not consumed), False)[0]
    assert isinstance(finish, Finish)
    expected = (Outcome.ACCEPTED, Reason.NONE) if consumed else (Outcome.REJECTED, Reason.LINE_FAULT)
    assert (finish.outcome, finish.reason) == expected


@pytest.mark.parametrize(
    ("consumed", "how"), [(True, "before its permit could be taken back (no_image)"), (False, "without a permit")]
)
def test_what_passed_after_its_permit_was_taken_back_has_escaped(consumed: bool, how: str) -> None:
    tracker = imaged()
    tracker.judged(judged(1), 110 * MS, None, ours=True)
    tracker.missing(unit(1), Reason.NO_IMAGE)
    finish, escape = tracker.closed(seen(1, permitted=consumed, passed=True), False)
    assert isinstance(finish, Finish) and isinstance(escape, Escape)
    assert (finish.outcome, finish.reason) == (Outcome.ESCAPED, Reason.NO_IMAGE)
    assert escape.cause.endswith(how)


def test_outside_automatic_nothing_is_granted_and_the_legacy_inspection_decides() -> None:
    tracker = Tracker(SETTINGS, acting=False)
    imaged(1, tracker=tracker)
    commands = tracker.judged(judged(1), 110 * MS, None, ours=True)
    assert [type(c) for c in commands] == [WouldPermit]
    finish = tracker.closed(seen(1, passed=True), False)
    assert [type(c) for c in finish] == [Finish]


@pytest.mark.parametrize(
    "flags", [{"permitted": True, "passed": True, "chute": True}, {"permitted": True, "phantom": True}, {}]
)
def test_what_the_eyes_contradict_has_escaped_also_after_a_restart(flags: dict[str, bool]) -> None:
    closed = Tracker(SETTINGS).closed(seen(9, **flags), True)
    assert isinstance(closed[0], Finish)
    assert closed[0].outcome is Outcome.ESCAPED
    assert [type(c) for c in closed[1:]] == [Escape]


def test_a_unit_whose_closing_never_came_is_quarantined_once_it_must_be_past() -> None:
    tracker = imaged(1)
    tracker.encoder(2 * SETTINGS.decision_counts + 1)
    assert not [c for c in tracker.tick(900 * MS, Reason.LATE, 0) if isinstance(c, Finish)]
    lost = [c for c in tracker.tick(900 * MS, Reason.LATE, 899 * MS) if isinstance(c, Finish)]
    assert [c.outcome for c in lost] == [Outcome.QUARANTINED]
    assert len(tracker) == 0


def test_frames_of_a_rejected_unit_are_given_back() -> None:
    tracker = imaged()
    assert {c.key for c in tracker.missing(unit(1), Reason.NO_IMAGE) if isinstance(c, Forget)} == {
        FrameKey("body", 7, 1),
        FrameKey("crimp", 7, 1),
    }


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["create", "edge", "bind", "judge", "reject", "miss", "distrust", "void", "tick", "close"]),
        st.integers(1, 6),
        st.booleans(),
    ),
    max_size=60,
)


class Script:
    """Plays a script of events and remembers what was granted, revoked and finished."""

    def __init__(self) -> None:
        self.tracker, self.now = Tracker(SETTINGS), 0
        self.granted: set[UnitId] = set()
        self.revoked: set[UnitId] = set()
        self.finished: list[Finish] = []
        self.alive: set[int] = set()

    def play(self, kind: str, n: int, flag: bool) -> None:
        self.now += 7 * MS
        commands = getattr(self, kind)(n, flag)
        self.granted |= {c.unit for c in commands if isinstance(c, Grant)}
        self.revoked |= {c.unit for c in commands if isinstance(c, Revoke)}
        self.finished += [c for c in commands if isinstance(c, Finish)]

    def create(self, n: int, flag: bool) -> list[Command]:
        if n in self.alive:
            return []
        self.alive.add(n)
        self.granted.discard(unit(n))
        self.revoked.discard(unit(n))
        return self.tracker.created(unit(n), n * (2000 if flag else 700), self.now, None)

    def edge(self, n: int, flag: bool) -> list[Command]:
        self.tracker.edge(unit(n), BODY if flag else CRIMP, self.now)
        return []

    def bind(self, n: int, flag: bool) -> list[Command]:
        view = BODY if flag else CRIMP
        return self.tracker.bound(unit(n), view, evidence(view, n))

    def judge(self, n: int, flag: bool) -> list[Command]:
        return self.tracker.judged(judged(n, shift=0 if flag else 1), self.now, None, ours=True)

    def reject(self, n: int, _flag: bool) -> list[Command]:
        return self.tracker.judged(judged(n, Verdict.REJECT), self.now, None, ours=True)

    def miss(self, n: int, _flag: bool) -> list[Command]:
        return self.tracker.missing(unit(n), Reason.NO_IMAGE)

    def distrust(self, _n: int, _flag: bool) -> list[Command]:
        return self.tracker.distrust("body")

    def void(self, _n: int, _flag: bool) -> list[Command]:
        return self.tracker.void_all(Reason.LINE_FAULT)

    def tick(self, _n: int, _flag: bool) -> list[Command]:
        return self.tracker.tick(self.now, Reason.LATE, self.now)

    def close(self, n: int, _flag: bool) -> list[Command]:
        if n not in self.alive:
            return []
        self.alive.discard(n)
        permitted = unit(n) in self.granted - self.revoked
        return self.tracker.closed(seen(n, permitted=permitted, passed=permitted, chute=not permitted), False)


@pytest.mark.clause("ALCOA+ complete")
@given(EVENTS)
@settings(max_examples=400, deadline=None)
def test_any_script_of_events(events: list[tuple[str, int, bool]]) -> None:
    script = Script()
    for kind, n, flag in events:
        script.play(kind, n, flag)
    for finish in script.finished:
        assert finish.outcome is not Outcome.ESCAPED
        if finish.outcome is Outcome.ACCEPTED:
            assert finish.unit in script.granted
            assert finish.judged is not None
            assert finish.judged.verdict is Verdict.ACCEPT


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("passed", [True, False])
def test_what_the_legacy_inspection_did_while_the_line_was_down_is_no_escape(known: bool, passed: bool) -> None:
    """Under the key switch LEGACY the PLC notes no permit, and nothing that it does may stop the machine."""
    tracker = Tracker(SETTINGS, acting=False)
    if known:
        tracker.created(unit(1), 0, 0, Reason.LINE_DOWN)
    (closed,) = tracker.closed(seen(1, passed=passed, chute=not passed), False)
    assert isinstance(closed, Finish)
    assert closed.outcome is (Outcome.ACCEPTED if passed else Outcome.REJECTED)
    assert (closed.reason, closed.source) == (Reason.LINE_DOWN, "line" if known else "plc")
