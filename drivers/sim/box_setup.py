"""From the station document to the parts of the line in a box: geometry in counts, the picture pool, the cameras."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from daemon.config import Station
from drivers.gate.plc_io import PlcSpec
from drivers.gate.plc_logic import SCAN_US
from drivers.sim.belt import Belt, BeltSpec
from drivers.sim.box_cameras import Cameras, Head, open_head
from drivers.sim.render import Pool, make_pool
from drivers.sim.render_spec import RenderError, View

RELEASE_MM = 15.0
CLEAR_MM = 2.0
PHANTOM_MM = 20.0
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


def belt_spec(station: Station, run: RunSpec) -> BeltSpec:
    """Return the mechanics of the station.

    Raises:
        SetupError: the station cannot be played at this rate.
    """
    geometry = station.geometry
    spec = BeltSpec(
        rate_per_min=run.rate_per_min,
        counts_per_mm=geometry.counts_per_mm,
        cameras=tuple(camera.position_mm for camera in station.cameras),
        gate_mm=geometry.gate_mm,
        chute_eye_mm=geometry.chute_eye_mm,
        pass_eye_mm=geometry.pass_eye_mm,
        seed=run.seed,
        vials=run.units,
        pictures=run.pool_units,
        encoder_start=ENCODER_START,
    )
    needed_mm = spec.speed_mm_s * (spec.actuator_ns + SCAN_US * 1000) / NS
    if station.lanes != 1:
        raise SetupError(f"the line in a box has one lane; set lanes = 1 in the station, not {station.lanes}")
    if run.units < 0 or run.rate_per_min <= 0:
        raise SetupError("--units is a number from 0 (endless), --rate is vials a minute and more than 0")
    if geometry.ejector_lead_mm < needed_mm:
        raise SetupError(
            f"at {run.rate_per_min:g} vials a minute the gate needs {needed_mm:.0f} mm to move: "
            f"set geometry.ejector_lead_mm to that or more, or lower --rate (now {geometry.ejector_lead_mm:g} mm)"
        )
    return spec


def plc_spec(station: Station) -> PlcSpec:
    """Return what the integrator would set in the PLC for this station."""
    geometry = station.geometry

    def counts(mm: float) -> int:
        return round(mm * geometry.counts_per_mm)

    return PlcSpec(
        identity=station.plc_identity,
        device_identity=station.identity,
        lanes=station.lanes,
        stations=tuple((camera.station, counts(camera.position_mm)) for camera in station.cameras),
        decide=counts(geometry.gate_mm - geometry.ejector_lead_mm),
        release=counts(geometry.gate_mm + RELEASE_MM),
        chute_eye=counts(geometry.chute_eye_mm),
        pass_eye=counts(geometry.pass_eye_mm),
        window=counts(geometry.confirm_window_mm),
        clear=counts(geometry.ejector_lead_mm + CLEAR_MM),
        phantom=counts(PHANTOM_MM),
    )


def open_pool(run: RunSpec) -> Pool:
    """Open the picture pool, rendering it if it is not there.

    Raises:
        SetupError: it cannot be rendered or kept.
    """
    try:
        return make_pool(run.pool_seed, run.pool_units, run.defect_rate, run.pool)
    except RenderError as error:
        raise SetupError(str(error)) from error


def open_cameras(station: Station, run: RunSpec, pool: Pool, belt: Belt) -> Cameras:
    """Offer every camera of the station. A camera shows the view of the pool that has its picture size.

    Raises:
        SetupError: no view has that size, or the folder cannot hold the sockets.
    """
    views = {View.BODY: (pool.body, pool.empty_body), View.CRIMP: (pool.crimp, pool.empty_crimp)}
    heads: list[Head] = []
    try:
        for index, camera in enumerate(station.cameras):
            size = (camera.height, camera.width)
            fitting = [(full, empty) for full, empty in views.values() if empty.shape == size]
            if not fitting:
                sizes = " and ".join(f"{empty.shape[1]}x{empty.shape[0]}" for _, empty in views.values())
                raise SetupError(f"camera {camera.name}: the pool has pictures of {sizes}; set width and height to one")
            full, empty = fitting[0]
            heads.append(open_head(camera, index, np.concatenate((full, empty[None])), run.cameras, run.seed))
    except (OSError, ValueError, SetupError) as error:
        for head in heads:
            head.feed.close()
        raise SetupError(f"{error}") from error
    by_station = {camera.station: head for camera, head in zip(station.cameras, heads, strict=True)}
    return Cameras(heads, belt, by_station, round(30 * NS / run.rate_per_min))
