"""Which views of a unit the station's cameras take, lane by lane, and what of that no station can mean. Pure.

A camera's `look` is the view of the recipe that it takes; cameras of several lanes take the same one. A recipe fits a
station only if every unit, in whichever lane, has exactly its views taken.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from daemon.units import ViewKey

if TYPE_CHECKING:
    from daemon.config import Camera, Station

STEADY = 0.9


def lanes_of(camera: "Camera") -> frozenset[int]:
    """Return the lanes whose units the camera sees."""
    return frozenset(region.lane for region in camera.regions) or frozenset({camera.lane})


def views_of(station: "Station", lane: int) -> frozenset[ViewKey]:
    """Return every view that is taken of a unit of that lane."""
    cameras = [camera for camera in station.cameras if lane in lanes_of(camera)]
    return frozenset(ViewKey(camera.look, 0, shot) for camera in cameras for shot in range(camera.shots))


def spacing_mm(camera: "Camera", min_gap_mm: float) -> float:
    """Return the least distance on the belt between two triggers of a camera.

    Shots of one unit come exactly their pitch apart, so a share of it is left for a belt that runs faster than it did.
    """
    if camera.shots == 1:
        return min_gap_mm
    between_units = min_gap_mm - (camera.shots - 1) * camera.shot_pitch_mm
    return max(0.0, min(STEADY * camera.shot_pitch_mm, between_units))


def _grids(station: "Station") -> dict[str, bool]:
    """What is wrong with frames that show several units."""
    carrier = station.geometry.carrier
    grids = [camera for camera in station.cameras if camera.regions]
    outside = [
        region
        for camera in grids
        for region in camera.regions
        if region.x + region.width > camera.width or region.y + region.height > camera.height
    ]
    return {
        "$.cameras.regions: only a carrier holds several units in place": bool(grids) and carrier is None,
        "$.cameras.regions: the carrier's pockets are no multiple of those in a frame": carrier is not None
        and any(carrier.pockets % _group(camera) for camera in grids),
        "$.cameras.regions: the last pocket in the frame has not passed the infeed eye": carrier is not None
        and any(camera.position_mm <= _group(camera) * carrier.pitch_mm for camera in grids),
        "$.cameras.regions: a region does not lie in the frame": bool(outside),
        "$.cameras.regions: two regions show one pocket": any(
            len({(region.lane, region.behind) for region in camera.regions}) != len(camera.regions) for camera in grids
        ),
    }


def _group(camera: "Camera") -> int:
    """Return over how many pockets the regions of a camera reach."""
    return 1 + max((region.behind for region in camera.regions), default=0)


def misplaced(station: "Station") -> Iterator[str]:
    """Yield what contradicts itself in cameras and eyes, one line each."""
    geometry, cameras = station.geometry, station.cameras
    decided = geometry.gate_mm - geometry.ejector_lead_mm
    looks = [(lane, camera.look) for camera in cameras for lane in lanes_of(camera)]
    found = {
        "$.cameras: a camera stands at a lane that is not there": any(lane >= station.lanes for lane, _ in looks),
        "$.cameras: two cameras of one lane take one view": len(set(looks)) != len(looks),
        "$.cameras: several shots need a shot_pitch_mm": any(c.shots > 1 and not c.shot_pitch_mm for c in cameras),
        "$.cameras: a camera stands behind the gate": any(
            camera.position_mm + (camera.shots - 1) * camera.shot_pitch_mm >= decided for camera in cameras
        ),
        **_grids(station),
        "$.geometry.eyes: a re-sync eye stands behind the gate": any(
            eye.position_mm + eye.window_mm >= decided for eye in geometry.eyes
        ),
    }
    yield from (text for text, wrong in found.items() if wrong)
