"""From a station with direct wiring to its link: the gate program's settings and the digital lines."""

from functools import partial

from daemon.config import Camera, ConfigError, Diverter, Station
from daemon.fail_closed import RELEASE_MM, SIMULATED_CHIP
from drivers.direct import DirectLink, DirectSpec
from drivers.errors import DeviceRefused
from drivers.gate.latches import Roles
from drivers.gate.plc_io import Place, PlcSpec
from drivers.gpio import GpiodLines, Lines, Use, library
from drivers.gpio_socket import SocketLines
from drivers.registers import load_map

CLEAR_MM = 2.0
PHANTOM_MM = 20.0
SLACK_MM = 3.0


def direct_link(station: Station, wiring: Diverter) -> DirectLink:
    """Return the link, its lines not yet opened.

    Raises:
        ConfigError: the library for digital lines is not installed.
    """
    _check_library(wiring.chip)
    spec = DirectSpec(
        plc=gate_spec(station),
        roles=Roles(
            infeed=wiring.infeed,
            encoder=wiring.encoder,
            chute=wiring.chute,
            passed=wiring.passed,
            triggers=tuple((line, c.station) for line, c in zip(wiring.triggers, station.cameras, strict=True)),
            slack=max(2, _counts(station, SLACK_MM)),
        ),
        relay_closed=wiring.relay_closed,
        gate=wiring.gate,
        watchdog=wiring.watchdog,
        run=wiring.run,
        admit=wiring.admit,
        sync=wiring.sync,
    )
    return DirectLink(partial(_open, wiring.chip, _use(spec)), load_map(), spec)


def gate_spec(station: Station) -> PlcSpec:
    """Return the settings of the gate program, as an integrator would set them in a PLC."""
    geometry = station.geometry
    return PlcSpec(
        identity=station.plc_identity,
        device_identity=station.identity,
        lanes=station.lanes,
        stations=tuple(_place(station, camera) for camera in station.cameras),
        decide=_counts(station, geometry.gate_mm - geometry.ejector_lead_mm),
        release=_counts(station, geometry.gate_mm + RELEASE_MM),
        chute_eye=_counts(station, geometry.chute_eye_mm),
        pass_eye=_counts(station, geometry.pass_eye_mm),
        window=_counts(station, geometry.confirm_window_mm),
        clear=_counts(station, geometry.ejector_lead_mm + CLEAR_MM),
        phantom=_counts(station, PHANTOM_MM),
    )


def _place(station: Station, camera: Camera) -> Place:
    at, pitch = _counts(station, camera.position_mm), _counts(station, camera.shot_pitch_mm)
    return Place(camera.station, at, camera.lane, camera.shots, pitch)


def _counts(station: Station, mm: float) -> int:
    return round(mm * station.geometry.counts_per_mm)


def _use(spec: DirectSpec) -> Use:
    roles = spec.roles
    counted = (roles.infeed, roles.encoder, roles.chute, roles.passed, *(line for line, _ in roles.triggers))
    return Use(counted, (spec.relay_closed,), spec.outputs)


def _open(chip: str, use: Use) -> Lines:
    if chip.startswith(SIMULATED_CHIP):
        return SocketLines(chip.removeprefix(SIMULATED_CHIP), use)
    return GpiodLines(chip, use)


def _check_library(chip: str) -> None:
    """Say at once, as a mistake in the installation, that gpiod is missing."""
    try:
        if not chip.startswith(SIMULATED_CHIP):
            library()
    except DeviceRefused as error:
        raise ConfigError(f"$.wiring.chip: {error}") from error
