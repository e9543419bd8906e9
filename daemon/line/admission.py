"""Does a recipe fit this machine in time? The arithmetic, before the batch. Pure.

A unit travels from its last camera to the point where the gate must have decided; meanwhile it must be judged and the
permit must reach a scan of the PLC. A recipe whose worst case does not fit would reject good units for ever, one with
too many units under way cannot be tracked, and one whose units are too close for the PLC's clock cannot be bound.
"""

import math
from dataclasses import dataclass

from daemon.config import Station

MOST_IN_FLIGHT = 48
REQUEST_MS = 4.0


@dataclass(frozen=True, slots=True)
class Demands:
    """What a recipe asks of the machine. `worst_ms`: from the last view's edge to the permit as measured, 0 = not."""

    max_latency_ms: float
    min_gap_mm: float
    worst_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the arithmetic; `fits` False is why the recipe is refused."""

    fits: bool
    text: str


def arithmetic(station: Station, demands: Demands) -> list[Line]:
    """Return every comparison with its numbers, in the order of a unit's way."""
    return [
        _decided(station, demands),
        _deadline(demands),
        _actuated(station),
        _clocked(station, demands),
        _in_flight(station, demands),
    ]


def misfit(station: Station, demands: Demands) -> str:
    """Return why the recipe does not fit, in one line with the numbers; "" if it does."""
    wrong = "; ".join(line.text for line in arithmetic(station, demands) if not line.fits)
    return f"the recipe does not fit this machine: {wrong}" if wrong else ""


def transport_ms(station: Station) -> float:
    """Return the time from the last view of a unit to the point where its permit must be in the PLC."""
    geometry = station.geometry
    last_mm = max(camera.position_mm + (camera.shots - 1) * camera.shot_pitch_mm for camera in station.cameras)
    return (geometry.gate_mm - geometry.ejector_lead_mm - last_mm) / geometry.speed_mm_s * 1000.0


def _decided(station: Station, demands: Demands) -> Line:
    measured = demands.worst_ms > 0
    judged_ms = demands.worst_ms if measured else demands.max_latency_ms
    source = "measured worst case" if measured else "max_latency_ms of the recipe (worst case not measured)"
    needed_ms = judged_ms + REQUEST_MS + station.plc_scan_ms
    has_ms = transport_ms(station)
    text = (
        f"last camera to gate {has_ms:.1f} ms at {station.geometry.speed_mm_s:g} mm/s; needed {needed_ms:.1f} ms"
        f" = {judged_ms:.1f} {source} + {REQUEST_MS:.1f} request + {station.plc_scan_ms:.1f} PLC scan"
    )
    return Line(has_ms >= needed_ms, text)


def _deadline(demands: Demands) -> Line:
    fits = demands.worst_ms <= demands.max_latency_ms
    worst = f"{demands.worst_ms:.1f} ms" if demands.worst_ms else "not measured"
    return Line(fits, f"worst case {worst}; the recipe allows {demands.max_latency_ms:.1f} ms")


def _actuated(station: Station) -> Line:
    geometry = station.geometry
    has_ms = geometry.ejector_lead_mm / geometry.speed_mm_s * 1000.0
    needed_ms = geometry.actuator_ms + station.plc_scan_ms
    text = (
        f"ejector lead {geometry.ejector_lead_mm:g} mm = {has_ms:.1f} ms; needed {needed_ms:.1f} ms"
        f" = {geometry.actuator_ms:.1f} actuator + {station.plc_scan_ms:.1f} PLC scan"
    )
    return Line(has_ms >= needed_ms, text)


def _clocked(station: Station, demands: Demands) -> Line:
    """A PLC's clock may be a scan old when it is read; what is nearer to the next unit could name the wrong edge."""
    gap_ms = demands.min_gap_mm / station.geometry.speed_mm_s * 1000.0
    needed_ms = 2 * station.plc_scan_ms
    text = f"units {gap_ms:.1f} ms apart; needed {needed_ms:.1f} ms = twice the PLC scan, by which its clock may lag"
    return Line(gap_ms >= needed_ms, text)


def _in_flight(station: Station, demands: Demands) -> Line:
    geometry = station.geometry
    length_mm = max(geometry.chute_eye_mm, geometry.pass_eye_mm) + geometry.confirm_window_mm
    if demands.min_gap_mm <= 0:
        return Line(False, f"{length_mm:g} mm under way and no minimum gap: there is no end to the units")
    units = math.ceil(length_mm / demands.min_gap_mm)
    text = f"{length_mm:g} mm under way / {demands.min_gap_mm:g} mm minimum gap = {units} units a lane"
    return Line(units <= MOST_IN_FLIGHT, f"{text}; at most {MOST_IN_FLIGHT}")
