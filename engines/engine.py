"""The Engine protocol: a frame in, numbers out, on whatever hardware the station has.

An engine is used by one thread only. It allocates at load and warm-up; `infer` reuses what it owns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from signing.manifest import Tensor

Frame = npt.NDArray[np.uint8]
Outputs = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Timing:
    """Durations of one call in ns: region and resize, then the graph."""

    preprocess_ns: int
    inference_ns: int


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What runs, for the log and the batch record. `warmup_p50_ns` is of the graph alone, over `warmup_runs` runs.

    `plan` is the sha256 (hex) of what the backend built of the graph on this device, "" where it builds nothing.
    """

    backend: str
    version: str
    device: str
    precision: str
    onnx_sha256: str
    plan: str
    warmup_runs: int
    warmup_p50_ns: int


class Engine(Protocol):
    """One loaded and warm model. The daemon calls `infer` once per frame of its view, from thread `infer`."""

    @property
    def info(self) -> EngineInfo: ...

    @property
    def inputs(self) -> Sequence[Tensor]: ...

    @property
    def outputs(self) -> Sequence[Tensor]: ...

    def infer(self, frame: Frame, out: Outputs) -> Timing:
        """Run the model on one raw frame.

        Args:
            frame: (H, W) uint8, rows contiguous; not changed, not kept.
            out: one array per output, as `allocate` makes them; overwritten.

        Raises:
            FrameRefused: `frame` does not cover the region of interest, or has another type.
            InferenceFailed: the backend failed; `out` holds NaN.
        """
        ...

    def keep_warm(self) -> None:
        """Run the graph once on what lies in its input, so that caches and clocks do not go to sleep between units.

        Raises:
            InferenceFailed: the backend failed.
        """
        ...

    def close(self) -> None:
        """Release the backend. The daemon calls it once, when the process ends or a bundle is replaced."""
        ...


def allocate(outputs: Sequence[Tensor]) -> Outputs:
    """Return arrays for `Engine.infer`, filled with NaN: what was never inferred can never be accepted."""
    return {tensor.name: np.full(tensor.shape, np.nan, np.float32) for tensor in outputs}
