"""Accounts for every frame id of one acquisition: new, twice, too late, or lost, over a wrap at 16 bit. Pure.

A frame can be overtaken by the next one on its way, so a gap is declared a loss one frame later. What was declared lost
and comes after all is refused: its unit has been told that it gets no picture.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass

LONGEST_LIST = 32
GEV_LAST_ID = 65_535


class FrameIds:
    """Continues frame ids over the wrap of GigE Vision 1.x (16 bit: 65535 is followed by 1). One per acquisition start.

    Of all continuations of an id the nearest to the expected one is meant. A camera that once sent a larger id has
    wider ids, and nothing is continued.
    """

    def __init__(self) -> None:
        self._expected: int | None = None
        self._wide = False

    def continued(self, raw: int) -> int:
        """Return the id as if it had never wrapped. Called once per delivered buffer, in order of arrival."""
        self._wide = self._wide or raw > GEV_LAST_ID
        if self._wide or self._expected is None:
            found = raw
        else:
            turns = self._expected // GEV_LAST_ID
            ids = [raw + turn * GEV_LAST_ID for turn in (turns - 1, turns, turns + 1) if turn >= 0]
            expected = self._expected
            found = min(ids, key=lambda candidate: abs(candidate - expected))
        self._expected = max(self._expected or 0, found + 1)
        return found


class Arrival(enum.Enum):
    """What a delivered frame id is."""

    NEW = "new"
    TWICE = "twice"
    TOO_LATE = "too late"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a delivery tells: about the frame itself, and which ids are lost for good (at most 32 named)."""

    arrival: Arrival
    lost: tuple[int, ...]


class FrameAccount:
    """One per acquisition start. Frame ids rise by one; the first one seen is where the account begins."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._missing: set[int] = set()
        self._lost: set[int] = set()

    def delivered(self, frame_id: int) -> Finding:
        """Called once per delivered buffer, complete or not."""
        if frame_id in self._missing:
            self._missing.remove(frame_id)
            return Finding(Arrival.NEW, ())
        if self._next is not None and frame_id < self._next:
            return Finding(Arrival.TOO_LATE if frame_id in self._lost else Arrival.TWICE, ())
        overdue = self._give_up(self._missing)
        gap = range(frame_id if self._next is None else self._next, frame_id)
        self._next = frame_id + 1
        if len(gap) > LONGEST_LIST:
            return Finding(Arrival.NEW, overdue + self._give_up(gap[-LONGEST_LIST:]))
        self._missing = set(gap)
        return Finding(Arrival.NEW, overdue)

    def _give_up(self, ids: Iterable[int]) -> tuple[int, ...]:
        lost = tuple(sorted(ids))
        self._lost = set(sorted(self._lost | set(lost))[-4 * LONGEST_LIST :])
        return lost

    def finish(self) -> tuple[int, ...]:
        """The acquisition ended: what is missing is lost."""
        overdue, self._missing = self._give_up(self._missing), set()
        return overdue
