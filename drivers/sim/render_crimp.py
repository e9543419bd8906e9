"""The crimp view: close-up of neck, stopper and cap under a dome light, the camera looking slightly downwards.

Metal mirrors the dome: bright, with the dark image of the camera's own hole in the middle and soft vertical bands.
Glass is dark with bright edges.
"""

from functools import cache

import cv2
import numpy as np

from drivers.sim import render_geometry as geo
from drivers.sim import render_marks as marks
from drivers.sim.render_geometry import Array
from drivers.sim.render_scene import Picture, Solid, Window, across, expose, hump, look_up, paint, soften, window
from drivers.sim.render_spec import Camera, VialSpec, View

_DARK = 34.0


def render_crimp(spec: VialSpec, camera: Camera) -> Picture:
    """Mono8 picture (480, 640) of cap and neck. Called by the pool and the training script, never on the line."""
    picture = _background(camera).copy()
    straight = window(spec, View.CRIMP, camera, (25.0, 42.0), 9.6, 0.0)
    _glass(picture, straight, spec, camera)
    if spec.cap:
        turned = window(spec, View.CRIMP, camera, (25.0, 42.0), 9.6, spec.cap_tilt_deg)
        _cap(picture, turned, spec, camera)
    elif spec.stopper:
        for solid in _rubber():
            paint(picture, straight, solid, View.CRIMP, camera)
    soften(picture, straight, spec.light[View.CRIMP].blur_px)
    return expose(picture, spec.light[View.CRIMP])


def empty_crimp(spec: VialSpec, camera: Camera) -> Picture:
    """The view without a vial, under the light of `spec`."""
    return expose(_background(camera).copy(), spec.light[View.CRIMP])


@cache
def _background(camera: Camera) -> Array:
    y = np.linspace(-1.0, 1.0, camera.height, dtype=np.float32)[:, None]
    x = np.linspace(-1.0, 1.0, camera.width, dtype=np.float32)[None, :]
    rail = 11.0 * np.exp(-(((y - 0.45) / 0.16) ** 2))
    return np.asarray(_DARK - 6.0 * x * x + 5.0 * y + rail, np.float32)


def _glass(picture: Array, place: Window, spec: VialSpec, camera: Camera) -> None:
    """Dark glass with bright rims; the grey plug shows through the neck."""
    v = place.v[:, 0]
    radius = geo.outer_radius(v)
    u = np.asarray(place.x / np.maximum(radius, 0.01)[:, None], np.float32)
    cover = np.clip((radius[:, None] - np.abs(place.x)) * np.float32(camera.px_per_mm) + 0.5, 0.0, 1.0)
    sloped = np.clip((geo.SHOULDER_HIGH - v) / 3.0, 0.0, 1.0)[:, None]
    shade = look_up(_glass_table(), u) + sloped * 26.0 * hump(u, -0.35, 0.18)
    if spec.stopper:
        _plug(shade, place)
    cut = picture[place.rows, place.columns]
    cut += cover * (shade - cut)


@cache
def _glass_table() -> Array:
    s = np.abs(across())
    rims = 120.0 * hump(s, 0.93, 0.035) + 45.0 * hump(s, 0.74, 0.03) - 22.0 * hump(s, 1.0, 0.02)
    table = 40.0 + 14.0 * s * s + rims
    return np.asarray(table, np.float32)


def _plug(shade: Array, place: Window) -> None:
    half = 4.15 - 0.5 * np.clip((29.2 - place.v) / 0.8, 0.0, 1.0)
    side = np.clip((half - np.abs(place.x)) * 14.0 + 0.5, 0.0, 1.0)
    sag = 0.10 * np.sqrt(np.maximum(half * half - place.x * place.x, 0.0))
    low = np.clip((place.v + sag - geo.PLUG_LOW) * 28.0 + 0.5, 0.0, 1.0)
    rubber = 92.0 - 40.0 * (place.x / 4.2) ** 2
    shade += side * low * (rubber - shade)


@cache
def _rubber() -> tuple[Solid, ...]:
    u = across()
    shade = 88.0 - 46.0 * u * u + 22.0 * hump(u, -0.45, 0.14)
    return (Solid(geo.FLANGE_HIGH, geo.STOPPER_HIGH, 6.25, shade.astype(np.float32), top_grey=112.0),)


def _cap(picture: Array, turned: Window, spec: VialSpec, camera: Camera) -> None:
    place = Window(turned.rows, turned.columns, turned.x, turned.v + np.float32(spec.cap_drop_mm))
    metal, edge, plastic = _cap_tables()
    grain = np.roll(_grain(), int(spec.cap_phase * 80))
    skirt = Solid(geo.SKIRT_LOW, geo.SKIRT_HIGH, geo.CAP_RADIUS, metal + grain, top_grey=176.0)
    paint(picture, place, skirt, View.CRIMP, camera)
    _rolled_edge(picture, place, spec, camera)
    groove = Solid(geo.SKIRT_HIGH - 0.30, geo.SKIRT_HIGH, geo.CAP_RADIUS, edge, top_grey=150.0)
    paint(picture, place, groove, View.CRIMP, camera)
    button = Solid(geo.SKIRT_HIGH + 0.15, geo.BUTTON_HIGH, geo.BUTTON_RADIUS, plastic, top_grey=104.0)
    paint(picture, place, button, View.CRIMP, camera)
    for scratch in spec.scratches:
        marks.stroke(picture, (0, 0), scratch)
    _lid(picture, place)


def _rolled_edge(picture: Array, place: Window, spec: VialSpec, camera: Camera) -> None:
    """The lower rim, pressed under the flange: a dark roll with the fine pleats every crimp has."""
    u = across()
    pleats = 10.0 * np.sin(np.arcsin(u * 0.999) * 34.0 + spec.cap_phase)
    fall = np.sqrt(np.maximum(1.0 - u * u, 0.0))
    roll = Solid(geo.SKIRT_LOW, geo.SKIRT_LOW + 0.55, geo.CAP_RADIUS, (58.0 + 52.0 * fall + pleats).astype(np.float32))
    paint(picture, place, roll, View.CRIMP, camera)
    lip = Solid(geo.SKIRT_LOW + 0.55, geo.SKIRT_LOW + 0.72, geo.CAP_RADIUS, (120.0 + 100.0 * fall).astype(np.float32))
    paint(picture, place, lip, View.CRIMP, camera)


def _lid(picture: Array, place: Window) -> None:
    """Soft reflection of the dome on the plastic button."""
    shine = np.exp(-(((place.v - 38.85) / 0.42) ** 2) - ((place.x + 2.0) / 2.6) ** 2)
    picture[place.rows, place.columns] += np.float32(26.0) * shine


@cache
def _cap_tables() -> tuple[Array, Array, Array]:
    u = across()
    fall = np.sqrt(np.maximum(1.0 - u * u, 0.0))
    metal = 74.0 + 96.0 * fall - 46.0 * hump(u, 0.0, 0.10) + 34.0 * hump(u, -0.42, 0.16) + 28.0 * hump(u, 0.50, 0.12)
    metal = metal - 34.0 * hump(u, -0.86, 0.07) - 28.0 * hump(u, 0.84, 0.06)
    edge = 52.0 + 66.0 * fall
    plastic = 42.0 + 48.0 * fall + 30.0 * hump(u, -0.45, 0.10) + 14.0 * hump(u, 0.55, 0.08)
    return metal.astype(np.float32), edge.astype(np.float32), plastic.astype(np.float32)


@cache
def _grain() -> Array:
    """Vertical drawing streaks of the aluminium, a few grey levels."""
    rng = np.random.Generator(np.random.PCG64(0xA1))
    rough = rng.standard_normal((1, across().size), dtype=np.float32)
    return np.asarray(5.0 * cv2.GaussianBlur(rough, (0, 0), 1.1)[0] * 1.6, np.float32)
