"""What good parts look like, in two ways: a memory of patches, and what is usual at each height.

Memory (PatchCore, Roth et al. 2022): whitened features of good patches, thinned to those that differ most. How far a
patch is from its nearest neighbour shows particles, fibres, cracks and scratches wherever they are.
Profile (PaDiM with a diagonal covariance, Defard et al. 2021, of whole rows): mean and spread of the features averaged
along each row. It shows what is at the wrong height: a level, a cap, a missing part. Rows, because a part stands on a
belt that runs across the picture: when the camera fires it is somewhere along it, and always at the same height.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

BANK = 1000
CANDIDATES = 60_000
_LEAST_VARIANCE = 1e-3
_LEAST_SPREAD = 0.05
_LEAST_SHARE, _LEAST = 0.01, 1e-6


@dataclass(frozen=True, slots=True)
class Memory:
    """Features x become x @ project + offset, and are compared with the rows of `bank`, (N, channels)."""

    project: Array
    offset: Array
    bank: Array

    def distances(self, features: Array) -> Array:
        """Return how far each patch of (rows, columns, channels) is from its nearest neighbour, (rows, columns)."""
        seen = features.reshape(-1, features.shape[-1]) @ self.project + self.offset
        nearest = (2.0 * (seen @ self.bank.T) - (self.bank**2).sum(axis=1)).max(axis=1)
        squares = np.maximum((seen**2).sum(axis=1) - nearest, 0.0)
        return np.asarray(np.sqrt(squares).reshape(features.shape[:2]), np.float32)


@dataclass(frozen=True, slots=True)
class Profile:
    """Mean and spread of the features of each row, both (rows, channels)."""

    mean: Array
    spread: Array

    def distances(self, features: Array) -> Array:
        """Return the mean square of deviations in spreads of each row of (rows, columns, channels), (rows, 1)."""
        off = (features.mean(axis=1) - self.mean) / self.spread
        return np.asarray((off**2).mean(axis=1, keepdims=True), np.float32)


def fit_memory(features: Array, rng: np.random.Generator) -> Memory:
    """Return the memory of good features, (images, rows, columns, channels)."""
    patches = features.reshape(-1, features.shape[-1])
    project, offset = _whitening(patches)
    chosen = rng.permutation(len(patches))[:CANDIDATES]
    seen = np.asarray(patches[chosen] @ project + offset, np.float32)
    return Memory(project, offset, seen[_far_apart(seen, min(BANK, len(seen)))])


def fit_profile(features: Array) -> Profile:
    """Return what is usual at each height of good features, (images, rows, columns, channels)."""
    rows = features.mean(axis=2)
    floor = _LEAST_SPREAD * float(rows.std())
    return Profile(rows.mean(axis=0), rows.std(axis=0) + np.float32(floor))


def _whitening(patches: Array) -> tuple[Array, Array]:
    """Return projection and offset after which the patches have mean 0 and, nearly, covariance 1 (PCA whitening)."""
    mean, spread = patches.mean(axis=0, dtype=np.float64), patches.std(axis=0, dtype=np.float64)
    spread = np.maximum(spread, _LEAST_SHARE * spread.mean() + _LEAST)
    normal = np.asarray((patches - mean) / spread, np.float32)
    values, vectors = np.linalg.eigh(normal.T.astype(np.float64) @ normal / len(normal))
    project = vectors / np.sqrt(values + _LEAST_VARIANCE) / spread[:, None]
    return np.asarray(project, np.float32), np.asarray(-mean @ project, np.float32)


def _far_apart(points: Array, count: int) -> npt.NDArray[np.intp]:
    """Return the indices of `count` points, each the farthest from those before (greedy k-centre, Gonzalez 1985).

    Rare good patches, a bubble's rim, are in it as well as frequent ones; a random choice misses them.
    """
    squares = (points**2).sum(axis=1)
    nearest = np.full(len(points), np.inf, np.float32)
    chosen = np.zeros(count, np.intp)
    for index in range(1, count):
        last = points[chosen[index - 1]]
        np.minimum(nearest, squares + squares[chosen[index - 1]] - 2.0 * (points @ last), out=nearest)
        chosen[index] = nearest.argmax()
    return chosen
