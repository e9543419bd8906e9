"""Rendered sets of body views, cut for the families: training, validation and held-out units.

Unit 2k is good, unit 2k+1 has defect number k modulo the number of codes of the set. A set is kept on disk under a name
made of everything that determines its content, and rendered again where it is missing.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from rich.progress import Progress

from demo.families.spec import load_families
from demo.spec import Pictures
from drivers.sim.render import RENDERER_VERSION
from drivers.sim.render_body import render_body
from drivers.sim.render_sample import sample_vial
from drivers.sim.render_spec import DefectCode, VialSpec, View, difficulty_digest, load_difficulty

LIQUID, VIAL = "liquid", "vial"
CUT_LIKE = {LIQUID: "resnet", VIAL: "autoencoder"}
LINES = (DefectCode.FIBRE, DefectCode.CRACK)
LOCAL = (DefectCode.PARTICLE, *LINES)
FILLS = (DefectCode.LOW_FILL, DefectCode.HIGH_FILL)
# Faint local defects are what takes learning: seven of nine defective training units have one.
TAUGHT = (*LOCAL, *LOCAL, DefectCode.PARTICLE, *FILLS)
BODY = tuple(code for code in DefectCode if code is not DefectCode.SCRATCHED_CRIMP)
_STEP = 50

Floats = npt.NDArray[np.float32]
Cuts = dict[str, Pictures]


@dataclass(frozen=True, slots=True)
class Plan:
    """One set: `units` vials of stream `seed`, every second one defective, its codes in turn."""

    name: str
    seed: int
    units: int
    codes: tuple[DefectCode, ...]

    def code_of(self, index: int) -> DefectCode | None:
        return self.codes[index // 2 % len(self.codes)] if index % 2 else None


TRAIN = Plan("training", 20260101, 4000, TAUGHT)
VALIDATION = Plan("validation", 20260102, 1600, BODY)
HELD_OUT = Plan("held-out", 20260103, 1600, BODY)


@dataclass(frozen=True, slots=True)
class BodySet:
    """`cuts[name]` is (n, height, width) uint8; `codes[i]` is None for a good unit.

    `tracks[i]`, (points, 2), and `boxes[i]`, (k, 4) left, top, right, bottom, place the local defect of unit i in
    pixels of the full picture: a particle has one point and one box each, a line is one path in one box.
    """

    cuts: Cuts
    codes: tuple[DefectCode | None, ...]
    tracks: tuple[Floats, ...]
    boxes: tuple[Floats, ...]

    def __len__(self) -> int:
        return len(self.codes)

    def digest(self) -> str:
        """sha256 over all pixels and codes: equal digests mean equal sets."""
        state = hashlib.sha256("|".join(str(code) for code in self.codes).encode())
        for name in sorted(self.cuts):
            state.update(np.ascontiguousarray(self.cuts[name]).data)
        return state.hexdigest()

    def having(self, codes: tuple[DefectCode, ...]) -> npt.NDArray[np.bool_]:
        """(n,) which units have one of `codes`."""
        return np.array([code in codes for code in self.codes])

    @property
    def good(self) -> npt.NDArray[np.bool_]:
        return np.array([code is None for code in self.codes])


def render(plan: Plan, workers: int) -> BodySet:
    """Render and cut a set with a progress bar; the result does not depend on `workers`."""
    parts: list[BodySet] = []
    with Progress() as progress:
        task = progress.add_task(f"rendering {plan.name} units", total=plan.units)
        for part in _parts(plan, workers):
            parts.append(part)
            progress.advance(task, len(part))
    cuts = {name: np.concatenate([part.cuts[name] for part in parts]) for name in CUT_LIKE}
    codes = tuple(code for part in parts for code in part.codes)
    tracks = tuple(track for part in parts for track in part.tracks)
    return BodySet(cuts, codes, tracks, tuple(box for part in parts for box in part.boxes))


def kept(plan: Plan, folder: Path, workers: int) -> BodySet:
    """Return the set from `folder`, rendered and written there first if it is not yet."""
    made_by = (RENDERER_VERSION, difficulty_digest(), np.__version__, cv2.__version__, plan)
    text = repr((*made_by, [(name, load_families()[like].model.preprocessing) for name, like in CUT_LIKE.items()]))
    file = folder / f"{plan.name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"
    if not file.exists():
        _write(file, render(plan, workers))
    with np.load(file) as stored:
        cuts = {name: stored[name] for name in CUT_LIKE}
        tracks, boxes = (tuple(_split(stored, word)) for word in ("tracks", "boxes"))
    return BodySet(cuts, tuple(plan.code_of(k) for k in range(plan.units)), tracks, boxes)


def _write(file: Path, units: BodySet) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    flat: dict[str, npt.NDArray[Any]] = dict(units.cuts)
    for word, rows in (("tracks", units.tracks), ("boxes", units.boxes)):
        flat[word], flat[f"{word}_ends"] = np.concatenate(rows), np.cumsum([len(row) for row in rows])
    part = file.with_suffix(".part.npz")
    np.savez(part, allow_pickle=False, **flat)
    part.replace(file)


def _split(stored: "np.lib.npyio.NpzFile", word: str) -> list[Floats]:
    return np.split(stored[word], stored[f"{word}_ends"][:-1])


def _parts(plan: Plan, workers: int) -> Iterator[BodySet]:
    starts, part = range(0, plan.units, _STEP), partial(_render_part, plan)
    if workers == 1:
        yield from map(part, starts)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield from pool.map(part, starts)


def vials(plan: Plan, indices: range) -> list[VialSpec]:
    rules = load_difficulty()
    codes = map(plan.code_of, indices)
    return [sample_vial(plan.seed, k, (code,) if code else (), rules) for k, code in zip(indices, codes, strict=True)]


def frames(shown: list[VialSpec]) -> list[Pictures]:
    """Full pictures of the body view, (1024, 1280) uint8, as the camera gives them."""
    camera = load_difficulty().views[View.BODY]
    return [render_body(vial, camera) for vial in shown]


def _render_part(plan: Plan, start: int) -> BodySet:
    families, indices = load_families(), range(start, min(start + _STEP, plan.units))
    shown = vials(plan, indices)
    pictures = frames(shown)
    cuts = {name: np.stack([families[like].cut(full) for full in pictures]) for name, like in CUT_LIKE.items()}
    codes = tuple(plan.code_of(index) for index in indices)
    return BodySet(cuts, codes, tuple(map(_track, shown)), tuple(map(_boxes, shown)))


def _track(vial: VialSpec) -> Floats:
    points = [point for defect in vial.defects for point in defect.track]
    return np.asarray(points, np.float32).reshape(-1, 2)


def _boxes(vial: VialSpec) -> Floats:
    paths = [blob.outline for blob in vial.blobs] + [stroke.points for stroke in vial.strokes]
    ends = [(*np.min(path, axis=0), *np.max(path, axis=0)) for path in paths]
    return np.asarray(ends, np.float32).reshape(-1, 4)
