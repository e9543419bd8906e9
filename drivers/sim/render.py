"""Pictures of simulated vials, and the pool of them that the line in a box plays.

Rendering takes tens of milliseconds per vial, so the box never renders while the line runs: it asks for a pool once
(`make_pool`), which is kept on disk under a name made of everything that determines its content.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from drivers.sim.render_body import empty_body, render_body
from drivers.sim.render_crimp import empty_crimp, render_crimp
from drivers.sim.render_sample import sample_vial
from drivers.sim.render_spec import (
    DIFFICULTY_FILE,
    Defect,
    DefectCode,
    Difficulty,
    RenderError,
    VialSpec,
    View,
    difficulty_digest,
    load_difficulty,
)

RENDERER_VERSION = 1
POOL_LIMIT = 128

Pictures = npt.NDArray[np.uint8]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Pool:
    """Rendered units, read-only. `body` is (n, 1024, 1280), `crimp` (n, 480, 640), both uint8, row-major.

    `truth[i]` lists what is wrong with unit i; an empty tuple is a good part. `empty_body` (1024, 1280) and
    `empty_crimp` (480, 640) show the belt without a vial.
    """

    key: str
    body: Pictures
    crimp: Pictures
    empty_body: Pictures
    empty_crimp: Pictures
    truth: tuple[tuple[Defect, ...], ...]

    def __len__(self) -> int:
        return len(self.truth)


class _Truth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """truth.json of a stored pool."""

    key: str
    sha256: dict[str, str]
    units: tuple[tuple[Defect, ...], ...]


def render_views(spec: VialSpec, rules: Difficulty) -> tuple[Pictures, Pictures]:
    """Body (1024, 1280) and crimp (480, 640) pictures of one vial, uint8; same spec and CPU type, same pixels."""
    return render_body(spec, rules.views[View.BODY]), render_crimp(spec, rules.views[View.CRIMP])


def compose(seed: int, units: int, defect_rate: float) -> tuple[tuple[DefectCode, ...], ...]:
    """Which defects each unit of a pool has: about `units * defect_rate` defective, all codes in turn, shuffled.

    With a rate above 0 every code appears at least once if `units` allows it.
    """
    codes = tuple(DefectCode)
    wanted = 0 if defect_rate == 0 else min(units, max(len(codes), round(units * defect_rate)))
    plan: list[tuple[DefectCode, ...]] = [(codes[k % len(codes)],) for k in range(wanted)]
    plan += [()] * (units - wanted)
    order = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 0x900]))).permutation(units)
    return tuple(plan[int(k)] for k in order)


def make_pool(seed: int, units: int, defect_rate: float, path: Path, progress: Progress | None = None) -> Pool:
    """Open the pool for these arguments below the folder `path`; render it first if it is not there.

    Rendering 128 units takes about 5 s of one core and 210 MB of disk.

    `progress(done, units)` is called after each unit while rendering. Called by the box once at its start.
    Raises RenderError: arguments out of range, or the folder cannot be written.
    """
    if not 1 <= units <= POOL_LIMIT:
        raise RenderError(f"a pool holds 1 to {POOL_LIMIT} units, not {units}; the box repeats it as often as needed")
    if not 0.0 <= defect_rate <= 1.0:
        raise RenderError(f"defect_rate is a share between 0 and 1, not {defect_rate}")
    key = _pool_key(seed, units, defect_rate)
    folder = path / f"pool-{key[:16]}"
    try:
        if not (found := _open(folder, key)):
            _build(folder, key, _plan(seed, units, defect_rate), progress)
            found = _open(folder, key)
    except OSError as error:
        what = f"{folder}: cannot keep the picture pool ({error.strerror})"
        raise RenderError(f"{what}; free space or name another folder") from error
    if found is None:
        raise RenderError(f"{folder}: the pool just written does not read back; check the disk and delete that folder")
    return found


def _pool_key(seed: int, units: int, defect_rate: float) -> str:
    made_by = (RENDERER_VERSION, difficulty_digest(DIFFICULTY_FILE), np.__version__, cv2.__version__)
    text = repr((*made_by, seed, units, defect_rate))
    return hashlib.sha256(text.encode()).hexdigest()


def _plan(seed: int, units: int, defect_rate: float) -> tuple[VialSpec, ...]:
    rules = load_difficulty()
    return tuple(sample_vial(seed, k, codes, rules) for k, codes in enumerate(compose(seed, units, defect_rate)))


def _build(folder: Path, key: str, specs: tuple[VialSpec, ...], progress: Progress | None) -> None:
    """Render into a temporary folder beside the final one, sync, rename: a pool is whole or absent."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".pool-", dir=folder.parent))
    try:
        _write_pictures(work, specs, progress)
        names = ("body.npy", "crimp.npy", "empty_body.npy", "empty_crimp.npy")
        digests = {name: _sync_and_digest(work / name) for name in names}
        units = [[asdict(defect) for defect in spec.defects] for spec in specs]
        (work / "truth.json").write_text(json.dumps({"key": key, "sha256": digests, "units": units}), encoding="utf-8")
        _sync_and_digest(work / "truth.json")
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(work, folder)
        _sync_folder(folder.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write_pictures(work: Path, specs: tuple[VialSpec, ...], progress: Progress | None) -> None:
    rules = load_difficulty()
    sizes = {view: (camera.height, camera.width) for view, camera in rules.views.items()}
    body = np.lib.format.open_memmap(work / "body.npy", "w+", np.uint8, (len(specs), *sizes[View.BODY]))
    crimp = np.lib.format.open_memmap(work / "crimp.npy", "w+", np.uint8, (len(specs), *sizes[View.CRIMP]))
    for k, spec in enumerate(specs):
        body[k], crimp[k] = render_views(spec, rules)
        if progress:
            progress(k + 1, len(specs))
    body.flush()
    crimp.flush()
    np.save(work / "empty_body.npy", empty_body(specs[0], rules.views[View.BODY]))
    np.save(work / "empty_crimp.npy", empty_crimp(specs[0], rules.views[View.CRIMP]))


def _open(folder: Path, key: str) -> Pool | None:
    """The stored pool, or None if it is missing, foreign or damaged (it is then rendered again)."""
    try:
        truth = msgspec.json.decode((folder / "truth.json").read_bytes(), type=_Truth)
        if truth.key != key or any(_digest(folder / name) != value for name, value in truth.sha256.items()):
            return None
        names = ("body", "crimp", "empty_body", "empty_crimp")
        loaded = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}
    except (FileNotFoundError, ValueError, msgspec.MsgspecError):
        return None
    return Pool(key=key, truth=truth.units, **loaded)


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync_and_digest(file: Path) -> str:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
    return _digest(file)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
