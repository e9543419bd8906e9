"""What a counter module would have latched, made from the edges of bare lines: counts at edges, trigger names. Pure.

The encoder's count at an edge is the number of its pulses before that edge; the edges come in order of time. A trigger
edge gets the name of the unit whose camera distance the encoder has just reached; an edge that fits nobody stays
nameless and counts all the same, so that camera and line keep counting alike.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from drivers.gate.plc_io import MAX_U32, Compare, Fired, Inputs, Latch
from drivers.registers import signed_delta

SYNC_LATE_US = 60_000


@dataclass(frozen=True, slots=True)
class Roles:
    """Line offsets of the inputs. `triggers` holds (offset, trigger station); `slack` how far, in counts, a trigger may
    be from the place where a unit's was due."""

    infeed: int
    encoder: int
    chute: int
    passed: int
    triggers: tuple[tuple[int, int], ...]
    slack: int


class Latches:
    """Owned by DirectLink. Times in us of the gate program's clock."""

    def __init__(self, roles: Roles) -> None:
        self._roles = roles
        self._stations = dict(roles.triggers)
        self._due: defaultdict[int, list[Compare]] = defaultdict(list)
        self._inputs = Inputs()
        self.count = 0
        self.pulse_us = -1

    def forget_orders(self) -> None:
        """The gate program starts anew: nobody waits for a trigger."""
        self._due.clear()

    def order(self, armed: Iterable[Compare]) -> None:
        """The gate program expects these triggers."""
        for compare in armed:
            self._due[compare.station].append(compare)

    def edge(self, offset: int, at_us: int) -> None:
        """A line rose."""
        roles = self._roles
        if offset == roles.encoder:
            self.count = (self.count + 1) & MAX_U32
            self.pulse_us = at_us
        elif offset == roles.infeed:
            self._inputs.infeed.append(Latch(at_us, self.count))
        elif offset == roles.chute:
            self._inputs.chute.append(Latch(at_us, self.count))
        elif offset == roles.passed:
            self._inputs.passed.append(Latch(at_us, self.count))
        elif offset in self._stations:
            self._inputs.fired.append(Fired(self._named(self._stations[offset], at_us), at_us, self.count))

    def take(self) -> Inputs:
        """Return what was latched since the last call."""
        inputs, self._inputs = self._inputs, Inputs()
        inputs.encoder = self.count
        return inputs

    def _named(self, station: int, at_us: int) -> Compare:
        """Return the order that this trigger carries out; orders whose time or place is behind are dropped."""
        slack = self._roles.slack
        self._due[station] = waiting = [order for order in self._due[station] if not self._behind(order, at_us)]
        fitting = [order for order in waiting if order.at_us is None and self._away(order) <= slack]
        fitting = fitting or [order for order in waiting if order.at_us is not None and order.at_us <= at_us]
        if not fitting:
            return Compare(station, self.count, None, 0, 0, 0, 0)
        found = min(fitting, key=self._away)
        waiting.remove(found)
        return found

    def _away(self, order: Compare) -> int:
        return abs(signed_delta(self.count, order.encoder)) if order.at_us is None else 0

    def _behind(self, order: Compare, at_us: int) -> bool:
        if order.at_us is not None:
            return at_us - order.at_us > SYNC_LATE_US
        return signed_delta(self.count, order.encoder) > self._roles.slack
