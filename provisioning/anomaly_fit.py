"""Fits one view: features of the good pictures, folds, both kinds of distance, the limit, the graph. Deterministic."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.engine import Frame
from provisioning.anomaly_calibration import Kind, Limit, kind_of, propose
from provisioning.anomaly_features import Extractor
from provisioning.anomaly_graph import anomaly_graph
from provisioning.anomaly_memory import Array, fit_memory, fit_profile
from signing.manifest import Preprocessing

FOLDS = 5
STEPS = FOLDS + 1

Step = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Fitted:
    """The model of one view, and what it says of each good picture when it was fitted without that picture's fold.

    `logits` (images,), `maps` (images, rows, columns) in logits.
    """

    preprocessing: Preprocessing
    graph: bytes
    limit: Limit
    logits: npt.NDArray[np.float64]
    maps: Array


def fit_view(
    frames: Sequence[Frame], preprocessing: Preprocessing, rng: np.random.Generator, share: float, step: Step
) -> Fitted:
    """Fit one view on raw good frames.

    Args:
        share: of good parts that may be rejected in this view.
        step: called once a frame and then `STEPS` times.

    Raises:
        EngineError: a frame does not cover the region.
    """
    features = _features(frames, preprocessing, step)
    folds = rng.permutation(len(features)) % FOLDS
    strange, misplaced = _unseen_distances(features, folds, rng, step)
    memory_kind, memory_peaks = kind_of(strange, folds, summed=True)
    profile_kind, profile_peaks = kind_of(misplaced, folds, summed=False)
    kinds, peaks = (memory_kind, profile_kind), np.maximum(memory_peaks, profile_peaks)
    limit = propose(peaks, share)
    memory, profile = fit_memory(features, rng), fit_profile(features)
    step()
    graph = anomaly_graph((preprocessing.height, preprocessing.width), memory, profile, kinds, limit)
    return Fitted(preprocessing, graph, limit, limit.logits(peaks), _maps(strange, misplaced, kinds, limit))


def _features(frames: Sequence[Frame], preprocessing: Preprocessing, step: Step) -> Array:
    extract, found = Extractor(preprocessing), []
    for frame in frames:
        found.append(extract(frame))
        step()
    return np.stack(found)


def _unseen_distances(
    features: Array, folds: npt.NDArray[np.intp], rng: np.random.Generator, step: Step
) -> tuple[Array, Array]:
    """Return both kinds of distance of every picture, from fits without its fold.

    Of the memory (images, rows, columns), of the profile (images, rows, 1).
    """
    strange = np.zeros(features.shape[:3], np.float32)
    misplaced = np.zeros((*features.shape[:2], 1), np.float32)
    for fold in range(FOLDS):
        memory, profile = fit_memory(features[folds != fold], rng), fit_profile(features[folds != fold])
        for index in np.flatnonzero(folds == fold):
            strange[index] = memory.distances(features[index])
            misplaced[index] = profile.distances(features[index])
        step()
    return strange, misplaced


def _maps(strange: Array, misplaced: Array, kinds: tuple[Kind, Kind], limit: Limit) -> Array:
    found = [
        np.maximum(kinds[0].alone(one), kinds[1].alone(other)) for one, other in zip(strange, misplaced, strict=True)
    ]
    return np.asarray((np.stack(found) - limit.at) * limit.gain, np.float32)
