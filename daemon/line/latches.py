"""What the PLC latched of the last units of lane 0, as `linewarden teach` measures the line with it. Pure.

The eyes behind the gate latch into one register each, of which the newest body is left. The PLC closes a unit in the
scan in which such an eye saw it, so at its closing that register is this unit's; one that did not change since the
last closing was read too late and is nobody's.
"""

from collections import OrderedDict, deque
from collections.abc import Mapping

import msgspec

from daemon.messages import Latched, Latches
from daemon.units import UnitId
from drivers import plc_link as wires

KEPT = 48
EYES = {"chute_seen": "chute_encoder", "pass_seen": "pass_encoder"}


class LatchBook:
    """Owned by Control. Encoder counts, u32."""

    def __init__(self, flags: Mapping[str, int]) -> None:
        """`flags`: the bits of a closed unit by the names of the register map."""
        self._flags = flags
        self._units: OrderedDict[UnitId, Latched] = OrderedDict()
        self._registers: Mapping[str, int] = {}
        self._used: dict[str, int] = {}
        self._gate: deque[int] = deque(maxlen=KEPT)

    def take(self, event: wires.Event) -> None:
        """The PLC said something."""
        match event:
            case wires.Snapshot():
                self._snapshot(event.registers)
            case wires.Created(lane=0):
                unit = UnitId(event.epoch, 0, event.number)
                self._units[unit] = Latched(unit, event.encoder)
                while len(self._units) > KEPT:
                    self._units.popitem(last=False)
            case wires.EdgeLatched(lane=0):
                self._edge(UnitId(event.epoch, 0, event.number), (event.station, event.shot, event.encoder))
            case wires.Closed(lane=0):
                self._closed(UnitId(event.epoch, 0, event.number), event.flags)

    def _snapshot(self, registers: Mapping[str, int]) -> None:
        if not self._registers:
            self._used = {name: registers[name] for name in EYES.values()}
        elif registers["gate_encoder"] != self._registers["gate_encoder"]:
            self._gate.append(registers["gate_encoder"])
        self._registers = registers

    def _edge(self, unit: UnitId, edge: tuple[int, int, int]) -> None:
        entry = self._units.get(unit)
        if entry:
            self._units[unit] = msgspec.structs.replace(entry, edges=[*entry.edges, edge])

    def _closed(self, unit: UnitId, flags: int) -> None:
        entry, seen = self._units.get(unit), [eye for eye in EYES if flags & self._flags[eye]]
        if entry is None or len(seen) != 1 or not self._registers:
            return
        name = EYES[seen[0]]
        latch = self._registers[name]
        if latch != self._used[name]:
            self._used[name] = latch
            field = {"chute_seen": "chute", "pass_seen": "passed"}[seen[0]]
            self._units[unit] = msgspec.structs.replace(entry, **{field: latch})

    def all(self) -> Latches:
        """Return what is known, oldest first."""
        return Latches(list(self._units.values()), list(self._gate))
