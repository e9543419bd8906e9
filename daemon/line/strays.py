"""Bodies that the eyes behind the gate saw and that are no unit's: what is new since the last status. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from daemon.messages import PlcTotals
from drivers.plc_link import Snapshot

MASK = 0xFFFF
NAMES = ("stray_pass", "stray_chute")


@dataclass(frozen=True, slots=True)
class News:
    """New bodies of a lane; `lane` None where the PLC does not say which."""

    lane: int | None
    passed: int
    chute: int


class Strays:
    """Owned by Control."""

    def __init__(self) -> None:
        self._known: dict[int | None, tuple[int, int]] | None = None
        self._told: dict[int | None, tuple[int, int]] = {}
        self._earlier: dict[tuple[int, int | None], tuple[int, int]] = {}

    def earlier(self, totals: list[PlcTotals]) -> None:
        """Take what an earlier life of the line had told of, by epoch and lane."""
        self._earlier = {(row.epoch, row.lane): (row.stray_pass, row.stray_chute) for row in totals}

    def forget(self) -> None:
        """The PLC restarted: it counts from 0."""
        self._known, self._told = {}, {}

    def told(self) -> None:
        """The alarms of all that came are on their way to the recorder."""
        self._told = self._known or {}

    def recorded(self, lane: int) -> tuple[int, int]:
        """Return how many bodies that passed and that fell into the chute were told of."""
        return self._told.get(lane, (0, 0))

    def take(self, snapshot: Snapshot, running: bool) -> list[News]:
        """Return what came. In the very first status of a running line everything that no earlier life told of in this
        epoch counts as new; of another epoch everything that passed does, but nothing in the chute."""
        counts = self._counts(snapshot)
        if self._known is None:
            self._known = {
                lane: self._begin(snapshot.registers["epoch"], lane, running, counts[lane]) for lane in counts
            }
            self._told = dict(self._known)
        known, self._known = self._known, counts
        found = [(lane, *_less(new, known.get(lane, (0, 0)))) for lane, new in counts.items()]
        return [News(lane, passed, chute) for lane, passed, chute in found if passed or chute]

    def _begin(self, epoch: int, lane: int | None, running: bool, now: tuple[int, int]) -> tuple[int, int]:
        """Return the counts that are no news in the first status."""
        return self._earlier.get((epoch, lane), (0, now[1])) if running else now

    @staticmethod
    def _counts(snapshot: Snapshot) -> dict[int | None, tuple[int, int]]:
        """By lane, and under None what the sums hold beyond them: a PLC that counts sums only tells no lane."""
        sums = (snapshot.registers[NAMES[0]], snapshot.registers[NAMES[1]])
        if len(snapshot.lanes) == 1:
            return {0: sums}
        lanes: dict[int | None, tuple[int, int]] = {
            lane: (head[NAMES[0]], head[NAMES[1]]) for lane, head in enumerate(snapshot.lanes)
        }
        told = (sum(counts[0] for counts in lanes.values()), sum(counts[1] for counts in lanes.values()))
        return lanes | {None: _less(sums, told)}


def unclaimed(passed: int, chute: int) -> Iterator[tuple[str, str]]:
    """Yield code and text of the alarm for so many bodies behind the gate that no unit accounts for."""
    if passed:
        yield "ESCAPED", f"{passed} bodies passed that are no unit's"
    if chute:
        yield "STRAY_BODY", f"{chute} bodies fell into the chute that are no unit's"


def _less(new: tuple[int, int], old: tuple[int, int]) -> tuple[int, int]:
    return (new[0] - old[0]) & MASK, (new[1] - old[1]) & MASK
