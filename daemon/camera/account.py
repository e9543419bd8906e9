"""Accounts for every frame id of one acquisition: new, twice, too late, or lost. Pure.

A frame can be overtaken by the next one on its way, so a gap is declared a loss one frame later. What was declared lost
and comes after all is refused: its unit has been told that it gets no picture.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass

LONGEST_LIST = 32


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
