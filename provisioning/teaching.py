"""From what the PLC latched of a few marked units to the distances of the line. Pure.

Every distance is taken from the infeed eye in encoder counts, unit by unit; one that is known in mm gives the scale.
Only what agrees with itself is taught: a unit that was not seen everywhere, or a spread too large, refuses it all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from daemon.config import Station
from daemon.messages import Latched, Latches
from drivers.registers import signed_delta
from provisioning.errors import CommandFailed

FEWEST = 3
GATE, CHUTE, PASS = "gate", "chute eye", "pass eye"


class TeachError(CommandFailed):
    """Nothing was taught; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Distance:
    """One distance from the infeed eye in counts: mean, spread (largest less smallest), and from how many units."""

    name: str
    mean: float
    spread: int
    units: int


@dataclass(frozen=True, slots=True)
class Change:
    """One value of the station file. `table` is geometry or a camera's name; `old` and `new` in the file's unit."""

    table: str
    key: str
    old: float
    new: float


def newest(latches: Latches, after: int, count: int) -> list[Latched]:
    """Return the first `count` units behind number `after` that left the line, fewer while they are still on it.

    A later unit that left already shows that an earlier one did and was seen nowhere.
    """
    units = [unit for unit in latches.units if signed_delta(unit.unit.number, after) > 0][:count]
    left = max((i for i, unit in enumerate(units) if _left(unit)), default=-1)
    return units[: left + 1]


def measure(station: Station, units: Sequence[Latched], gate: Sequence[int], wanted: int) -> dict[str, Distance]:
    """Return the distances that these units show, by name.

    Raises:
        TeachError: a unit is missing, was not seen everywhere, or came twice.
    """
    if len(units) < wanted:
        raise TeachError(f"{len(units)} of {wanted} units came by: send {wanted} marked units and do not stop the line")
    numbers = [unit.unit.number for unit in units]
    if any(signed_delta(b, a) != 1 for a, b in zip(numbers, numbers[1:], strict=False)):
        raise TeachError(f"the units {numbers} do not follow each other: send the marked units again")
    found: dict[str, list[int]] = {}
    for unit in units:
        for name, counts in _counts(station, unit).items():
            found.setdefault(name, []).append(counts)
    opened = [at for unit in units if (at := _opened(unit, gate)) is not None]
    found[GATE] = opened if len(opened) == len(found.get(PASS, ())) else []
    return {name: _distance(name, counts) for name, counts in found.items() if len(counts) >= FEWEST}


def _counts(station: Station, unit: Latched) -> dict[str, int]:
    """Return what one unit shows; it must have been before every camera of lane 0 and at one eye behind the gate."""
    first = {at: encoder for at, shot, encoder in unit.edges if shot == 0}
    found: dict[str, int] = {}
    for camera in station.cameras:
        if camera.lane == 0:
            if camera.station not in first:
                raise TeachError(f"unit {unit.unit.number}: camera {camera.name} was not triggered for it")
            found[camera.name] = signed_delta(first[camera.station], unit.infeed)
    if not _left(unit):
        raise TeachError(f"unit {unit.unit.number} was not seen behind the gate: check the chute eye and the pass eye")
    for name, latch in ((CHUTE, unit.chute), (PASS, unit.passed)):
        if latch is not None:
            found[name] = signed_delta(latch, unit.infeed)
    return found


def _left(unit: Latched) -> bool:
    return unit.chute is not None or unit.passed is not None


def _opened(unit: Latched, gate: Sequence[int]) -> int | None:
    """Return where the gate opened for a unit that passed; None where another unit's opening may be meant."""
    if unit.passed is None:
        return None
    behind = max((encoder for _, _, encoder in unit.edges), default=unit.infeed)
    opened = [at for at in gate if signed_delta(at, behind) > 0 and signed_delta(unit.passed, at) > 0]
    return signed_delta(opened[0], unit.infeed) if len(opened) == 1 else None


def _distance(name: str, counts: Sequence[int]) -> Distance:
    return Distance(name, fmean(counts), max(counts) - min(counts), len(counts))


def changes(station: Station, found: dict[str, Distance], reference: str, mm: float, spread_mm: float) -> list[Change]:
    """Return what the station file must say. `reference` names the distance that is `mm` long.

    Raises:
        TeachError: the reference was not measured, or something spreads by more than `spread_mm`.
    """
    if reference not in found:
        raise TeachError(f"the distance to {reference} was not measured: name one of {', '.join(sorted(found))}")
    scale = found[reference].mean / mm
    if scale <= 0:
        raise TeachError("the encoder counts backwards or not at all: check its wiring")
    for distance in found.values():
        if distance.spread / scale > spread_mm:
            raise TeachError(
                f"the distance to {distance.name} spreads by {distance.spread / scale:.1f} mm over {distance.units} "
                f"units, more than {spread_mm:g} mm: let the belt run evenly, look for slip, and send them again"
            )
    geometry = station.geometry
    rows = [Change("geometry", "counts_per_mm", geometry.counts_per_mm, round(scale, 4))]
    for camera in station.cameras:
        if camera.name in found:
            rows.append(
                Change(camera.name, "position_mm", camera.position_mm, round(found[camera.name].mean / scale, 2))
            )
    lead = geometry.ejector_lead_mm
    for name, key, old, add in (
        (GATE, "gate_mm", geometry.gate_mm, lead),
        (CHUTE, "chute_eye_mm", geometry.chute_eye_mm, 0.0),
        (PASS, "pass_eye_mm", geometry.pass_eye_mm, 0.0),
    ):
        if name in found:
            rows.append(Change("geometry", key, old, round(found[name].mean / scale + add, 2)))
    return rows
