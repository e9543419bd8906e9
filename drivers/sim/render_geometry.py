"""Shape of the vial and where its points fall in each picture.

ISO 8362-1 size 2R (body 16 mm, height 35 mm, neck 10.5 mm, flange 13 mm) with a 13 mm injection stopper and crimp cap.
Heights `h` in mm above the base, `x` in mm from the axis, `v` in mm upwards in the picture.
"""

import math

import numpy as np
import numpy.typing as npt

from drivers.sim.render_spec import Camera, Point, Region, VialSpec, View

Array = npt.NDArray[np.float32]

BODY_RADIUS = 8.0
NECK_RADIUS = 5.25
FLANGE_RADIUS = 6.4
SHOULDER_LOW, SHOULDER_HIGH = 22.0, 27.0
FLANGE_LOW, FLANGE_HIGH = 31.4, 35.0
PLUG_LOW, STOPPER_HIGH = 28.6, 37.0
SKIRT_LOW, SKIRT_HIGH, BUTTON_HIGH = 30.9, 37.3, 39.0
CAP_RADIUS, BUTTON_RADIUS = 6.65, 6.9
HEEL_RADIUS = 1.6

BASE_ROW = {View.BODY: 984.0, View.CRIMP: 26.2 * 32.0 + 480.0}
LOOK_DOWN = {View.BODY: 0.0, View.CRIMP: 0.14}


def outer_radius(h: Array) -> Array:
    """Outline of the glass in mm for heights `h`; -1 where there is no glass."""
    heel = HEEL_RADIUS - np.clip(h, 0.0, HEEL_RADIUS)
    body = BODY_RADIUS - HEEL_RADIUS + np.sqrt(np.maximum(HEEL_RADIUS**2 - heel**2, 0.0))
    t = np.clip((h - SHOULDER_LOW) / (SHOULDER_HIGH - SHOULDER_LOW), 0.0, 1.0)
    shoulder = BODY_RADIUS - (BODY_RADIUS - NECK_RADIUS) * t * t * (3.0 - 2.0 * t)
    radius = np.where(h < SHOULDER_LOW, body, shoulder)
    lip = np.clip((h - FLANGE_LOW + 0.5) / 0.5, 0.0, 1.0)
    radius = np.where(h > FLANGE_LOW - 0.5, NECK_RADIUS + (FLANGE_RADIUS - NECK_RADIUS) * lip, radius)
    return np.where((h < 0.0) | (h > FLANGE_HIGH), -1.0, radius).astype(np.float32)


def foot(spec: VialSpec, view: View, camera: Camera) -> Point:
    """Pixel of the middle of the base (it may lie below the picture)."""
    x = camera.width / 2 + spec.x_mm * camera.px_per_mm
    return x, BASE_ROW[view] - spec.y_mm * camera.px_per_mm


def project(spec: VialSpec, view: View, camera: Camera, x_mm: float, h_mm: float) -> Point:
    """Pixel of a point `x_mm` beside the axis at height `h_mm`."""
    x, y = foot(spec, view, camera)
    lean = math.tan(math.radians(spec.tilt_deg))
    return x + (x_mm + lean * h_mm) * camera.px_per_mm, y - h_mm * camera.px_per_mm


def box(points: tuple[Point, ...], margin: float, camera: Camera) -> Region:
    """Smallest box of whole pixels around `points` with `margin` pixels more on each side, inside the picture."""
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    left, top = max(0, math.floor(min(xs) - margin)), max(0, math.floor(min(ys) - margin))
    right = min(camera.width, math.ceil(max(xs) + margin))
    bottom = min(camera.height, math.ceil(max(ys) + margin))
    return Region(left, top, right - left, bottom - top)
