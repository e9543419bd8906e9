"""Pictures of simulated vials: deterministic, and every defect is visible where the truth says it is."""

import dataclasses
import hashlib
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from drivers.sim.render import render_views
from drivers.sim.render_sample import sample_vial
from drivers.sim.render_spec import (
    DIFFICULTY_FILE,
    Defect,
    DefectCode,
    Difficulty,
    Particle,
    Region,
    RenderError,
    VialSpec,
    View,
    load_difficulty,
)

RULES = load_difficulty()

# Mean grey levels of vial (7, 3) with a crack, on a grid of 4 x 4 blocks, measured when renderer version 1 was fixed.
# Means are compared within one grey level: libraries may round single pixels differently on another CPU.
FIXED = {
    View.BODY: [179, 147, 140, 194, 184, 167, 166, 199, 184, 175, 179, 199, 157, 148, 150, 170],
    View.CRIMP: [30, 74, 75, 43, 36, 135, 135, 66, 40, 140, 145, 69, 33, 59, 58, 46],
}


def _render(spec: VialSpec) -> dict[View, np.ndarray]:
    body, crimp = render_views(spec, RULES)
    return {View.BODY: body, View.CRIMP: crimp}


def _means(picture: np.ndarray) -> list[float]:
    return [float(v) for v in cv2.resize(picture, (4, 4), interpolation=cv2.INTER_AREA).ravel()]


def _without(spec: VialSpec, code: DefectCode) -> VialSpec:
    """The same vial, same light and noise, without that defect."""
    good = sample_vial(7, 3, (), RULES)
    undo: dict[DefectCode, VialSpec] = {
        DefectCode.PARTICLE: dataclasses.replace(spec, blobs=()),
        DefectCode.FIBRE: dataclasses.replace(spec, strokes=()),
        DefectCode.CRACK: dataclasses.replace(spec, strokes=()),
        DefectCode.LOW_FILL: dataclasses.replace(spec, fill_mm=good.fill_mm),
        DefectCode.HIGH_FILL: dataclasses.replace(spec, fill_mm=good.fill_mm),
        DefectCode.MISSING_STOPPER: dataclasses.replace(spec, stopper=True, cap_drop_mm=0.0, cap_tilt_deg=0.0),
        DefectCode.CROOKED_CAP: dataclasses.replace(spec, cap_tilt_deg=0.0),
        DefectCode.MISSING_CAP: dataclasses.replace(spec, cap=True),
        DefectCode.SCRATCHED_CRIMP: dataclasses.replace(spec, scratches=()),
    }
    return undo[code]


def test_same_seed_same_pixels_and_another_index_other_pixels() -> None:
    digests = []
    for index in (3, 3, 4):
        pictures = _render(sample_vial(7, index, (DefectCode.CRACK,), RULES))
        digests.append(hashlib.sha256(b"".join(pictures[view].tobytes() for view in View)).hexdigest())
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("view", list(View))
def test_the_fixed_vial_looks_as_it_always_did(view: View) -> None:
    picture = _render(sample_vial(7, 3, (DefectCode.CRACK,), RULES))[view]
    assert _means(picture) == pytest.approx(FIXED[view], abs=1.0)


@pytest.mark.parametrize("view", list(View))
def test_picture_size_and_type_are_those_of_the_cameras(view: View) -> None:
    picture = _render(sample_vial(1, 0, (), RULES))[view]
    camera = RULES.views[view]
    assert (picture.shape, picture.dtype) == ((camera.height, camera.width), np.uint8)


def _changed(spec: VialSpec, code: DefectCode, view: View) -> np.ndarray:
    with_defect, without = _render(spec)[view], _render(_without(spec, code))[view]
    return np.abs(with_defect.astype(int) - without.astype(int)) > 12


def _defect(spec: VialSpec) -> Defect:
    (defect,) = spec.defects
    return defect


def _inside(region: Region, changed: np.ndarray) -> np.ndarray:
    return changed[region.y : region.y + region.height, region.x : region.x + region.width]


@pytest.mark.parametrize("code", list(DefectCode))
def test_a_defect_changes_the_picture_in_its_region_and_nowhere_else(code: DefectCode) -> None:
    spec = sample_vial(7, 3, (code,), RULES)
    defect = _defect(spec)
    seen = 0
    for view in View:
        region, changed = defect.region(view), _changed(spec, code, view)
        if region is None:
            assert not changed.any()
            continue
        inside = int(_inside(region, changed).sum())
        assert inside >= 30
        assert inside == int(changed.sum())
        seen += 1
    assert seen >= 1


@pytest.mark.parametrize("code", [DefectCode.MISSING_STOPPER, DefectCode.CROOKED_CAP, DefectCode.MISSING_CAP])
def test_cap_defects_show_in_both_views(code: DefectCode) -> None:
    defect = _defect(sample_vial(9, 1, (code,), RULES))
    assert defect.body is not None and defect.crimp is not None


def test_good_parts_have_bubbles_droplets_and_glints() -> None:
    vials = [sample_vial(2, k, (), RULES) for k in range(60)]
    assert all(vial.glints and not vial.defects for vial in vials)
    assert sum(bool(vial.rings) for vial in vials) > 45
    bare = [dataclasses.replace(vial, rings=(), glints=()) for vial in vials[:2]]
    for vial, plain in zip(vials[:2], bare, strict=True):
        assert (np.abs(_render(vial)[View.BODY].astype(int) - _render(plain)[View.BODY].astype(int)) > 12).sum() > 100


def _sizes_within(rules: Difficulty) -> bool:
    for k in range(40):
        blob = sample_vial(3, k, (DefectCode.PARTICLE,), rules).blobs[0]
        low, high = rules.defect.particle.contrast
        if not low <= blob.contrast <= high:
            return False
    return True


def test_contrasts_follow_the_difficulty_file() -> None:
    assert _sizes_within(RULES)
    particle = RULES.defect.particle
    faint = Particle(particle.count, particle.diameter_px, (0.1, 0.11), particle.u)
    blob = sample_vial(3, 0, (DefectCode.PARTICLE,), _with_particle(faint)).blobs[0]
    assert 0.1 <= blob.contrast <= 0.11


def _with_particle(particle: Particle) -> Difficulty:
    defect = msgspec.structs.replace(RULES.defect, particle=particle)
    return msgspec.structs.replace(RULES, defect=defect)


def test_a_wrong_key_in_the_difficulty_file_is_named(tmp_path: Path) -> None:
    wrong = tmp_path / "defects.toml"
    wrong.write_text(DIFFICULTY_FILE.read_text().replace("[defect.particle]", "[defect.particle]\ncolour = 3"))
    with pytest.raises(RenderError, match="colour"):
        load_difficulty(wrong)
    with pytest.raises(RenderError, match="cannot read"):
        load_difficulty(tmp_path / "absent.toml")
