"""The control measurement of a run: preprocessing and inference alone, on pool pictures, nothing else beside it.

Taken in the same run on the same machine, so that trigger-to-permit can be read as a ratio (DESIGN section 8).
"""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from daemon.recipe import read_recipe
from engines.engine import Frame, allocate
from engines.load import load
from signing.keyring import load_trust
from signing.sealed import open_directory
from signing.verify import verify, verify_recipe

SAMPLES = 240
WARM_UP = 20


def measure(bundle: Path, recipe: Path, trust: Path, pictures: Mapping[str, Path]) -> dict[str, list[int]]:
    """Return ns of each bare call by camera name; `pictures` are .npy files (n, H, W) uint8.

    Raises:
        SigningError, EngineError: the documents do not load any more.
    """
    keys = load_trust(trust, production=False)
    with open_directory(bundle) as fd:
        verified = verify(fd, keys)
    with open_directory(recipe) as fd:
        views = read_recipe(verify_recipe(fd, keys)).views
    measured: dict[str, list[int]] = {}
    for view in views:
        engine = load(verified, view.model)
        frames = np.load(pictures[view.camera], mmap_mode="r", allow_pickle=False)
        out = allocate(engine.outputs)
        durations = []
        for turn in range(WARM_UP + SAMPLES):
            frame: Frame = np.ascontiguousarray(frames[turn % len(frames)])
            begin = time.monotonic_ns()
            engine.infer(frame, out)
            durations.append(time.monotonic_ns() - begin)
        engine.close()
        measured[view.camera] = durations[WARM_UP:]
    return measured
