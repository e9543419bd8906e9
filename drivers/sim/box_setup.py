"""From the station document to the parts of the line in a box: geometry in counts, the picture pool, the cameras."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from daemon import config
from daemon.config import Camera, Station
from drivers.gate.plc_io import Place, PlcSpec, ResyncEye
from drivers.gate.plc_logic import SCAN_US
from drivers.sim.belt import BeltSpec
from drivers.sim.box_cameras import Cameras, Head, open_head
from drivers.sim.lanes import Lanes
from drivers.sim.render import Pool, make_pool
from drivers.sim.render_spec import RenderError, View

RELEASE_MM = 15.0
CLEAR_MM = 2.0
PHANTOM_MM = 20.0
DARK = 32
PITCH_MM = 60.0
ENCODER_START = 0xFFFFFFFF - 100_000
NS = 1_000_000_000


class SetupError(Exception):
    """The line in a box cannot be built as asked; the text says what to change."""


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What is asked of one run. `units` 0 = endless; `pool` is the folder where rendered pictures are kept."""

    units: int
    rate_per_min: float
    seed: int
    pool: Path
    pool_seed: int
    pool_units: int
    defect_rate: float
    cameras: Path


def belt_specs(station: Station, run: RunSpec) -> list[BeltSpec]:
    """Return the mechanics of every lane of the station; the lanes share the rate and run out of step.

    Raises:
        SetupError: the station cannot be played at this rate.
    """
    if run.units < 0 or run.rate_per_min <= 0:
        raise SetupError("--units is a number from 0 (endless), --rate is vials a minute and more than 0")
    return [belt_spec(station, run, lane) for lane in range(station.lanes)]


def belt_spec(station: Station, run: RunSpec, lane: int = 0) -> BeltSpec:
    """Return the mechanics of one lane.

    Raises:
        SetupError: the station cannot be played at this rate.
    """
    geometry = station.geometry
    spec = BeltSpec(
        rate_per_min=run.rate_per_min / station.lanes,
        counts_per_mm=geometry.counts_per_mm,
        cameras=tuple(camera.position_mm for camera in station.cameras),
        gate_mm=geometry.gate_mm,
        chute_eye_mm=geometry.chute_eye_mm,
        pass_eye_mm=geometry.pass_eye_mm,
        seed=run.seed,
        vials=run.units,
        pictures=run.pool_units,
        encoder_start=ENCODER_START,
        lane=lane,
        pitch_mm=geometry.carrier.pitch_mm if geometry.carrier else PITCH_MM,
        pockets=geometry.carrier.pockets if geometry.carrier else 0,
        eyes_mm=tuple(eye.position_mm for eye in _eyes(station)),
        own=tuple(index for index, camera in enumerate(station.cameras) if camera.lane == lane),
    )
    spec = replace(spec, lead_in_mm=spec.pitch_mm * lane / station.lanes)
    needed_mm = spec.speed_mm_s * (spec.actuator_ns + SCAN_US * 1000) / NS
    if geometry.ejector_lead_mm < needed_mm:
        raise SetupError(
            f"at {run.rate_per_min:g} vials a minute the gate needs {needed_mm:.0f} mm to move: "
            f"set geometry.ejector_lead_mm to that or more, or lower --rate (now {geometry.ejector_lead_mm:g} mm)"
        )
    return spec


def plc_spec(station: Station) -> PlcSpec:
    """Return what the integrator would set in the PLC for this station."""
    geometry = station.geometry
    carrier = geometry.carrier

    def counts(mm: float) -> int:
        return round(mm * geometry.counts_per_mm)

    return PlcSpec(
        identity=station.plc_identity,
        device_identity=station.identity,
        lanes=station.lanes,
        stations=tuple(_place(camera, counts) for camera in station.cameras),
        decide=counts(geometry.gate_mm - geometry.ejector_lead_mm),
        release=counts(geometry.gate_mm + RELEASE_MM),
        chute_eye=counts(geometry.chute_eye_mm),
        pass_eye=counts(geometry.pass_eye_mm),
        window=counts(geometry.confirm_window_mm),
        clear=counts(geometry.ejector_lead_mm + CLEAR_MM),
        phantom=counts(PHANTOM_MM),
        eyes=tuple(ResyncEye(counts(eye.position_mm), counts(eye.window_mm)) for eye in _eyes(station)),
        pockets=carrier.pockets if carrier else 0,
        turn=counts(carrier.pockets * carrier.pitch_mm) if carrier else 0,
    )


def _eyes(station: Station) -> list[config.ResyncEye]:
    return sorted(station.geometry.eyes, key=lambda eye: eye.position_mm)


def _place(camera: Camera, counts: Callable[[float], int]) -> Place:
    at, pitch = counts(camera.position_mm), counts(camera.shot_pitch_mm)
    group = 1 + max((region.behind for region in camera.regions), default=0)
    beside = tuple(sorted({region.lane for region in camera.regions} - {camera.lane}))
    return Place(camera.station, at, camera.lane, camera.shots, pitch, group, beside)


def open_pool(run: RunSpec) -> Pool:
    """Open the picture pool, rendering it if it is not there.

    Raises:
        SetupError: it cannot be rendered or kept.
    """
    try:
        return make_pool(run.pool_seed, run.pool_units, run.defect_rate, run.pool)
    except RenderError as error:
        raise SetupError(str(error)) from error


def open_cameras(station: Station, run: RunSpec, pool: Pool, belt: Lanes) -> Cameras:
    """Offer every camera of the station. A camera shows the view of the pool that has its picture size.

    Raises:
        SetupError: no view has that size, or the folder cannot hold the sockets.
    """
    views = {View.BODY: (pool.body, pool.empty_body), View.CRIMP: (pool.crimp, pool.empty_crimp)}
    heads: list[Head] = []
    try:
        for index, camera in enumerate(station.cameras):
            if camera.regions:
                raise SetupError(f"camera {camera.name}: the box's pictures show one vial each; take its regions out")
            size = (camera.height, camera.width)
            fitting = [(full, empty) for full, empty in views.values() if empty.shape == size]
            if not fitting:
                sizes = " and ".join(f"{empty.shape[1]}x{empty.shape[0]}" for _, empty in views.values())
                raise SetupError(f"camera {camera.name}: the pool has pictures of {sizes}; set width and height to one")
            full, empty = fitting[0]
            pictures = np.concatenate((full, empty[None] // DARK, empty[None]))
            heads.append(open_head(camera, index, pictures, run.cameras, run.seed))
    except (OSError, ValueError, SetupError) as error:
        for head in heads:
            head.feed.close()
        raise SetupError(f"{error}") from error
    by_station = {camera.station: head for camera, head in zip(station.cameras, heads, strict=True)}
    return Cameras(heads, belt, by_station, round(30 * NS * station.lanes / run.rate_per_min))
