"""Rendered sets of units for training, choosing thresholds and scoring.

Unit 2k is good, unit 2k+1 has defect number k modulo 9: every set is half good and stratified over the defect codes.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt
from rich.progress import Progress

from demo.spec import DemoSpec, Pictures, load_spec
from drivers.sim.render import render_views
from drivers.sim.render_sample import sample_vial
from drivers.sim.render_spec import Defect, DefectCode, View, load_difficulty

CODES = tuple(DefectCode)
_STEP = 50


@dataclass(frozen=True, slots=True)
class Units:
    """`views[view]` is (n, height, width) uint8 at model size; `codes[i]` is None for a good unit.

    `tracks[i]` holds, in pixels of the full picture, points along the local defect of unit i (empty for others).
    """

    views: dict[View, Pictures]
    codes: tuple[DefectCode | None, ...]
    tracks: tuple[npt.NDArray[np.float32], ...]

    def digest(self) -> str:
        """sha256 over all pixels and codes: equal digests mean equal sets."""
        state = hashlib.sha256("|".join(str(code) for code in self.codes).encode())
        for view in View:
            state.update(np.ascontiguousarray(self.views[view]).data)
        return state.hexdigest()

    def labels(self, classes: tuple[DefectCode, ...]) -> npt.NDArray[np.float32]:
        """(n, classes) 0/1: which class of a view each unit shows."""
        return np.array([[float(code is c) for c in classes] for code in self.codes], np.float32)


def code_of(index: int) -> DefectCode | None:
    return CODES[index // 2 % len(CODES)] if index % 2 else None


def render_units(seed: int, units: int, workers: int, title: str) -> Units:
    """Render and cut a set with a progress bar; with more than one worker in processes of their own.

    The result does not depend on `workers`.
    """
    parts: list[Units] = []
    with Progress() as progress:
        task = progress.add_task(f"rendering {title}", total=units)
        for part in _parts(seed, units, workers):
            parts.append(part)
            progress.advance(task, len(part.codes))
    views = {view: np.concatenate([part.views[view] for part in parts]) for view in View}
    codes = tuple(code for part in parts for code in part.codes)
    return Units(views, codes, tuple(track for part in parts for track in part.tracks))


def _parts(seed: int, units: int, workers: int) -> Iterator[Units]:
    starts, render = range(0, units, _STEP), partial(_render_part, seed, units)
    if workers == 1:
        yield from map(render, starts)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield from pool.map(render, starts)


def _render_part(seed: int, units: int, start: int) -> Units:
    spec = load_spec()
    rows = list(_render_each(spec, seed, range(start, min(start + _STEP, units))))
    views = {view: np.stack([row[0][view] for row in rows]) for view in View}
    return Units(views, tuple(row[1] for row in rows), tuple(row[2] for row in rows))


def _render_each(
    spec: DemoSpec, seed: int, indices: range
) -> Iterator[tuple[dict[View, Pictures], DefectCode | None, npt.NDArray[np.float32]]]:
    rules = load_difficulty()
    for index in indices:
        code = code_of(index)
        vial = sample_vial(seed, index, (code,) if code else (), rules)
        body, crimp = render_views(vial, rules)
        pictures = {View.BODY: spec.views[View.BODY].cut(body), View.CRIMP: spec.views[View.CRIMP].cut(crimp)}
        yield pictures, code, _track(vial.defects)


def _track(defects: tuple[Defect, ...]) -> npt.NDArray[np.float32]:
    points = [point for defect in defects for point in defect.track]
    return np.asarray(points, np.float32).reshape(-1, 2)
