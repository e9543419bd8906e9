"""What stands between now and Execute, in the order in which a person would check it. Pure."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from daemon.config import Station
from daemon.faults import INPUTS
from daemon.states import Mode
from daemon.units import Authority, LineMode
from drivers.registers import MAP_VERSION, PlcState

KEYS = {
    LineMode.SHADOW: {Authority.LEGACY},
    LineMode.PROPOSE: {Authority.LEGACY},
    LineMode.AUTOMATIC: {Authority.LINEWARDEN, Authority.BOTH},
}
TOLD = {LineMode.SHADOW: 0, LineMode.PROPOSE: 1, LineMode.AUTOMATIC: 2}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the line knows at this moment; one instance per turn of the loop.

    `cameras` = (name, acquiring, in step); `inputs` = (name of faults.INPUTS, as it should be) of those that are wired;
    `lights` = (camera, in its band); `misfit` is why the recipe does not fit the machine, "" if it does; `key` is the
    PLC's key switch as it was read last.
    """

    link: bool
    plc_alive: bool
    plc_right: bool
    epoch: int
    key_fits: bool
    recorder: bool
    stored: bool
    batch: str
    vision: bool
    loaded: bool
    armed_is_loaded: bool
    cameras: tuple[tuple[str, bool, bool], ...]
    inputs: tuple[tuple[str, bool], ...] = ()
    lights: tuple[tuple[str, bool], ...] = ()
    misfit: str = ""
    plc_aborted: bool = False
    key: int | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """`code` is the fault's row in faults.py that applies while the condition is not met.

    `key` names it in the catalogue, `subject` the camera it is about, `detail` fills its text.
    """

    code: str
    key: str
    met: bool
    subject: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ToldByPlc:
    """What the PLC's status says of itself; all is well while nothing was read."""

    right: bool = True
    key_fits: bool = True
    aborted: bool = False


def told_by_plc(registers: Mapping[str, int], station: Station) -> ToldByPlc:
    """Read the fixed registers of the last status."""
    if not registers:
        return ToldByPlc()
    return ToldByPlc(
        right=(registers["map_version"], registers["plc_identity"]) == (MAP_VERSION, station.plc_identity),
        key_fits=key_fits(station.mode, registers["authority"]),
        aborted=bool(registers["plc_state"] & PlcState.ABORTED),
    )


def key_fits(mode: LineMode, authority: int) -> bool:
    """True if the key switch `inspection authority` gives this line what its mode needs."""
    return authority in KEYS[mode]


def told_mode(mode: LineMode, unit_mode: Mode) -> int:
    """Return the mode that the PLC is told: permits mean nothing to it outside Production."""
    return TOLD[mode if unit_mode is Mode.PRODUCTION else LineMode.SHADOW]


@functools.lru_cache(maxsize=8)
def conditions(facts: Facts) -> tuple[Condition, ...]:
    """Return every condition, in order; the first unmet one is what to look at first.

    Asked hundreds of times a second and nearly always about the same facts.
    """
    rows = [
        Condition("PLC_LINK", "link", facts.link),
        Condition("PLC_WRONG", "right_plc", not facts.link or facts.plc_right),
        Condition("PLC_LINK", "heartbeat", facts.plc_alive),
        Condition("PLC_LINK", "epoch", facts.epoch != 0),
        Condition("PLC_ABORTED", "plc_not_aborted", not facts.link or not facts.plc_aborted),
        Condition("AUTHORITY", "authority", not facts.link or facts.key_fits),
        *(Condition(INPUTS[name], name, met) for name, met in facts.inputs),
        Condition("RECORDER_LOST", "recorder", facts.recorder),
        Condition("NO_RECORD", "stored", facts.stored),
        Condition("NOT_ARMED", "batch", bool(facts.batch)),
        Condition("VISION_LOST", "vision", facts.vision),
        Condition("VISION_LOST", "loaded", facts.loaded),
        Condition("NOT_ARMED", "armed", facts.armed_is_loaded or not facts.loaded),
        Condition("ADMISSION", "admitted", not facts.misfit, detail=facts.misfit),
    ]
    for name, acquiring, synced in facts.cameras:
        rows.append(Condition("CAMERA_LOST", "camera_acquires", acquiring, name, name))
        rows.append(Condition("CAMERA_UNSYNCED", "camera_synced", synced, name, name))
    rows += [Condition("LIGHT", "camera_lit", met, name, name) for name, met in facts.lights]
    return tuple(rows)
