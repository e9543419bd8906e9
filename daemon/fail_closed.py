"""Which direct wirings the configuration loader refuses: those that pass a body when this computer does nothing. Pure.

Each line of `fails_open` is a reason on which a technician can act (docs/operations/wiring-diverter.md).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from daemon.config import Diverter, Station

SLOWEST_RELAY_MS = 100.0
RELEASE_MM = 15.0
LOOP_MS = 10.0
FEWEST_PULSES_S = 100.0
SIMULATED_CHIP = "sim:"


def fails_open(station: "Station") -> Iterator[str]:
    """Yield why this station must not run over bare lines; nothing for every other wiring."""
    wiring = cast("Diverter", station.wiring)
    if hasattr(wiring, "at_rest"):
        found = {**_actuator(wiring), **_geometry(station, wiring), **_lines(station, wiring)}
        yield from (text for text, wrong in found.items() if wrong)


def _actuator(wiring: "Diverter") -> dict[str, bool]:
    return {
        '$.wiring.actuator: an ejector passes what it is not told to reject, so silence would pass; use "diverter", or '
        "a serial-board, which pulses on silence": wiring.actuator == "ejector",
        '$.wiring.at_rest: a diverter that passes at rest fails open; build one that rejects at rest ("reject")': (
            wiring.at_rest == "pass"
        ),
        "$.wiring.watchdog_ms: without a watchdog relay a hanging computer keeps the gate open; wire one and give its "
        "time": wiring.watchdog_ms == 0,
        f"$.wiring.watchdog_ms: {wiring.watchdog_ms:g} ms is too slow to be safe; set the relay to "
        f"{SLOWEST_RELAY_MS:g} ms or less": wiring.watchdog_ms > SLOWEST_RELAY_MS,
    }


def _geometry(station: "Station", wiring: "Diverter") -> dict[str, bool]:
    geometry = station.geometry
    speed, actuator = geometry.speed_mm_s / 1000, geometry.actuator_ms
    lead = (actuator + LOOP_MS) * speed
    clear_ms = (wiring.min_gap_mm - RELEASE_MM) / speed - actuator - LOOP_MS
    pulses = geometry.counts_per_mm * geometry.speed_mm_s
    return {
        f"$.wiring.watchdog_ms: at {geometry.speed_mm_s:g} mm/s a body {wiring.min_gap_mm:g} mm behind a passed one "
        f"reaches the open gate of a hanging computer after {clear_ms:.0f} ms, the relay opens after "
        f"{wiring.watchdog_ms:g} ms; set the relay faster, the gap wider or the belt slower": (
            wiring.watchdog_ms > clear_ms
        ),
        f"$.geometry.ejector_lead_mm: the gate needs {lead:.1f} mm to move at {geometry.speed_mm_s:g} mm/s "
        f"(actuator_ms {actuator:g} and {LOOP_MS:g} ms for the loop), not {geometry.ejector_lead_mm:g}": (
            geometry.ejector_lead_mm < lead
        ),
        f"$.geometry.counts_per_mm: the encoder gives {pulses:.0f} pulses a second at full speed and the gate rests "
        f"when it is silent; {FEWEST_PULSES_S:g} are needed": pulses < FEWEST_PULSES_S,
    }


def _lines(station: "Station", wiring: "Diverter") -> dict[str, bool]:
    names = ["infeed", "encoder", "chute", "passed", "relay_closed", "gate", "watchdog", "run", "sync", "admit"]
    offsets = [*(getattr(wiring, name) for name in names), *wiring.triggers]
    simulated = wiring.chip.startswith(SIMULATED_CHIP)
    cameras = station.cameras
    return {
        "$.wiring: one line of the chip is used twice; every input and output needs its own": (
            len(set(offsets)) != len(offsets)
        ),
        f"$.wiring.triggers: {len(cameras)} cameras need as many lines, one on which each trigger is seen": (
            len(wiring.triggers) != len(cameras)
        ),
        "$.lanes: direct wiring has one lane; more need a PLC": station.lanes != 1,
        "$.geometry.eyes: direct wiring has no line for them; re-sync eyes need a PLC": bool(station.geometry.eyes),
        "$.inputs: direct wiring has no line for them; put guard, air and bin into the run chain": bool(station.inputs),
        "$.geometry.carrier: direct wiring follows a belt; a carrier needs a PLC": station.geometry.carrier is not None,
        f"$.wiring.chip: {wiring.chip} is a simulated chip, allowed only with simulated = true": (
            simulated and (station.production or not station.simulated)
        ),
    }
