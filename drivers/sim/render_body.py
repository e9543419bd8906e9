"""The body view: a vial before a diffuse panel, a weak dome in front.

Back light makes glass visible by refraction: clear in the middle, dark where the wall turns away; liquid makes
the vial one thick lens and the dark edges wider. Opaque things (cap, stopper, particles) are dark, bubbles dark rings.
"""

from functools import cache

import cv2
import numpy as np

from drivers.sim import render_geometry as geo
from drivers.sim import render_marks as marks
from drivers.sim.render_geometry import Array
from drivers.sim.render_scene import Picture, Solid, Window, across, expose, hump, look_up, paint, soften, window
from drivers.sim.render_spec import Camera, VialSpec, View

_PANEL = 186.0
_BELT_ROW = 984


def render_body(spec: VialSpec, camera: Camera) -> Picture:
    """Mono8 picture (1024, 1280) of the whole vial. Called by the pool and the training script, never on the line."""
    picture = _background(camera).copy()
    place = window(spec, View.BODY, camera, (-0.6, 40.9), 9.2, 0.0)
    _glass(picture, place, spec, camera)
    _contents(picture, place, spec)
    _closure(picture, spec, camera)
    soften(picture, place, spec.light[View.BODY].blur_px)
    return expose(picture, spec.light[View.BODY])


def empty_body(spec: VialSpec, camera: Camera) -> Picture:
    """The belt without a vial, under the light of `spec`."""
    return expose(_background(camera).copy(), spec.light[View.BODY])


@cache
def _background(camera: Camera) -> Array:
    """Panel with vignette and a few specks of its own, belt below."""
    rng = np.random.Generator(np.random.PCG64(0xBE17))
    y = np.linspace(-1.0, 1.0, camera.height, dtype=np.float32)[:, None]
    x = np.linspace(-1.0, 1.0, camera.width, dtype=np.float32)[None, :]
    picture = (_PANEL * (1.0 - 0.05 * x * x - 0.05 * y * y)).astype(np.float32)
    rough = rng.standard_normal((camera.height, camera.width), dtype=np.float32)
    texture = cv2.GaussianBlur(rough, (0, 0), 6.0, sigmaY=0.8)
    belt = 46.0 + 30.0 * texture[_BELT_ROW:] - np.arange(camera.height - _BELT_ROW, dtype=np.float32)[:, None] * 0.35
    picture[_BELT_ROW:] = belt
    picture[_BELT_ROW - 3 : _BELT_ROW + 1] *= 0.62
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 1.2), np.float32)


@cache
def _tables() -> tuple[Array, Array, Array]:
    """Transmission over u of an empty body, a filled body and the neck."""
    s = np.abs(across())
    walls = 0.62 * hump(s, 0.975, 0.028) + 0.30 * hump(s, 0.885, 0.016) - 0.10 * hump(s, 0.915, 0.010)
    empty = 0.95 - 0.06 * s**4 - walls
    filled = 0.93 - 0.10 * s**3 - 0.66 / (1.0 + np.exp(-(s - 0.865) / 0.018)) + 0.30 * hump(s, 0.945, 0.010)
    neck = 0.86 - 0.55 / (1.0 + np.exp(-(s - 0.74) / 0.03)) + 0.34 * hump(s, 0.90, 0.03) - 0.25 * hump(s, 1.0, 0.03)
    return empty.astype(np.float32), filled.astype(np.float32), neck.astype(np.float32)


def _glass(picture: Array, place: Window, spec: VialSpec, camera: Camera) -> None:
    """Multiplies the panel by what the glass and the liquid let through."""
    h = place.v[:, 0]
    radius = geo.outer_radius(h)
    cover = np.clip((radius[:, None] - np.abs(place.x)) * np.float32(camera.px_per_mm) + 0.5, 0.0, 1.0)
    u = np.asarray(place.x / np.maximum(radius, 0.01)[:, None], np.float32)
    through = _transmission(h, u, spec)
    _meniscus(through, h, u, spec)
    _heel(through, h, u)
    through -= 1.0
    through *= cover
    through += 1.0
    picture[place.rows, place.columns] *= through


def _transmission(h: Array, u: Array, spec: VialSpec) -> Array:
    empty, filled, neck = _tables()
    stretch = np.float32(0.875 / spec.wall)
    through = np.empty_like(u)
    liquid, shoulder, throat = _row(h, spec.fill_mm), _row(h, geo.SHOULDER_LOW), _row(h, geo.SHOULDER_HIGH)
    through[liquid:] = look_up(filled, u[liquid:])
    through[shoulder:liquid] = look_up(empty, u[shoulder:liquid] * stretch)
    through[:throat] = look_up(neck, u[:throat])
    _shoulder(through[throat:shoulder], h[throat:shoulder], u[throat:shoulder])
    return through


def _row(h: Array, height: float) -> int:
    """First row at or below `height`; `h` falls from row to row."""
    return int(np.searchsorted(-h, -np.float32(height)))


def _shoulder(through: Array, h: Array, u: Array) -> None:
    """The slope of the shoulder bends light away: a dark dome with a bright crescent below the neck."""
    empty, _, neck = _tables()
    t = ((h - geo.SHOULDER_LOW) / (geo.SHOULDER_HIGH - geo.SHOULDER_LOW))[:, None]
    slope = (4.0 * t * (1.0 - t)) ** 2
    side = u * u
    mixed = look_up(empty, u) * (1.0 - t) + look_up(neck, u) * t
    dark = slope * (0.30 + 0.45 * side)
    crescent = 0.22 * hump(t + 0.25 * side, 0.62, 0.10)
    through[:] = mixed * (1.0 - dark) + crescent


def _meniscus(through: Array, h: Array, u: Array, spec: VialSpec) -> None:
    """Dark band at the liquid surface that climbs the wall, a thin bright line above it."""
    top = min(spec.fill_mm + 1.6, geo.SHOULDER_LOW)
    rows = slice(_row(h, top), _row(h, spec.fill_mm - 1.2))
    empty, filled, _ = _tables()
    cut = u[rows]
    level = np.float32(spec.fill_mm) + 0.75 * np.clip(np.abs(cut) / 0.9, 0.0, 1.0) ** 8
    above = h[rows][:, None] - level
    mix = np.clip(above * 24.0 + 0.5, 0.0, 1.0)
    surface = look_up(filled, cut) * (1.0 - mix) + look_up(empty, cut) * mix
    surface *= 1.0 - 0.62 * hump(above, -0.16, 0.20) - 0.22 * hump(above, -0.62, 0.10)
    surface += 0.10 * hump(above, 0.16, 0.07)
    through[rows] = surface


def _heel(through: Array, h: Array, u: Array) -> None:
    """Thick glass at the base: dark curve of the push-up, bright line under it."""
    rows = slice(_row(h, 2.4), len(h))
    height, side = h[rows][:, None], u[rows] * u[rows]
    arc = height - (0.75 + 0.55 * (1.0 - side))
    through[rows] *= 1.0 - 0.50 * hump(arc, 0.0, 0.13) - 0.35 / (1.0 + np.exp((height - 0.35) / 0.10))
    through[rows] += 0.10 * hump(arc, -0.30, 0.12)


def _contents(picture: Array, place: Window, spec: VialSpec) -> None:
    cut = picture[place.rows, place.columns]
    origin = (place.columns.start, place.rows.start)
    for blob in spec.blobs:
        marks.blob(cut, origin, blob)
    for stroke in spec.strokes:
        marks.stroke(cut, origin, stroke)
    for ring in spec.rings:
        marks.ring(cut, origin, ring)
    h, middle = place.v[:, 0], place.x[len(place.x) // 2]
    for glint in spec.glints:
        along = np.clip((h - glint.low_mm) / 1.5, 0.0, 1.0) * np.clip((glint.high_mm - h) / 1.5, 0.0, 1.0)
        streak = hump(middle, glint.u * geo.BODY_RADIUS, glint.width_mm)
        marks.streak(cut, along, streak, glint.grey)


def _closure(picture: Array, spec: VialSpec, camera: Camera) -> None:
    """Plug behind the glass of the neck, then stopper and cap in front of the panel."""
    straight = window(spec, View.BODY, camera, (27.5, 37.6), 7.6, 0.0)
    if spec.stopper:
        _plug(picture, straight)
    if not spec.cap:
        if spec.stopper:
            paint(picture, straight, _rubber(), View.BODY, camera)
        return
    turned = window(spec, View.BODY, camera, (27.5, 40.9), 8.4, spec.cap_tilt_deg)
    lowered = Window(turned.rows, turned.columns, turned.x, turned.v + np.float32(spec.cap_drop_mm))
    for solid in _cap():
        paint(picture, lowered, solid, View.BODY, camera)


def _plug(picture: Array, place: Window) -> None:
    """The rubber plug fills the bore; the thick neck magnifies it. It is dark grey with lighter glass beside it."""
    half = 4.15 - 0.5 * np.clip((29.4 - place.v) / 0.8, 0.0, 1.0)
    side = np.clip((half - np.abs(place.x)) * 12.0 + 0.5, 0.0, 1.0)
    low = np.clip((place.v - geo.PLUG_LOW) * 24.0 + 0.5, 0.0, 1.0) * (place.v < geo.FLANGE_HIGH)
    cut = picture[place.rows, place.columns]
    cut += side * low * (np.float32(34.0) - cut)


@cache
def _rubber() -> Solid:
    u = across()
    return Solid(geo.FLANGE_HIGH, geo.STOPPER_HIGH, 6.25, (40.0 + 16.0 * np.exp(-((u / 0.5) ** 2))).astype(np.float32))


@cache
def _cap() -> tuple[Solid, ...]:
    """Skirt, its rolled lower edge, and the plastic button, lit weakly from the front."""
    u = across()
    fall = np.sqrt(np.maximum(1.0 - u * u, 0.0))
    metal = 30.0 + 62.0 * fall + 26.0 * hump(u, -0.55, 0.10) + 20.0 * hump(u, 0.62, 0.07) - 18.0 * hump(u, 0.0, 0.16)
    edge = 16.0 + 40.0 * fall
    plastic = 24.0 + 30.0 * fall + 18.0 * hump(u, -0.40, 0.12)
    return (
        Solid(geo.SKIRT_LOW, geo.SKIRT_HIGH, geo.CAP_RADIUS, metal.astype(np.float32)),
        Solid(geo.SKIRT_LOW, geo.SKIRT_LOW + 0.28, geo.CAP_RADIUS, edge.astype(np.float32)),
        Solid(geo.SKIRT_HIGH - 0.25, geo.SKIRT_HIGH, geo.CAP_RADIUS, edge.astype(np.float32)),
        Solid(geo.SKIRT_HIGH, geo.BUTTON_HIGH, geo.BUTTON_RADIUS, plastic.astype(np.float32)),
    )
