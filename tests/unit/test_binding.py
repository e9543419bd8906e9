"""The binding credits no frame to another unit, whatever is lost, doubled, late, restarted or drifting."""

import pytest
from binding_world import FAULTS, MS, WAIT_NS, WINDOW_NS, Case, make_case, run
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.line.binding import Bind, Binder, Decision, Edge, Missing, Settings, Stray, Synced, Unsynced
from daemon.units import Evidence, FrameKey, Reason, UnitId

CASES = 3_000


class CountOnly(Binder):
    """Mutant: believes the count alone once it has an offset."""

    def _credit(self, evidence: Evidence, now_ns: int) -> list[Decision]:
        entry = self._edges.get(self._count_says(evidence))
        if entry is None or not entry.waiting or entry.edge.unit is None:
            return []
        del self._frames[evidence.key]
        entry.waiting = False
        return [Bind(entry.edge.unit, entry.edge.shot, evidence)]


class TimeOnly(Binder):
    """Mutant: believes the time alone."""

    def _count_says(self, evidence: Evidence) -> int:
        near = self._near(evidence)
        return near[0].edge.k if near else super()._count_says(evidence)


def misbound(binder: type[Binder], cases: int) -> list[str]:
    return [text for seed in range(cases) for text in run(make_case(seed), binder).misbound]


@pytest.mark.clause("ALCOA+ accurate", "ALCOA+ attributable")
def test_no_case_credits_a_frame_to_another_unit() -> None:
    verdicts = [run(make_case(seed)) for seed in range(CASES)]
    assert [v.misbound for v in verdicts if v.misbound] == []
    assert sum(v.bound for v in verdicts) > 0.3 * sum(v.units for v in verdicts)


def test_the_mutant_that_counts_only_is_caught() -> None:
    assert misbound(CountOnly, 500)


def test_the_mutant_that_looks_at_the_time_only_is_caught() -> None:
    assert misbound(TimeOnly, 500)


def test_a_quiet_line_binds_everything_after_three_matches() -> None:
    verdict = run(Case(seed=1, units=40))
    assert (verdict.bound, verdict.synced) == (37, 1)


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_alone(fault: str) -> None:
    for seed in range(40):
        verdict = run(Case(seed=seed, units=24, faults={8: fault}))
        assert verdict.misbound == []
        assert verdict.bound >= (5 if fault == "clock drift" else 12)


@pytest.mark.clause("ALCOA+ accurate")
@given(
    seed=st.integers(0, 2**32),
    units=st.integers(5, 20),
    jitter=st.floats(0, 2),
    faults=st.dictionaries(st.integers(0, 19), st.sampled_from(FAULTS), max_size=6),
)
@settings(max_examples=300, deadline=None)
def test_any_mix_of_faults(seed: int, units: int, jitter: float, faults: dict[int, str]) -> None:
    assert run(Case(seed, units, jitter, faults)).misbound == []


def evidence(count: int, at_ns: int, frame_id: int | None = None, session: int = 7, **change: object) -> Evidence:
    fields: dict[str, object] = dict(
        key=FrameKey("cam", session, frame_id or count),
        edge_count=count,
        missed=0,
        device_ts=at_ns,
        exposed_ns=at_ns,
        uncertainty_ns=1000,
        encoder=0,
        line_status=0,
        complete=True,
        consistent=True,
        received_ns=at_ns,
    )
    return Evidence(**{**fields, **change})  # type: ignore[arg-type]  # test values


def edge(k: int, at_ns: int) -> Edge:
    return Edge(k, UnitId(1, 0, k), 0, at_ns, 1000)


def synced_binder() -> tuple[Binder, int]:
    binder, now = Binder(Settings(WINDOW_NS, WAIT_NS)), 0
    binder.session(7)
    for k in (1, 2, 3):
        now += 100 * MS
        binder.edge(edge(k, now), now)
        binder.frame(evidence(k, now), now)
    assert binder.synced
    return binder, now + 100 * MS


def test_synced_binder_credits_the_frame_that_both_witnesses_name() -> None:
    binder, now = synced_binder()
    assert binder.edge(edge(4, now), now) == []
    bound = binder.frame(evidence(4, now), now)
    assert isinstance(bound[0], Bind)
    assert bound[0].unit == UnitId(1, 0, 4)


def test_frame_before_its_edge_waits_for_it() -> None:
    binder, now = synced_binder()
    assert binder.frame(evidence(4, now), now) == []
    assert isinstance(binder.edge(edge(4, now), now)[0], Bind)


def test_count_and_time_disagree_and_everyone_is_told() -> None:
    binder, now = synced_binder()
    binder.edge(edge(4, now), now)
    decisions = binder.frame(evidence(5, now), now)
    assert [type(d) for d in decisions] == [Unsynced, Stray, Missing]
    assert not binder.synced


def test_lost_frame_leaves_the_camera_in_sync() -> None:
    binder, now = synced_binder()
    binder.edge(edge(4, now), now)
    late = binder.tick(now + WAIT_NS + 1)
    assert late == [Missing(UnitId(1, 0, 4), Reason.NO_IMAGE, "no frame for this edge")]
    binder.edge(edge(5, now + 100 * MS), now + 100 * MS)
    assert isinstance(binder.frame(evidence(5, now + 100 * MS), now + 100 * MS)[0], Bind)


@pytest.mark.parametrize(
    "change",
    [{"complete": False}, {"consistent": False}, {"uncertainty_ns": WINDOW_NS}, {"session": 8}, {"frame_id": 3}],
)
def test_frame_that_cannot_be_trusted_is_nobodys(change: dict[str, object]) -> None:
    binder, now = synced_binder()
    binder.edge(edge(4, now), now)
    decisions = binder.frame(evidence(4, now, **change), now)  # type: ignore[arg-type]  # test values
    assert [type(d) for d in decisions] == [Stray]


def test_a_frame_that_came_too_late_costs_its_unit_only() -> None:
    binder, now = synced_binder()
    binder.edge(edge(4, now), now)
    late = binder.frame(evidence(4, now, received_ns=now + 4 * WINDOW_NS), now + 4 * WINDOW_NS)
    assert [type(d) for d in late] == [Stray]
    assert binder.synced


def test_frames_without_edges_are_no_contradiction_while_the_plc_is_silent() -> None:
    binder, now = synced_binder()
    binder.feed(now - 1)
    assert binder.frame(evidence(4, now), now) == []
    assert binder.tick(now + 10 * WAIT_NS) == []
    assert isinstance(binder.edge(edge(4, now), now + 10 * WAIT_NS)[0], Bind)
    binder.feed(now + 1000 * MS)
    binder.frame(evidence(6, now + 100 * MS), now + 100 * MS)
    assert isinstance(binder.tick(now + 100 * MS + WAIT_NS + 1)[0], Unsynced)


def test_three_matches_with_one_offset_bring_the_camera_back() -> None:
    binder, now = synced_binder()
    binder.session(8)
    assert not binder.synced
    for k in (4, 5, 6):
        assert Missing(UnitId(1, 0, k), Reason.UNSYNCED, "camera not synchronised") in binder.edge(edge(k, now), now)
        decisions = binder.frame(evidence(k + 20, now, session=8), now)
        now += 100 * MS
    assert Synced(20) in decisions


def test_clock_step_of_one_gap_on_an_even_line_finds_no_wrong_offset() -> None:
    for seed in range(200):
        assert run(Case(seed, units=24, jitter=0.0, faults={8: "clock drift"})).misbound == []
