"""CUDA memory, copies and streams as the back ends need them: one small protocol, two bodies.

`cuda-bindings` is the first choice; `pycuda` serves JetPack 6 where it is already there. Both work in the device's
primary context, the one that TensorRT uses. Neither is imported before a station asks for a GPU back end.
Addresses and handles are plain integers, as TensorRT takes them.
"""

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from engines.errors import BackendMissing

HostBytes = npt.NDArray[np.uint8]

# Module that must be there, and the body that uses it, in the order in which they are tried.
BODIES: Mapping[str, tuple[str, str]] = {
    "cuda-bindings": ("cuda.bindings.runtime", "engines.cuda_bindings_body"),
    "pycuda": ("pycuda", "engines.cuda_pycuda"),
}


@dataclass(frozen=True, slots=True)
class Gpu:
    """The GPU as its driver names it: capability "8.7", driver = the CUDA version it gives, "13.0"."""

    name: str
    capability: str
    driver: str
    memory_mb: int


class Cuda(Protocol):
    """Device 0. Any thread may call, one at a time. Every method raises DeviceFailed with CUDA's own words."""

    @property
    def gpu(self) -> Gpu: ...

    def malloc(self, size: int) -> int:
        """Return the address of `size` bytes of device memory."""
        ...

    def free(self, address: int) -> None: ...

    def host_alloc(self, size: int) -> HostBytes:
        """Return `size` bytes of pinned host memory, zeroed; freed when no view of it is left, `close` or not."""
        ...

    def stream(self) -> int:
        """Return the handle of a new stream that does not wait for the default one."""
        ...

    def stream_free(self, stream: int) -> None: ...

    def copy_in(self, address: int, source: HostBytes, stream: int) -> None:
        """Queue a copy of all of `source`, pinned, to the device."""
        ...

    def copy_out(self, target: HostBytes, address: int, stream: int) -> None:
        """Queue a copy from the device into all of `target`, pinned."""
        ...

    def sync(self, stream: int) -> None:
        """Wait for everything that was queued; an error of a kernel shows here."""
        ...

    def event(self) -> int: ...

    def event_free(self, event: int) -> None: ...

    def record(self, event: int, stream: int) -> None: ...

    def elapsed_ms(self, start: int, end: int) -> float:
        """Return the time between two recorded events whose stream was waited for, in ms."""
        ...

    def close(self) -> None:
        """Let go of what was not freed before."""
        ...


class _Body(Protocol):
    def open_device(self) -> Cuda: ...


def open_cuda(body: str | None = None) -> Cuda:
    """Open device 0 with the named body, or the first one that is installed.

    Called by: whoever opens a TensorRT session.

    Raises:
        BackendMissing: no body is installed, or it does not load.
        DeviceFailed: there is no GPU, or its driver refuses.
    """
    for name, (needed, module) in BODIES.items():
        if body in (None, name) and _is_installed(needed):
            return _load(name, module).open_device()
    raise BackendMissing(
        f"{body or ' or '.join(BODIES)}: not installed; install one of them (docs/operations/tensorrt.md) "
        "or choose the back end onnxruntime"
    )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


def _load(name: str, module: str) -> _Body:
    try:
        return cast(_Body, importlib.import_module(module))
    except ImportError as error:
        raise BackendMissing(
            f"{name}: installed and does not load: {' '.join(str(error).split())[:300]}; "
            "install the GPU driver or choose the back end onnxruntime"
        ) from error
