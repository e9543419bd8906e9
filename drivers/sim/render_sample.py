"""Draws a vial by lot: good variation first, then the defects asked for. Same seed, same vial."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from drivers.sim import render_geometry as geo
from drivers.sim.render_spec import (
    Blob,
    Defect,
    DefectCode,
    Difficulty,
    Glint,
    Light,
    Line,
    Point,
    Range,
    Region,
    Ring,
    Stroke,
    VialSpec,
    View,
)

_CAP_CODES = (DefectCode.CROOKED_CAP, DefectCode.MISSING_CAP, DefectCode.MISSING_STOPPER)


@dataclass(frozen=True, slots=True)
class _Lot:
    """The generator and the ranges it draws from."""

    rng: np.random.Generator
    rules: Difficulty

    def within(self, bounds: Range) -> float:
        return float(bounds[0] + (bounds[1] - bounds[0]) * self.rng.random())

    def count(self, bounds: tuple[int, int]) -> int:
        return int(self.rng.integers(bounds[0], bounds[1] + 1))

    def sign(self) -> float:
        return 1.0 if self.rng.random() < 0.5 else -1.0


def sample_vial(seed: int, index: int, codes: tuple[DefectCode, ...], rules: Difficulty) -> VialSpec:
    """Vial number `index` of the stream `seed`, with exactly the defects in `codes` (at most one of the cap defects).

    Pure: the result depends on the arguments only.
    """
    lot = _Lot(np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index]))), rules)
    spec = _good(lot)
    for code in codes:
        spec = _ADD[code](lot, spec)
    return dataclasses.replace(spec, rings=_rings(lot, spec), glints=_glints(lot))


def _good(lot: _Lot) -> VialSpec:
    good = lot.rules.good
    return VialSpec(
        x_mm=lot.within(good.x_mm),
        y_mm=lot.within(good.y_mm),
        tilt_deg=lot.within(good.tilt_deg),
        fill_mm=lot.within(good.fill_mm),
        wall=lot.within((0.86, 0.885)),
        stopper=True,
        cap=True,
        cap_tilt_deg=lot.within(good.cap_tilt_deg),
        cap_drop_mm=0.0,
        cap_phase=lot.within((0.0, 2 * math.pi)),
        light={view: _light(lot) for view in View},
        glints=(),
        rings=(),
        blobs=(),
        strokes=(),
        scratches=(),
        defects=(),
    )


def _light(lot: _Lot) -> Light:
    good = lot.rules.good
    noise_at = (float(lot.rng.integers(0, 64)), float(lot.rng.integers(0, 64)))
    gain, gradient = lot.within(good.light), lot.within(good.gradient)
    return Light(gain, gradient, lot.within(good.noise_grey), lot.within(good.blur_px), noise_at)


def _glints(lot: _Lot) -> tuple[Glint, ...]:
    good = lot.rules.good
    found = []
    for _ in range(lot.count(good.glints)):
        low = lot.within((2.0, 12.0))
        high = low + lot.within((4.0, 9.0))
        u = lot.sign() * lot.within((0.25, 0.8))
        found.append(Glint(u, low, min(high, 21.0), lot.within((0.12, 0.4)), lot.within(good.glint_grey)))
    return tuple(found)


def _rings(lot: _Lot, spec: VialSpec) -> tuple[Ring, ...]:
    good = lot.rules.good
    found = []
    for _ in range(lot.count(good.bubbles)):
        below = 0.55 if lot.rng.random() < 0.7 else lot.within((1.0, max(1.0, spec.fill_mm - 2.5)))
        found.append(_ring(lot, spec, spec.fill_mm - below, good.bubble_px))
    for _ in range(lot.count(good.droplets)):
        found.append(_ring(lot, spec, lot.within((spec.fill_mm + 1.8, 21.5)), good.droplet_px))
    return tuple(found)


def _ring(lot: _Lot, spec: VialSpec, h_mm: float, size_px: Range) -> Ring:
    x_mm = lot.within((-0.68, 0.68)) * geo.BODY_RADIUS
    centre = geo.project(spec, View.BODY, lot.rules.views[View.BODY], x_mm, h_mm)
    return Ring(centre, lot.within(size_px) / 2, lot.within((0.35, 0.6)))


def _add_particle(lot: _Lot, spec: VialSpec) -> VialSpec:
    rule = lot.rules.defect.particle
    camera = lot.rules.views[View.BODY]
    blobs, track = [], []
    for _ in range(lot.count(rule.count)):
        size = lot.within(rule.diameter_px)
        x_mm = lot.within(rule.u) * geo.BODY_RADIUS
        h_mm = lot.within((1.6, spec.fill_mm - 1.2))
        centre = geo.project(spec, View.BODY, camera, x_mm, h_mm)
        blobs.append(Blob(_outline(lot, centre, size), lot.within(rule.contrast)))
        track.append(centre)
    region = geo.box(tuple(p for blob in blobs for p in blob.outline), 4, camera)
    defect = Defect(DefectCode.PARTICLE, region, None, tuple(track))
    return dataclasses.replace(spec, blobs=spec.blobs + tuple(blobs), defects=(*spec.defects, defect))


def _outline(lot: _Lot, centre: Point, diameter: float) -> tuple[Point, ...]:
    """Irregular closed curve of about the area of a disc of that diameter."""
    stretch, turn = lot.within((0.8, 1.25)), lot.within((0.0, math.pi))
    points = []
    for k in range(10):
        angle = 2 * math.pi * k / 10
        radius = diameter / 2 * lot.within((0.82, 1.18))
        a, b = radius * stretch * math.cos(angle), radius / stretch * math.sin(angle)
        points.append(
            (centre[0] + a * math.cos(turn) - b * math.sin(turn), centre[1] + a * math.sin(turn) + b * math.cos(turn))
        )
    return tuple(points)


def _walk(lot: _Lot, spec: VialSpec, rule: Line, heights: Range, bend: float, step: float) -> tuple[Point, ...]:
    """A line of the wanted length that turns by `bend` radians (1 sigma) per step and stays on the visible glass."""
    camera = lot.rules.views[View.BODY]
    scale = camera.px_per_mm
    x, h = lot.within(rule.u) * geo.BODY_RADIUS, lot.within(heights)
    angle = lot.within((0.0, 2 * math.pi))
    points = [geo.project(spec, View.BODY, camera, x, h)]
    for _ in range(max(3, round(lot.within(rule.length_px) / step))):
        angle += bend * float(lot.rng.standard_normal())
        dx, dh = step / scale * math.cos(angle), step / scale * math.sin(angle)
        if abs(x + dx) > 0.8 * geo.BODY_RADIUS:
            dx, angle = -dx, math.pi - angle
        if not heights[0] <= h + dh <= heights[1]:
            dh, angle = -dh, -angle
        x, h = x + dx, h + dh
        points.append(geo.project(spec, View.BODY, camera, x, h))
    return tuple(points)


def _add_line(spec: VialSpec, lot: _Lot, code: DefectCode, stroke: Stroke) -> VialSpec:
    region = geo.box(stroke.points, 4 + stroke.width_px, lot.rules.views[View.BODY])
    defect = Defect(code, region, None, stroke.points)
    return dataclasses.replace(spec, strokes=(*spec.strokes, stroke), defects=(*spec.defects, defect))


def _add_fibre(lot: _Lot, spec: VialSpec) -> VialSpec:
    rule = lot.rules.defect.fibre
    points = _walk(lot, spec, rule, (1.6, spec.fill_mm - 1.0), 0.22, 6.0)
    return _add_line(spec, lot, DefectCode.FIBRE, Stroke(points, lot.within(rule.width_px), lot.within(rule.contrast)))


def _add_crack(lot: _Lot, spec: VialSpec) -> VialSpec:
    rule = lot.rules.defect.crack
    points = _walk(lot, spec, rule, (2.0, 21.5), 0.5, 16.0)
    contrast = lot.within(rule.contrast)
    stroke = Stroke(points, lot.within(rule.width_px), contrast, contrast * lot.within((0.4, 0.8)))
    return _add_line(spec, lot, DefectCode.CRACK, stroke)


def _filled(lot: _Lot, spec: VialSpec, code: DefectCode, fill_mm: float) -> VialSpec:
    camera = lot.rules.views[View.BODY]
    low, high = lot.rules.good.fill_mm
    heights = (min(fill_mm, low) - 1.8, max(fill_mm, high) + 1.8)
    corners = tuple(geo.project(spec, View.BODY, camera, x, h) for x in (-8.0, 8.0) for h in heights)
    defect = Defect(code, geo.box(corners, 2, camera), None)
    return dataclasses.replace(spec, fill_mm=fill_mm, defects=(*spec.defects, defect))


def _add_low_fill(lot: _Lot, spec: VialSpec) -> VialSpec:
    rule = lot.rules.defect.fill
    return _filled(lot, spec, DefectCode.LOW_FILL, rule.nominal_mm - lot.within(rule.low_off_mm))


def _add_high_fill(lot: _Lot, spec: VialSpec) -> VialSpec:
    rule = lot.rules.defect.fill
    return _filled(lot, spec, DefectCode.HIGH_FILL, rule.nominal_mm + lot.within(rule.high_off_mm))


def _cap_region(lot: _Lot, spec: VialSpec, view: View) -> Region:
    camera = lot.rules.views[view]
    corners = tuple(geo.project(spec, view, camera, x, h) for x in (-8.0, 8.0) for h in (geo.PLUG_LOW - 1.0, 40.2))
    return geo.box(corners, 2, camera)


def _capped(lot: _Lot, spec: VialSpec, code: DefectCode) -> VialSpec:
    defect = Defect(code, _cap_region(lot, spec, View.BODY), _cap_region(lot, spec, View.CRIMP))
    return dataclasses.replace(spec, defects=(*spec.defects, defect))


def _add_crooked_cap(lot: _Lot, spec: VialSpec) -> VialSpec:
    tilt = lot.sign() * lot.within(lot.rules.defect.crooked_cap.tilt_deg)
    return _capped(lot, dataclasses.replace(spec, cap_tilt_deg=tilt), DefectCode.CROOKED_CAP)


def _add_missing_cap(lot: _Lot, spec: VialSpec) -> VialSpec:
    return _capped(lot, dataclasses.replace(spec, cap=False), DefectCode.MISSING_CAP)


def _add_missing_stopper(lot: _Lot, spec: VialSpec) -> VialSpec:
    """Without the 2 mm rubber flange the cap sits that much lower, loosely."""
    drop = geo.STOPPER_HIGH - geo.FLANGE_HIGH - lot.within((0.0, 0.3))
    loose = dataclasses.replace(
        spec, stopper=False, cap_drop_mm=drop, cap_tilt_deg=spec.cap_tilt_deg + lot.within((-1.5, 1.5))
    )
    return _capped(lot, loose, DefectCode.MISSING_STOPPER)


def _add_scratched_crimp(lot: _Lot, spec: VialSpec) -> VialSpec:
    rule = lot.rules.defect.scratched_crimp
    camera = lot.rules.views[View.CRIMP]
    strokes = tuple(_scratch(lot, spec) for _ in range(lot.count(rule.count)))
    points = tuple(p for stroke in strokes for p in stroke.points)
    defect = Defect(DefectCode.SCRATCHED_CRIMP, None, geo.box(points, 6, camera), points)
    return dataclasses.replace(spec, scratches=spec.scratches + strokes, defects=(*spec.defects, defect))


def _scratch(lot: _Lot, spec: VialSpec) -> Stroke:
    """A slightly bent line wholly on the skirt of the cap."""
    rule = lot.rules.defect.scratched_crimp
    camera = lot.rules.views[View.CRIMP]
    angle = math.radians(lot.within(rule.angle_deg))
    length = lot.within(rule.length_px) / camera.px_per_mm
    half_x, half_h = length / 2 * math.cos(angle), length / 2 * math.sin(angle)
    room_x, room_h = 5.2 - abs(half_x), 2.2 - abs(half_h)
    x, h = lot.within((-room_x, room_x)), 33.3 + lot.within((-1.0, 1.0)) * max(0.0, room_h)
    bow = lot.within((-0.12, 0.12)) * length
    points = []
    for k in range(9):
        t = k / 4 - 1
        px, ph = x + half_x * t, h + half_h * t + bow * (1 - t * t)
        points.append(geo.project(spec, View.CRIMP, camera, px, ph))
    contrast = lot.sign() * lot.within(rule.contrast)
    return Stroke(tuple(points), lot.within(rule.width_px), contrast, 0.5 * contrast)


_ADD = {
    DefectCode.PARTICLE: _add_particle,
    DefectCode.FIBRE: _add_fibre,
    DefectCode.CRACK: _add_crack,
    DefectCode.LOW_FILL: _add_low_fill,
    DefectCode.HIGH_FILL: _add_high_fill,
    DefectCode.MISSING_STOPPER: _add_missing_stopper,
    DefectCode.CROOKED_CAP: _add_crooked_cap,
    DefectCode.MISSING_CAP: _add_missing_cap,
    DefectCode.SCRATCHED_CRIMP: _add_scratched_crimp,
}
