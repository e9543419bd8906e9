"""What a back end has to bring: one graph on one runtime, its buffers bound once. `ModelEngine` has everything else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Facts:
    """What runs the graph. `plan` is the sha256 (hex) of what the runtime built of it beforehand, "" where nothing."""

    backend: str
    version: str
    device: str
    precision: str
    plan: str = ""


class Session(Protocol):
    """Body of a back end, used by one thread. It allocates when it is made; `run` reuses what it owns."""

    @property
    def facts(self) -> Facts: ...

    @property
    def image(self) -> npt.NDArray[np.uint8]:
        """The input in host memory, (1, 1, height, width), C-contiguous; the caller fills it before `run`."""
        ...

    @property
    def results(self) -> Mapping[str, npt.NDArray[np.float32]]:
        """The outputs by name in host memory; `run` overwrites them."""
        ...

    def run(self) -> None:
        """Run the graph on `image` and return when `results` are there.

        Raises:
            InferenceFailed: the runtime failed; `results` hold anything.
        """
        ...

    def close(self) -> None:
        """Release the runtime; `run` fails from then on."""
        ...
