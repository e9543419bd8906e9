"""What a fleet asks of its servers, in virtual time: the product's own schedule, one draw after another. Pure.

A device is what it asks next: how often it failed in a row, and whether it was served since the servers came back.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from daemon.uplink.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Scenario:
    """All devices are switched on at second 0. The servers answer `capacity` requests in a second, 0 = all of them.

    `away`: from which to before which second they answer nothing. `naive`: devices that poll exactly every `poll_s` and
    try again exactly then, as a control.
    """

    name: str
    devices: int
    poll_s: float
    seconds: int
    away: tuple[int, int] = (0, 0)
    capacity: int = 0
    naive: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """Requests in each second. `served_s`: seconds after the servers came back until so many devices were served."""

    requests: Sequence[int]
    served_s: dict[float, int]

    def peak(self, begin: int, end: int) -> int:
        """Return the most requests in a second of that time."""
        return max(self.requests[begin:end])

    def mean(self, begin: int, end: int) -> float:
        """Return the mean requests in a second of that time."""
        return sum(self.requests[begin:end]) / (end - begin)


def simulate(scenario: Scenario, draw: random.Random, shares: Sequence[float] = (0.5, 0.99, 1.0)) -> Load:
    """Play a scenario second by second."""
    schedule, back_s = Schedule(scenario.poll_s), scenario.away[1]
    due: list[list[tuple[int, bool]]] = [[] for _ in range(scenario.seconds)]
    for _ in range(scenario.devices):
        due[0 if scenario.naive else int(schedule.first(draw.random()))].append((0, False))
    counts, served, served_s = [], 0, {}
    for second, asking in enumerate(due):
        counts.append(len(asking))
        draw.shuffle(asking)
        is_away = scenario.away[0] <= second < back_s
        for place, (failures, known) in enumerate(asking):
            failed = is_away or bool(scenario.capacity and place >= scenario.capacity)
            new = not (failed or known) and second >= back_s
            served += new
            in_a_row = failures + 1 if failed else 0
            at = second + max(1, int(_wait(scenario, schedule, in_a_row, draw.random()) + draw.random()))
            if at < scenario.seconds:
                due[at].append((in_a_row, known or new))
        asking.clear()
        for share in shares:
            if share not in served_s and served >= share * scenario.devices:
                served_s[share] = second - back_s
    return Load(counts, served_s)


def _wait(scenario: Scenario, schedule: Schedule, failures: int, draw: float) -> float:
    if scenario.naive:
        return scenario.poll_s
    return schedule.after_failure(failures, draw) if failures else schedule.after_success(draw)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a staged roll-out. `hours`: for these bytes over that line, with nothing else on it."""

    percent: int
    devices: int
    gigabytes: float
    hours: float


def roll_out(devices: int, megabytes: float, percents: Sequence[int], gigabit_s: float) -> list[Step]:
    """Return what each step costs: the devices that it adds, their bytes, the time of a line of that width."""
    steps, before = [], 0
    for percent in percents:
        added = devices * (percent - before) // 100
        gigabytes = added * megabytes / 1000.0
        steps.append(Step(percent, added, gigabytes, gigabytes * 8.0 / gigabit_s / 3600.0))
        before = percent
    return steps
