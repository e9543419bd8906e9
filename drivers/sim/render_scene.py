"""What both views share: lens and sensor, solids of revolution (cap, stopper), backgrounds."""

import math
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from drivers.sim import render_geometry as geo
from drivers.sim.render_geometry import Array
from drivers.sim.render_spec import Camera, Light, VialSpec, View

Picture = npt.NDArray[np.uint8]

_TABLE = 512


@dataclass(frozen=True, slots=True)
class Solid:
    """One ring of a turned part between two heights (mm): `shade` holds grey levels at u = `across()`."""

    low_mm: float
    high_mm: float
    radius_mm: float
    shade: Array
    top_grey: float = 0.0


@dataclass(frozen=True, slots=True)
class Window:
    """Millimetre coordinates of a rectangle of pixels: x from the axis, v upwards, both (rows, columns) float32."""

    rows: slice
    columns: slice
    x: Array
    v: Array


def across() -> Array:
    """The 512 positions -1..1 at which shading tables are sampled."""
    return np.linspace(-1.0, 1.0, _TABLE, dtype=np.float32)


def hump(s: npt.NDArray[np.floating], middle: float, width: float) -> Array:
    """Gaussian of height 1."""
    return np.asarray(np.exp(-(((s - np.float32(middle)) / np.float32(width)) ** 2)), np.float32)


def look_up(table: Array, u: Array) -> Array:
    index = np.clip((u + 1.0) * (0.5 * (_TABLE - 1)), 0, _TABLE - 1).astype(np.int32)
    return np.asarray(table[index], np.float32)


def window(
    spec: VialSpec, view: View, camera: Camera, heights: tuple[float, float], half_width: float, turn_deg: float
) -> Window:
    """Pixels between two heights, `half_width` mm to each side; `turn_deg` turns the coordinates about the flange."""
    foot_x, foot_y = geo.foot(spec, view, camera)
    scale = camera.px_per_mm
    lean = math.tan(math.radians(spec.tilt_deg))
    top = max(0, int(foot_y - heights[1] * scale))
    bottom = min(camera.height, int(foot_y - heights[0] * scale))
    middle = foot_x + lean * 0.5 * (heights[0] + heights[1]) * scale
    left = max(0, int(middle - half_width * scale))
    right = min(camera.width, int(middle + half_width * scale))
    v = ((np.float32(foot_y) - np.arange(top, bottom, dtype=np.float32)) / np.float32(scale))[:, None]
    x = ((np.arange(left, right, dtype=np.float32) - np.float32(foot_x)) / np.float32(scale))[None, :]
    x = x - np.float32(lean) * v
    v = np.broadcast_to(v, x.shape)
    if turn_deg:
        sine, cosine = math.sin(math.radians(turn_deg)), math.cos(math.radians(turn_deg))
        pivot = np.float32(geo.FLANGE_HIGH - 1.0)
        x, v = cosine * x - sine * (v - pivot), pivot + sine * x + cosine * (v - pivot)
    return Window(slice(top, bottom), slice(left, right), x, v)


def paint(picture: Array, whole: Window, solid: Solid, view: View, camera: Camera) -> None:
    """Draws one opaque solid over the window, edges anti-aliased, seen from `LOOK_DOWN[view]` above."""
    scale, down = np.float32(camera.px_per_mm), np.float32(geo.LOOK_DOWN[view])
    radius = np.float32(solid.radius_mm)
    place = _around(whole, solid, float(down))
    sag = np.sqrt(np.maximum(radius * radius - place.x * place.x, 0.0)) * down
    front = place.v + sag
    side = np.clip((radius - np.abs(place.x)) * scale + 0.5, 0.0, 1.0)
    cut = picture[place.rows, place.columns]
    if solid.top_grey:
        lid = side * np.clip((sag - np.abs(place.v - np.float32(solid.high_mm))) * scale + 0.5, 0.0, 1.0)
        cut += lid * (np.float32(solid.top_grey) - cut)
    low = np.clip((front - np.float32(solid.low_mm)) * scale + 0.5, 0.0, 1.0)
    high = np.clip((np.float32(solid.high_mm) - front) * scale + 0.5, 0.0, 1.0)
    cut += side * low * high * (look_up(solid.shade, place.x / radius) - cut)


def _around(place: Window, solid: Solid, down: float) -> Window:
    """The part of the window the solid can reach."""
    reach = solid.radius_mm * down + 0.1
    edge = place.v[:, [0, -1]]
    rows = np.flatnonzero((edge.max(axis=1) > solid.low_mm - reach) & (edge.min(axis=1) < solid.high_mm + reach))
    if rows.size == 0:
        return Window(slice(0, 0), slice(0, 0), place.x[:0, :0], place.v[:0, :0])
    cut = slice(int(rows[0]), int(rows[-1]) + 1)
    start = int(place.rows.start)
    return Window(slice(start + cut.start, start + cut.stop), place.columns, place.x[cut], place.v[cut])


@cache
def noise_bank() -> Array:
    """Unit normal noise, larger than any picture by 64 pixels each way; drawn once per process from a fixed seed."""
    rng = np.random.Generator(np.random.PCG64(0x11E3A2DE))
    return rng.standard_normal((1024 + 64, 1280 + 64), dtype=np.float32)


def expose(picture: Array, light: Light) -> Picture:
    """Lens blur was applied by the caller; this adds lamp gain, fall-off and sensor noise and converts to 8 bits."""
    height, width = picture.shape
    row = np.linspace(1.0 - light.gradient, 1.0 + light.gradient, width, dtype=np.float32) * np.float32(light.gain)
    picture *= row[None, :]
    x, y = int(light.noise_at[0]), int(light.noise_at[1])
    noisy = cv2.scaleAdd(noise_bank()[y : y + height, x : x + width], light.noise_grey, picture)
    return np.asarray(cv2.convertScaleAbs(np.maximum(noisy, 0.0, out=noisy)), np.uint8)


def soften(picture: Array, place: Window, sigma: float) -> None:
    """Lens blur over one window (the background is smooth and needs none)."""
    cut = picture[place.rows, place.columns]
    picture[place.rows, place.columns] = cv2.GaussianBlur(cut, (0, 0), sigma)
