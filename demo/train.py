"""Trains both demo models from rendered vials: `make train-demo` or `python -m demo.train` (needs torch).

Renders a training and a validation set, trains one small net per view, exports ONNX, sets thresholds on the validation
set, and scores the result on the held-out set. Everything follows from the seeds below, as far as torch on a CPU allows
(the same thread count and torch version give the same weights on the same CPU type).
"""

import argparse
import json
import os
import re
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor
from torch.nn import functional

from demo.dataset import Units, render_units
from demo.explain import with_map
from demo.network import STRIDE, Scorer, Shape, VialNet
from demo.score import HELD_OUT_UNITS, SCORE_FILE, log_odds, run_model, score, write_atomically
from demo.spec import FOLDER, SPEC_FILE, ViewSpec, load_spec
from drivers.sim.render_spec import DefectCode, View

TRAIN_SEED, VALIDATION_SEED, WEIGHTS_SEED = 20260001, 20260002, 7
BATCH = 32
LOCAL = (DefectCode.PARTICLE, DefectCode.FIBRE, DefectCode.CRACK, DefectCode.SCRATCHED_CRIMP)
WIDTHS = {View.BODY: (24, 48, 64), View.CRIMP: (16, 32, 48)}
GRID = {View.BODY: (4, 5), View.CRIMP: (3, 5)}
EPOCHS = {View.BODY: 14, View.CRIMP: 6}

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Targets:
    """What the net should say: `classes` (n, C) 0/1; `where` (n, L, h, w) 0/1 and its `weight` (0 = don't care)."""

    classes: Tensor
    where: Tensor
    weight: Tensor


def targets(model: ViewSpec, units: Units) -> Targets:
    local = [code for code in model.classes if code in LOCAL]
    rows, columns = -(-model.input.height // STRIDE), -(-model.input.width // STRIDE)
    where = np.zeros((len(units.codes), len(local), rows, columns), np.float32)
    weight = np.ones_like(where)
    for index, (code, track) in enumerate(zip(units.codes, units.tracks, strict=True)):
        if code in local:
            found = cells(model, code, track, (rows, columns))
            where[index, local.index(code)] = found
            around = cv2.dilate(found, np.ones((3, 3), np.uint8)) > 0
            weight[index, local.index(code)] = ~around | (found > 0)
    return Targets(*(torch.from_numpy(array) for array in (units.labels(model.classes), where, weight)))


def cells(model: ViewSpec, code: DefectCode, track: Floats, grid: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Cells of the map that a defect touches, 0/1."""
    size = STRIDE * model.roi.width / model.input.width
    path = (track - np.array([model.roi.x, model.roi.y], np.float32)) / size
    if code is not DefectCode.PARTICLE:
        joined = [np.linspace(a, b, 12) for a, b in zip(path[:-1], path[1:], strict=True) if np.hypot(*(b - a)) < 3.0]
        path = np.concatenate(joined)
    marks = np.zeros(grid, np.uint8)
    at = np.clip(path.astype(int), 0, [grid[1] - 1, grid[0] - 1])
    marks[at[:, 1], at[:, 0]] = 1
    return marks


def loss(net: VialNet, pictures: Tensor, wanted: Targets) -> Tensor:
    logits, where = net(pictures.contiguous(memory_format=torch.channels_last))
    classes = functional.binary_cross_entropy_with_logits(logits, wanted.classes)
    heavy = torch.tensor(8.0)
    each = functional.binary_cross_entropy_with_logits(where, wanted.where, reduction="none", pos_weight=heavy)
    return 8.0 * classes + 0.5 * (each * wanted.weight).sum() / (wanted.where.sum() + 50.0)


def vary(pictures: Tensor, wanted: Targets, chance: torch.Generator) -> tuple[Tensor, Targets]:
    """Mirror half of the batches, change each picture's brightness by up to 10 %."""
    if torch.rand(1, generator=chance) < 0.5:
        pictures = pictures.flip(3)
        wanted = Targets(wanted.classes, wanted.where.flip(3), wanted.weight.flip(3))
    gain = 0.9 + 0.2 * torch.rand((len(pictures), 1, 1, 1), generator=chance)
    return (pictures.float() * gain).clamp(0.0, 255.0), wanted


def new_net(view: View, model: ViewSpec) -> VialNet:
    local = tuple(k for k, code in enumerate(model.classes) if code in LOCAL)
    net = VialNet(Shape(WIDTHS[view], len(model.classes), local, GRID[view]))
    net(torch.zeros(2, 1, model.input.height, model.input.width))
    return net.to(memory_format=torch.channels_last)


def train(view: View, model: ViewSpec, units: Units, epochs: int, progress: Progress) -> VialNet:
    torch.manual_seed(WEIGHTS_SEED)
    chance = torch.Generator().manual_seed(WEIGHTS_SEED)
    net, wanted, pictures = new_net(view, model), targets(model, units), torch.from_numpy(units.views[view])
    batches = len(pictures) // BATCH
    optimiser = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1.5e-3, total_steps=epochs * batches, pct_start=0.2)
    task = progress.add_task(f"training {view}", total=epochs * batches)
    for _ in range(epochs):
        for pick in torch.randperm(len(pictures), generator=chance)[: batches * BATCH].split(BATCH):
            part = Targets(wanted.classes[pick], wanted.where[pick], wanted.weight[pick])
            value = loss(net, *vary(pictures[pick, None], part, chance))
            optimiser.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
            optimiser.step()
            schedule.step()
            progress.update(task, advance=1, description=f"training {view}, loss {value.item():.3f}")
    return net


def export(net: VialNet, model: ViewSpec, file: Path) -> None:
    """One self-contained ONNX file, opset 17, static shapes (the legacy exporter writes no external data)."""
    net.eval()
    example = torch.zeros((1, 1, model.input.height, model.input.width), dtype=torch.uint8)
    plain = Scorer(net.to(memory_format=torch.contiguous_format))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            plain, (example,), str(file), input_names=["image"], output_names=["scores"], dynamo=False, opset_version=17
        )
    file.write_bytes(with_map(onnx.load(file)).SerializeToString(deterministic=True))


def thresholds(model: ViewSpec, units: Units, scores: Floats) -> list[float]:
    """One threshold per class, from the validation set.

    Where good and defective units do not overlap: a third of the way (in log-odds) from the worst good unit to the
    faintest defect, nearer to the good ones because a miss costs more. Where they overlap: 0.1 % of good units above.
    """
    good = np.array([code is None for code in units.codes])
    found = []
    for column, code in enumerate(model.classes):
        odds = log_odds(scores[:, column])
        worst_good = float(odds[good].max())
        faintest = float(odds[[unit is code for unit in units.codes]].min())
        overlap = faintest <= worst_good
        limit = float(np.quantile(odds[good], 0.999)) if overlap else worst_good + (faintest - worst_good) / 3
        found.append(round(float(1.0 / (1.0 + np.exp(-np.clip(limit, -9.0, 9.0)))), 6))
    return found


def write_thresholds(found: dict[View, list[float]]) -> None:
    """Put the numbers into spec.toml and leave everything else as it is."""
    text = SPEC_FILE.read_text(encoding="utf-8")
    for view, values in found.items():
        pattern = rf"(?s)(\[views\.{view}\].*?\nthresholds = )\[[^\]]*\]"
        text, count = re.subn(pattern, rf"\g<1>{values}", text, count=1)
        if count != 1:
            raise SystemExit(f"{SPEC_FILE}: no thresholds under [views.{view}]; restore the file and run again")
    write_atomically(SPEC_FILE, text)


def calibrate(folder: Path, validation: Units) -> dict[View, list[float]]:
    """Thresholds for the models that lie in `folder`."""
    views = load_spec().views
    return {v: thresholds(m, validation, run_model(folder / m.file, validation.views[v])) for v, m in views.items()}


def train_all(units: Units, validation: Units, epochs: int | None) -> None:
    """Train, export and calibrate both views; the old models stay in place until both new ones are whole."""
    spec = load_spec()
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        for view, model in spec.views.items():
            with Progress() as progress:
                net = train(view, model, units, epochs or EPOCHS[view], progress)
            export(net, model, Path(folder) / model.file)
        found = calibrate(Path(folder), validation)
        for model in spec.views.values():
            (Path(folder) / model.file).replace(FOLDER / model.file)
    write_thresholds(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=4000, help="rendered units to train on")
    parser.add_argument("--validation", type=int, default=6000, help="rendered units that set the thresholds")
    parser.add_argument("--held-out", type=int, default=HELD_OUT_UNITS)
    parser.add_argument("--epochs", type=int, help="for both views; default: EPOCHS in this file")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep-models", action="store_true", help="only set the thresholds again and score")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    validation = render_units(VALIDATION_SEED, chosen.validation, chosen.threads, "validation units")
    if chosen.keep_models:
        trained = json.loads(SCORE_FILE.read_text(encoding="utf-8"))["training"]
        write_thresholds(calibrate(FOLDER, validation))
    else:
        units = render_units(TRAIN_SEED, chosen.units, chosen.threads, "training units")
        trained = {"train_seed": TRAIN_SEED, "train_units": chosen.units, "train_sha256": units.digest()}
        trained |= {"torch": torch.__version__, "threads": chosen.threads}
        train_all(units, validation, chosen.epochs)
    trained |= {"validation_seed": VALIDATION_SEED, "validation_units": chosen.validation}
    result = score(chosen.held_out, chosen.threads)
    write_atomically(SCORE_FILE, json.dumps({**result, "training": trained}, indent=2) + "\n")
    Console().print(f"auroc {result['auroc']}; details in {SCORE_FILE}")


if __name__ == "__main__":
    main()
