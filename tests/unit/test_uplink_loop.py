"""The uplink's loop and its duty to archive: how long they wait after what, what is said, how SIGTERM ends a pass."""

import os
from collections.abc import Iterator

import pytest

from daemon.uplink.archive import ArchiveError
from daemon.uplink.archiving import FIRST_WAIT_S, LONGEST_WAIT_S, Archiving
from daemon.uplink.loop import Advance, Loop
from daemon.uplink.shipping import Step
from daemon.uplink.stores import StoreConflict, StoreError

EVERY_S = 30.0


class Archive:
    """Raises what it is told to, one after the other; then ships in three steps."""

    def __init__(self, *failures: Exception, told: bool = True) -> None:
        self.failures = list(failures)
        self.told = told
        self.closed = self.steps = 0

    def ship(self, step: Step) -> str:
        if self.failures:
            raise self.failures.pop(0)
        for number in range(3):
            step("shipping", number, 3)
            self.steps += 1
        return "archived"

    def close(self) -> None:
        self.closed += 1


class Task:
    """A duty that waits as long as it is told to, and ends the loop after so many turns."""

    def __init__(self, name: str, turns: list[str], wait_s: float, stop: int, last: int = 0) -> None:
        self.name, self.turns, self.wait_s, self.stop, self.last = name, turns, wait_s, stop, last
        self.wanted = 0

    @property
    def said(self) -> str:
        return f"{self.name} {min(self.turns.count(self.name), 2)}"

    def asked(self) -> bool:
        return self.turns.count(self.name) < self.wanted

    def turn(self, advance: Advance) -> float:
        advance()
        self.turns.append(self.name)
        if self.turns.count(self.name) == self.last:
            os.write(self.stop, b"x")
        return self.wait_s


@pytest.fixture
def stop() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def nothing() -> None:
    """The loop goes on."""


def test_an_archive_that_is_away_is_tried_again_less_and_less_often() -> None:
    archive = Archive(*[StoreError("away")] * 9)
    duty = Archiving(archive, EVERY_S)
    waits = [duty.turn(nothing) for _ in range(9)]
    assert waits == [min(2.0**turn, LONGEST_WAIT_S) for turn in range(9)]
    assert archive.closed == 9
    assert duty.turn(nothing) == EVERY_S
    archive.failures = [OSError("no room")]
    assert duty.turn(nothing) == FIRST_WAIT_S


@pytest.mark.parametrize("error", [ArchiveError("entry 3 was altered"), StoreConflict("other bytes")])
def test_what_a_person_has_to_look_at_is_an_alarm(error: Exception) -> None:
    duty = Archiving(Archive(error), EVERY_S)
    assert duty.turn(nothing) == EVERY_S
    assert duty.said == f"ALARM, not archived: {error}"
    assert duty.turn(nothing) == EVERY_S
    assert duty.said == "archived"


def test_a_recorder_that_does_not_know_yet_is_told_again_soon() -> None:
    assert Archiving(Archive(told=False), EVERY_S).turn(nothing) == FIRST_WAIT_S


def test_sigterm_ends_it_in_the_middle_of_a_pass(stop: tuple[int, int]) -> None:
    archive = Archive()
    os.write(stop[1], b"x")
    Loop([Archiving(archive, EVERY_S)], stop[0]).run()
    assert archive.steps == 0


def test_a_duty_that_is_always_due_does_not_keep_another_from_its_turn(
    stop: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    turns: list[str] = []
    busy = Task("busy", turns, 0.0, stop[1])
    Loop([busy, Task("calm", turns, 0.02, stop[1], last=3)], stop[0]).run()
    assert turns.count("calm") == 3
    assert turns.count("busy") > 3
    assert capsys.readouterr().err.splitlines() == [
        "uplink: busy 1",
        "uplink: calm 1",
        "uplink: busy 2",
        "uplink: calm 2",
    ]


def test_what_somebody_asks_for_is_done_before_it_is_due(stop: tuple[int, int]) -> None:
    turns: list[str] = []
    task = Task("asked", turns, 1000.0, stop[1], last=3)
    task.wanted = 3
    Loop([Task("other", turns, 1000.0, stop[1]), task], stop[0]).run()
    assert turns == ["other", "asked", "asked", "asked"]
