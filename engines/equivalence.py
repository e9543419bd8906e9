"""How far two engines are apart on the same frames: what a back end is measured by before anybody trusts it."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from engines.engine import Engine, Frame, Outputs, allocate


class Comparison(Struct, frozen=True, forbid_unknown_fields=True):
    """The worst of every number that one model gives for one frame; inf where either side gives what is no number.

    worst_absolute: largest |found - expected|. worst_relative: the same over max(1, |expected|), number by number, as
    a bundle's `raw_tolerance` is meant: the pixels of a box do not stand for its score.
    """

    file: str
    model: str
    worst_absolute: float
    worst_relative: float


def compare(
    reference: Engine, candidate: Engine, frames: Iterable[tuple[str, Frame]], model: str
) -> tuple[Comparison, ...]:
    """Run both engines on every frame and return how far `candidate` is from `reference`, in the frames' order.

    Args:
        frames: name and raw frame, (H, W) uint8, as `Engine.infer` takes it.
        model: name for the result.

    Called by: `slots` after a plan was built, and tests/bench/gpu_check.py; takes two `infer` a frame.

    Raises:
        EngineError: an engine fails, or does not take a frame.
    """
    expected, found = allocate(reference.outputs), allocate(candidate.outputs)
    results = []
    for name, frame in frames:
        reference.infer(frame, expected)
        candidate.infer(frame, found)
        results.append(Comparison(name, model, *differences(expected, found)))
    return tuple(results)


def differences(expected: Outputs, found: Outputs) -> tuple[float, float]:
    """Return the worst absolute and the worst relative difference over all outputs, as `Comparison` defines them."""
    pairs = [_of_one(expected[name], found[name]) for name in expected]
    return max(absolute for absolute, _ in pairs), max(relative for _, relative in pairs)


def _of_one(expected: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> tuple[float, float]:
    if not (np.isfinite(expected).all() and np.isfinite(found).all()):
        return float("inf"), float("inf")
    wide = expected.astype(np.float64)
    off = np.abs(found - wide)
    return float(off.max()), float((off / np.maximum(1.0, np.abs(wide))).max())
