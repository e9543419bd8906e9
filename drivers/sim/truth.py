"""What really happened on the simulated line (docs/interfaces/truth.md): collected by the box, written at its end."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drivers.gate.plc_io import Flag, Step, UnitEvent
from drivers.sim.belt import End, Vial

TRUTH_VERSION = 1
UnitKey = tuple[int, int, int]


@dataclass(slots=True)
class UnitTruth:
    """One number the PLC gave. Stamps in CLOCK_MONOTONIC ns, 0 = did not happen."""

    unit: UnitKey
    vial: int
    last_edge_ns: int = 0
    permit_ns: int = 0
    decided_ns: int = 0
    closed_ns: int = 0
    flags: int = 0
    cause: int = 0

    def document(self) -> dict[str, Any]:
        return {
            "unit": self.unit,
            "vial": self.vial,
            "last_edge_ns": self.last_edge_ns,
            "permit_ns": self.permit_ns,
            "decided_ns": self.decided_ns,
            "closed_ns": self.closed_ns,
            "passed": bool(self.decided_ns) and not self.flags & Flag.DIVERTED,
            "flags": self.flags,
            "cause": self.cause,
        }


@dataclass(slots=True)
class TruthLog:
    """Owned by the box's loop. `records` has every unit in order of creation, `units` the newest of each name."""

    records: list[UnitTruth] = field(default_factory=list)
    units: dict[UnitKey, UnitTruth] = field(default_factory=dict)
    exposures: list[dict[str, Any]] = field(default_factory=list)
    faults: list[dict[str, Any]] = field(default_factory=list)

    def created(self, unit: UnitKey, vial: int) -> None:
        """The PLC gave a number to a vial, or to nothing (0)."""
        self.units[unit] = UnitTruth(unit, vial)
        self.records.append(self.units[unit])

    def edge(self, unit: UnitKey, due_ns: int) -> None:
        """A camera was triggered for a unit."""
        if unit in self.units:
            self.units[unit].last_edge_ns = max(self.units[unit].last_edge_ns, due_ns)

    def event(self, event: UnitEvent, now_ns: int) -> None:
        """A scan that ran at `now_ns` did something to a unit."""
        truth = self.units.get((event.epoch, event.lane, event.number))
        if truth is None:
            return
        if event.step is Step.PERMIT_SEEN:
            truth.permit_ns = now_ns
        elif event.step is Step.DECIDED:
            truth.decided_ns = now_ns
        elif event.step is Step.CLOSED:
            truth.closed_ns = now_ns
        truth.flags, truth.cause = int(event.flags), int(event.cause)

    def vials(self, vials: Sequence[Vial], defects: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
        """Return the entries of all vials; `defects` by picture index."""
        units: dict[int, list[UnitTruth]] = {}
        for truth in self.records:
            units.setdefault(truth.vial, []).append(truth)
        return [self._vial(vial, units.get(vial.ordinal, []), defects[vial.picture]) for vial in vials]

    def _vial(self, vial: Vial, units: list[UnitTruth], defects: Sequence[str]) -> dict[str, Any]:
        permitted = any(truth.flags & Flag.PERMITTED for truth in units)
        return {
            "vial": vial.ordinal,
            "lane": vial.lane,
            "picture": vial.picture,
            "defects": list(defects),
            "entered_ns": vial.entered_ns,
            "gate_ns": vial.gate_ns,
            "end": vial.end.value,
            "channel": vial.channel,
            "taken": vial.taken,
            "units": [truth.unit for truth in units],
            "permitted": permitted,
            "escaped": vial.end is End.PASS and not permitted,
        }

    def epochs(self) -> list[dict[str, int]]:
        """Return the PLC's totals by the epoch in which units were created."""
        totals: dict[int, dict[str, int]] = {}
        for truth in self.records:
            epoch = truth.unit[0]
            row = totals.setdefault(epoch, {"epoch": epoch, "created": 0, "closed": 0, "passed": 0, "diverted": 0})
            row["created"] += 1
            row["closed"] += bool(truth.closed_ns)
            row["diverted" if truth.flags & Flag.DIVERTED else "passed"] += bool(truth.decided_ns)
        return list(totals.values())

    def unit_documents(self) -> list[dict[str, Any]]:
        """Return the entries of all units, in order of creation."""
        return [truth.document() for truth in self.records]


def write(document: dict[str, Any], path: Path) -> None:
    """Write the log durably: whole or absent.

    Raises:
        OSError: the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump({"truth_version": TRUTH_VERSION} | document, file)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
