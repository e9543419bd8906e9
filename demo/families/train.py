"""Trains one small model of every family: `python -m demo.families.train [--family NAME]` (needs torch).

Each is trained on one thread, so that the CPU minutes it reports are what it costs. The .onnx beside this file and the
family's figures in score.json are replaced when the new model is whole.
"""

import argparse
import os
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from demo.families.autoencoder import train_autoencoder
from demo.families.dataset import HELD_OUT, TRAIN, VALIDATION, BodySet, kept
from demo.families.detector import train_detector
from demo.families.learning import Schedule, Trained, train_classifier
from demo.families.networks import efficientnet_lite, resnet, vit
from demo.families.score import SETS, Row, write_score
from demo.families.segmentation import train_segmentation
from demo.families.spec import Family, load_families
from demo.train import WEIGHTS_SEED
from signing.graph import check_graph
from signing.manifest import Model

OPSET = 17
TRAINERS: dict[str, Callable[[Model, BodySet, BodySet], Trained]] = {
    "resnet": partial(train_classifier, resnet, Schedule(8, 3e-3)),
    "efficientnet_lite": partial(train_classifier, efficientnet_lite, Schedule(8, 3e-3)),
    "vit": partial(train_classifier, vit, Schedule(10, 1e-3)),
    "detector": partial(train_detector, Schedule(7, 3e-3)),
    "segmentation": partial(train_segmentation, Schedule(4, 3e-3)),
    "autoencoder": partial(train_autoencoder, Schedule(12, 2e-3)),
}


def export(graph: nn.Module, family: Family) -> None:
    """Write one self-contained file, as the device accepts it, in place of the old one."""
    model = family.model
    example = torch.zeros(model.input.shape, dtype=torch.uint8)
    with tempfile.TemporaryDirectory(dir=family.path.parent) as folder:
        file = Path(folder) / model.file
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                graph.eval().to(memory_format=torch.contiguous_format),
                (example,),
                str(file),
                input_names=[model.input.name],
                output_names=[tensor.name for tensor in model.outputs],
                dynamo=False,
                opset_version=OPSET,
            )
        check_graph(file.read_bytes(), model)
        file.replace(family.path)


def train(name: str, units: BodySet, validation: BodySet) -> Row:
    """Train and export one family; return what score.json says of its training."""
    family = load_families()[name]
    torch.manual_seed(WEIGHTS_SEED)
    trained = TRAINERS[name](family.model, units, validation)
    export(trained.graph, family)
    return {
        "cpu_minutes": round(trained.cpu_s / 60, 2),
        "parameters": sum(weights.numel() for weights in trained.graph.parameters()),
        "epochs": trained.epochs,
        "units": trained.units,
        "weights_seed": WEIGHTS_SEED,
        "sets": {"training": [TRAIN.seed, units.digest()], "validation": [VALIDATION.seed, validation.digest()]},
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", action="append", choices=list(TRAINERS), help="only this one; repeat for more")
    parser.add_argument("--sets", type=Path, default=SETS, help="folder that keeps the rendered sets")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that render")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    units, validation, held_out = (kept(plan, chosen.sets, chosen.workers) for plan in (TRAIN, VALIDATION, HELD_OUT))
    for name in chosen.family or list(TRAINERS):
        row = write_score([name], held_out, {name: train(name, units, validation)})["families"][name]
        Console().print(f"{name}: auroc {row['auroc']}, {row['bytes']} bytes, {row['training']['cpu_minutes']} CPU min")


if __name__ == "__main__":
    main()
