"""The uplink's loop: how long it waits after what, what it says, and that SIGTERM ends it in the middle of a pass."""

import os
from collections.abc import Iterator

import pytest

from daemon.uplink.archive import ArchiveError
from daemon.uplink.main import FIRST_WAIT_S, LONGEST_WAIT_S, Loop
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


@pytest.fixture
def stop() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_an_archive_that_is_away_is_tried_again_less_and_less_often(stop: tuple[int, int]) -> None:
    archive = Archive(*[StoreError("away")] * 9)
    loop = Loop(archive, EVERY_S, stop[0])
    waits = [loop.turn() for _ in range(9)]
    assert waits == [min(2.0**turn, LONGEST_WAIT_S) for turn in range(9)]
    assert archive.closed == 9
    assert loop.turn() == EVERY_S
    archive.failures = [OSError("no room")]
    assert loop.turn() == FIRST_WAIT_S


@pytest.mark.parametrize("error", [ArchiveError("entry 3 was altered"), StoreConflict("other bytes")])
def test_what_a_person_has_to_look_at_is_an_alarm_said_once(
    error: Exception, stop: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    loop = Loop(Archive(error, error), EVERY_S, stop[0])
    assert [loop.turn(), loop.turn()] == [EVERY_S, EVERY_S]
    assert capsys.readouterr().err == f"uplink: ALARM, not archived: {error}\n"
    assert loop.turn() == EVERY_S
    assert capsys.readouterr().err == "uplink: archived\n"


def test_a_recorder_that_does_not_know_yet_is_told_again_soon(stop: tuple[int, int]) -> None:
    assert Loop(Archive(told=False), EVERY_S, stop[0]).turn() == FIRST_WAIT_S


def test_sigterm_ends_it_in_the_middle_of_a_pass(stop: tuple[int, int]) -> None:
    archive = Archive()
    os.write(stop[1], b"x")
    Loop(archive, EVERY_S, stop[0]).run()
    assert archive.steps == 0
