"""The re-sync eyes of one lane: where units really are on a belt that slips, and which are not there at all. Pure.

Two witnesses must agree at each eye: the position (a unit due within the window) and the order (the oldest unit that
did not come by yet). Where they disagree, everyone concerned is barred from the gate.
"""

from collections.abc import Iterable, Sequence

from drivers.gate.plc_io import MAX_U32, Cause, Latch, ResyncEye, Unit


class Eyes:
    """Owned by Lane. `slip` is the newest correction in counts, `lost` and `strays` count what did not fit."""

    def __init__(self, eyes: Sequence[ResyncEye]) -> None:
        self._eyes = tuple(eyes)
        self.forget()

    def forget(self) -> None:
        self.slip = self.lost = self.strays = 0

    def span(self, unit: Unit) -> tuple[int, int]:
        """Return between which places (first excluded) the unit's position is known well enough to trigger on it."""
        first = self._eyes[unit.eye - 1].at if unit.eye else -1
        return first, self._eyes[unit.eye].at if unit.eye < len(self._eyes) else MAX_U32

    def edge(self, index: int, latch: Latch, units: Iterable[Unit]) -> Unit | None:
        """Eye `index` saw a body. Return the unit whose position is now corrected, if it is beyond doubt which."""
        eye, ahead = self._eyes[index], list(units)
        waiting = [unit for unit in ahead if unit.eye == index]
        due = [unit for unit in waiting if abs(unit.travelled(latch.encoder) - eye.at) <= eye.window]
        if len(due) == 1 and due[0] is waiting[0]:
            return self._correct(due[0], latch.encoder - eye.at)
        self.strays += 1
        for unit in [*due, *waiting[:1]] if due else _beside(ahead, latch, eye):
            unit.bar(Cause.STRAY_BODY)
        if due:
            min(due, key=lambda unit: abs(unit.travelled(latch.encoder) - eye.at)).eye += 1
        return None

    def miss(self, encoder: int, units: Iterable[Unit]) -> None:
        """Bar the units that should have come by an eye and did not."""
        for unit in units:
            if unit.eye < len(self._eyes):
                eye = self._eyes[unit.eye]
                if unit.travelled(encoder) > eye.at + eye.window:
                    unit.eye += 1
                    unit.bar(Cause.LOST)
                    self.lost += 1

    def _correct(self, unit: Unit, encoder: int) -> Unit:
        shift = (encoder - unit.encoder + 0x80000000 & MAX_U32) - 0x80000000
        unit.encoder = encoder & MAX_U32
        unit.eye += 1
        self.slip = shift
        return unit


def _beside(units: Sequence[Unit], latch: Latch, eye: ResyncEye) -> list[Unit]:
    """Return the nearest unit on either side of the body."""
    beyond = [(unit.travelled(latch.encoder) - eye.at, unit) for unit in units]
    ahead = [item for item in beyond if item[0] > 0]
    behind = [item for item in beyond if item[0] <= 0]
    found = [min(ahead, key=lambda item: item[0])] if ahead else []
    return [unit for _, unit in [*found, *([max(behind, key=lambda item: item[0])] if behind else [])]]
