"""The belt: travel and its inverse, edges with exact times, slip, gate, holds, scenes before the lenses."""

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from drivers.sim.belt import FOREVER_NS, Belt, BeltSpec, End, Eye, EyeEdge, Scene
from drivers.sim.drive import Drive

MS = 1_000_000
T0 = 5_000 * MS
STEP = 2 * MS


def spec(**changes: object) -> BeltSpec:
    values: dict[str, object] = {
        "rate_per_min": 600.0,
        "counts_per_mm": 20.0,
        "cameras": (150.0, 240.0),
        "gate_mm": 600.0,
        "chute_eye_mm": 690.0,
        "pass_eye_mm": 700.0,
        "seed": 4,
        "vials": 20,
        "pictures": 16,
    }
    return BeltSpec(**(values | changes))  # type: ignore[arg-type]  # the keys above are its fields


def running(**changes: object) -> Belt:
    belt = Belt(spec(**changes), T0)
    belt.open_infeed(True, T0)
    belt.run(True, T0)
    return belt


def play(belt: Belt, until_ns: int, from_ns: int = T0, step_ns: int = STEP) -> list[EyeEdge]:
    edges: list[EyeEdge] = []
    for now in range(from_ns + step_ns, until_ns + 1, step_ns):
        edges += belt.advance(now)
    return edges


PLAN = st.lists(st.integers(1, 400), max_size=8)


@settings(max_examples=150, deadline=None)
@given(PLAN, st.floats(0.0, 1.0))
@example([257, 1, 343, 1, 199, 1, 71, 1], 1.0)
def test_travel_and_its_inverse_agree_over_stops_and_starts(plan: list[int], share: float) -> None:
    drive = Drive(600.0, 30 * MS, T0)
    now = T0
    for index, pause in enumerate(plan):
        drive.order(index % 2 == 0, now)
        now += pause * MS
    end = now + 100 * MS
    travel = drive.at(end) * share
    at = drive.when(travel)
    assert at is not None and T0 <= at <= end + 1
    assert drive.at(at) == pytest.approx(travel, abs=1e-5)
    assert all(drive.at(T0 + k * MS) <= drive.at(T0 + (k + 1) * MS) for k in range((end - T0) // MS))


def test_a_stop_takes_effect_after_the_delay_and_the_future_is_open() -> None:
    drive = Drive(600.0, 30 * MS, T0)
    drive.order(True, T0)
    assert drive.at(T0 + 30 * MS) == 0.0 and drive.at(T0 + 130 * MS) == pytest.approx(60.0, rel=0.02)
    ahead = drive.at(T0 + 120 * MS)
    assert drive.order(False, T0 + 100 * MS) and not drive.order(False, T0 + 101 * MS)
    assert drive.at(T0 + 120 * MS) == ahead, "what is less than the delay ahead was final"
    assert drive.when(drive.at(T0 + 130 * MS) + 1.0) is None
    stood = drive.at(T0 + 900 * MS)
    drive.order(True, T0 + 970 * MS)
    assert drive.when(stood + 1.0) == pytest.approx(T0 + 1000 * MS + MS / 0.6, abs=0.1 * MS)


def test_speed_swings_by_about_one_percent() -> None:
    drive = Drive(600.0, 0, T0)
    drive.order(True, T0)
    speeds = [drive.at(T0 + (k + 1) * 100 * MS) - drive.at(T0 + k * 100 * MS) for k in range(100)]
    assert 0.6 * 0.985 <= min(speeds) / 100 < 0.6 * 0.995 and 0.6 * 1.005 < max(speeds) / 100 <= 0.6 * 1.015


def test_every_vial_is_seen_once_at_the_infeed_and_once_behind_the_gate() -> None:
    belt = running()
    belt.set_gate(True, T0)
    edges = play(belt, T0 + 5000 * MS)
    assert [edge.vial for edge in edges if edge.eye is Eye.INFEED] == list(range(1, 21))
    assert [edge.vial for edge in edges if edge.eye is Eye.PASS] == list(range(1, 21))
    assert belt.ended == (20, 0) and belt.on_belt == 0 and belt.exhausted


def test_times_do_not_depend_on_when_the_caller_asks() -> None:
    fine = play(running(), T0 + 4000 * MS, step_ns=MS)
    coarse = play(running(), T0 + 4000 * MS, step_ns=50 * MS)
    assert fine == coarse
    assert [edge.at_ns for edge in fine] == sorted(edge.at_ns for edge in fine)


def test_the_latched_encoder_is_that_of_the_latched_time() -> None:
    belt = running(encoder_start=0xFFFFFFFF - 5000)
    edges = play(belt, T0 + 4000 * MS)
    assert any(edge.encoder < 100_000 for edge in edges) and any(edge.encoder > 0xFFFF0000 for edge in edges)
    for edge in edges:
        assert abs(belt.encoder(edge.at_ns) - edge.encoder) <= 1
        at = belt.time_of(edge.encoder, T0 + 4000 * MS)
        assert at is not None and abs(at - edge.at_ns) <= 90_000


def test_spacing_jitter_and_slip() -> None:
    edges = play(running(vials=200), T0 + 24_000 * MS)
    entries = [edge for edge in edges if edge.eye is Eye.INFEED]
    gaps = [((b.encoder - a.encoder) & 0xFFFFFFFF) / 20.0 for a, b in pairwise(entries)]
    assert 56.3 <= min(gaps) < 58.0 and 62.0 < max(gaps) <= 63.7
    by_vial = {edge.vial: edge.encoder for edge in entries}
    slips = [(edge.encoder - by_vial[edge.vial]) / 20.0 - 690.0 for edge in edges if edge.eye is Eye.CHUTE]
    assert len(slips) == 200 and 0.2 < (sum(s * s for s in slips) / 200) ** 0.5 < 0.8


def test_the_gate_rests_on_divert_and_moves_late() -> None:
    belt = running(vials=1)
    play(belt, T0 + 900 * MS)
    gate_at = belt.vials[0].gate_at
    now = belt.time_of(int(gate_at * 20) + belt.encoder(T0), T0 + 900 * MS)
    assert now is not None
    for early_ms, end in ((9, End.PASS), (7, End.CHUTE)):
        other = running(vials=1)
        play(other, now - early_ms * MS)
        other.set_gate(True, now - early_ms * MS)
        other.advance(now + MS)
        assert other.vials[0].end is end


def test_infeed_hold_and_release() -> None:
    belt = running(vials=0)
    play(belt, T0 + 1000 * MS)
    held = len(belt.vials)
    belt.open_infeed(False, T0 + 1000 * MS)
    play(belt, T0 + 3000 * MS, T0 + 1000 * MS)
    assert len(belt.vials) == held and belt.on_belt == 0
    belt.open_infeed(True, T0 + 3000 * MS)
    edges = play(belt, T0 + 3300 * MS, T0 + 3000 * MS)
    entered = [edge.at_ns for edge in edges if edge.eye is Eye.INFEED]
    assert T0 + 3000 * MS < entered[0] < T0 + 3004 * MS
    assert entered[1] - entered[0] > 90 * MS


def test_a_bounce_is_a_second_edge_8_mm_later() -> None:
    belt = running(vials=1)
    edges = play(belt, T0 + 200 * MS)
    belt.bounce(1, 8.0)
    edges += play(belt, T0 + 220 * MS, T0 + 200 * MS)
    assert [edge.eye for edge in edges] == [Eye.INFEED, Eye.INFEED]
    assert edges[1].encoder - edges[0].encoder == pytest.approx(160, abs=1)


def test_same_seed_same_line_other_seed_another() -> None:
    def line(seed: int) -> list[tuple[int, float, int]]:
        belt = running(seed=seed)
        play(belt, T0 + 3000 * MS)
        return [(vial.picture, vial.gate_at, vial.entered_ns) for vial in belt.vials]

    assert line(1) == line(1) != line(2)


def seen(scenes: list[Scene], camera: int, at_ns: int) -> int:
    """What a camera sees: the newest valid entry."""
    valid = [scene for scene in scenes if scene.camera == camera and scene.from_ns <= at_ns < scene.to_ns]
    return valid[-1].vial if valid else 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.integers(0, 3))
def test_scenes_show_the_vial_before_the_lens_over_stops_and_starts(plan: list[int], seed: int) -> None:
    """At every instant the newest scene known 25 ms ahead is what physically stands there."""
    belt = running(vials=8, seed=seed)
    switches = {T0 + 20 * MS * sum(plan[: k + 1]): bool(k % 2) for k in range(len(plan))}
    scenes: list[Scene] = []
    wrong = []
    for now in range(T0 + STEP, T0 + 2200 * MS, STEP):
        belt.advance(now)
        if now in switches:
            belt.run(switches[now], now)
        scenes += belt.scenes(now, now + 25 * MS)
        for camera in (0, 1):
            if seen(scenes, camera, now) != belt.before_lens(camera, now):
                wrong.append((now - T0, camera, seen(scenes, camera, now), belt.before_lens(camera, now)))
    assert wrong == []


def test_scenes_are_announced_ahead_with_their_end() -> None:
    belt = running(vials=3)
    lead = []
    for now in range(T0 + STEP, T0 + 900 * MS, STEP):
        belt.advance(now)
        lead += [scene.from_ns - now for scene in belt.scenes(now, now + 25 * MS)]
        assert all(scene.to_ns < FOREVER_NS for scene in belt.scenes(now, now + 25 * MS))
    assert len(lead) == 6 and min(lead) >= 22 * MS and max(lead) <= 25 * MS
