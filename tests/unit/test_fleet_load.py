"""The simulated fleet behind docs/fleet-scale.md: small, seeded, and against what must hold whatever is drawn."""

import random
from itertools import pairwise
from pathlib import Path

import pytest

from tests.bench.fleet_load import Scenario, roll_out, simulate

SEED, DEVICES, POLL_S = 5, 2_000, 60.0


def test_in_peace_every_device_polls_once_a_period_and_none_with_the_others() -> None:
    load = simulate(Scenario("peace", DEVICES, POLL_S, 1_800), random.Random(SEED))
    mean = load.mean(120, 1_800)
    assert mean == pytest.approx(DEVICES / POLL_S, rel=0.03), f"seed {SEED}"
    assert load.peak(0, 1_800) < 2.2 * mean, f"seed {SEED}"


def test_devices_without_jitter_would_all_come_at_once() -> None:
    load = simulate(Scenario("naive", DEVICES, POLL_S, 300, naive=True), random.Random(SEED))
    assert load.peak(0, 300) == DEVICES


def test_after_an_outage_they_come_back_spread_and_all_are_served() -> None:
    scenario = Scenario("outage", DEVICES, POLL_S, 7_200, away=(600, 4_200))
    load = simulate(scenario, random.Random(SEED))
    steady = load.mean(120, 600)
    assert load.peak(4_200, 7_200) < 2.2 * steady, f"seed {SEED}"
    assert load.mean(2_400, 4_200) < 0.15 * steady, "a server that is away is left alone"
    assert load.served_s[1.0] <= 900 + 66


def test_a_server_that_answers_half_as_fast_as_is_asked_still_serves_everybody() -> None:
    scenario = Scenario("slow", DEVICES, POLL_S, 7_200, capacity=int(DEVICES / POLL_S / 2))
    load = simulate(scenario, random.Random(SEED))
    assert load.served_s[1.0] < 7_200, f"seed {SEED}"
    assert load.mean(3_600, 7_200) < DEVICES / POLL_S


def test_the_steps_of_a_roll_out_add_up_to_the_fleet() -> None:
    steps = roll_out(DEVICES, 500.0, (1, 10, 50, 100), 1.0)
    assert sum(step.devices for step in steps) == DEVICES
    assert sum(step.gigabytes for step in steps) == pytest.approx(DEVICES * 0.5)
    assert all(one.percent < other.percent for one, other in pairwise(steps))


def test_the_table_says_that_the_script_wrote_it_with_which_seed_and_under_which_load() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "fleet-scale.md").read_text(encoding="utf-8")
    assert "tests/bench/bench_fleet.py" in text
    assert "seed " in text
    assert "load " in text
