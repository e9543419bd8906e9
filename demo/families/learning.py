"""How the nets learn: one loop for all, and the loss of those that end in a map."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from rich.progress import Progress
from torch import Tensor, nn

from demo.families.dataset import LIQUID, BodySet
from demo.families.targets import class_targets, map_targets
from demo.train import BATCH, WEIGHTS_SEED, Targets, loss, vary
from signing.manifest import Model

Grid = tuple[int, int]
Step = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True, slots=True)
class Schedule:
    """One cycle of the learning rate (Smith and Topin 2018) over `epochs`, up to `rate`."""

    epochs: int
    rate: float


@dataclass(frozen=True, slots=True)
class Trained:
    """What is exported, and what it cost: CPU seconds for `epochs` over `units` pictures."""

    graph: nn.Module
    cpu_s: float
    epochs: int
    units: int


def fit(net: nn.Module, count: int, step: Step, schedule: Schedule, title: str) -> float:
    """Minimise `step(picked units, generator)` over `count` units; return the CPU seconds it took.

    The same seeds, thread count and torch version give the same weights on the same type of CPU.
    """
    began = time.process_time()
    chance = torch.Generator().manual_seed(WEIGHTS_SEED)
    batches = count // BATCH
    total = schedule.epochs * batches
    optimiser = torch.optim.AdamW(net.parameters(), schedule.rate, weight_decay=1e-2)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, schedule.rate, total_steps=total, pct_start=0.2)
    net.train()
    with Progress() as progress:
        task = progress.add_task(f"training {title}", total=total)
        for _ in range(schedule.epochs):
            for pick in torch.randperm(count, generator=chance)[: batches * BATCH].split(BATCH):
                value = step(pick, chance)
                optimiser.zero_grad()
                value.backward()
                nn.utils.clip_grad_norm_(net.parameters(), 2.0)
                optimiser.step()
                cycle.step()
                progress.update(task, advance=1, description=f"training {title}, loss {value.item():.3f}")
    net.eval()
    return time.process_time() - began


def map_step(net: nn.Module, model: Model, units: BodySet, grid: Grid) -> Step:
    """Loss of a net that gives logits per class and a map of them; the map is told places where they are known."""
    pictures = torch.from_numpy(units.cuts[LIQUID])
    where, weight = map_targets(model, units, grid)
    wanted = Targets(*(torch.from_numpy(each) for each in (class_targets(model, units), where, weight)))

    def step(pick: Tensor, chance: torch.Generator) -> Tensor:
        part = Targets(wanted.classes[pick], wanted.where[pick], wanted.weight[pick])
        return loss(net, *vary(pictures[pick, None], part, chance))

    return step


def train_mapped(net: nn.Module, grid: Grid, schedule: Schedule, model: Model, units: BodySet) -> float:
    """Train a net that ends in logits and a map of `grid` cells; return the CPU seconds."""
    net = net.to(memory_format=torch.channels_last)
    return fit(net, len(units), map_step(net, model, units, grid), schedule, model.file)


def train_classifier(
    make: Callable[[int], nn.Module], schedule: Schedule, model: Model, units: BodySet, _validation: BodySet
) -> Trained:
    net = make(len(model.classes))
    rows, columns = model.outputs[-1].shape[2:]
    return Trained(net, train_mapped(net, (rows, columns), schedule, model, units), schedule.epochs, len(units))
