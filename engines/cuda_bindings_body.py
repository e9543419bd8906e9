"""`engines.cuda.Cuda` over the CUDA runtime API of `cuda-bindings`. Imported by `engines.cuda.open_cuda` alone."""

import ctypes
import weakref
from typing import Any

import numpy as np
from cuda.bindings import runtime

from engines.cuda import Gpu, HostBytes
from engines.errors import DeviceFailed


class RuntimeCuda:
    """Device 0 in its primary context; the runtime API needs no context object."""

    def __init__(self) -> None:
        """Open the device.

        Raises:
            DeviceFailed: there is none, or its driver refuses.
        """
        _call(runtime.cudaSetDevice, 0)
        self.gpu = _describe()

    def malloc(self, size: int) -> int:
        return int(_call(runtime.cudaMalloc, size))

    def free(self, address: int) -> None:
        _call(runtime.cudaFree, address)

    def host_alloc(self, size: int) -> HostBytes:
        address = int(_call(runtime.cudaMallocHost, size))
        owner = (ctypes.c_uint8 * size).from_address(address)
        weakref.finalize(owner, runtime.cudaFreeHost, address).atexit = False
        memory: HostBytes = np.frombuffer(memoryview(owner), np.uint8)
        memory.fill(0)
        return memory

    def stream(self) -> int:
        return int(_call(runtime.cudaStreamCreateWithFlags, runtime.cudaStreamNonBlocking))

    def stream_free(self, stream: int) -> None:
        _call(runtime.cudaStreamDestroy, stream)

    def copy_in(self, address: int, source: HostBytes, stream: int) -> None:
        kind = runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        _call(runtime.cudaMemcpyAsync, address, source.ctypes.data, source.nbytes, kind, stream)

    def copy_out(self, target: HostBytes, address: int, stream: int) -> None:
        kind = runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        _call(runtime.cudaMemcpyAsync, target.ctypes.data, address, target.nbytes, kind, stream)

    def sync(self, stream: int) -> None:
        _call(runtime.cudaStreamSynchronize, stream)

    def event(self) -> int:
        return int(_call(runtime.cudaEventCreate))

    def event_free(self, event: int) -> None:
        _call(runtime.cudaEventDestroy, event)

    def record(self, event: int, stream: int) -> None:
        _call(runtime.cudaEventRecord, event, stream)

    def elapsed_ms(self, start: int, end: int) -> float:
        return float(_call(runtime.cudaEventElapsedTime, start, end))

    def close(self) -> None:
        """The primary context belongs to the process and ends with it; who made memory or a stream frees it."""


def open_device() -> RuntimeCuda:
    """See `engines.cuda.open_cuda`."""
    return RuntimeCuda()


def _describe() -> Gpu:
    found = _call(runtime.cudaGetDeviceProperties, 0)
    version = int(_call(runtime.cudaDriverGetVersion))
    return Gpu(
        name=found.name.split(b"\0")[0].decode(errors="replace"),
        capability=f"{found.major}.{found.minor}",
        driver=f"{version // 1000}.{version % 1000 // 10}",
        memory_mb=found.totalGlobalMem >> 20,
    )


def _call(function: Any, *arguments: Any) -> Any:
    """Return what `function` gives beside its status, or raise what the status says."""
    try:
        status, *values = function(*arguments)
    except RuntimeError as error:  # the driver's library is not there at all
        raise DeviceFailed(f"{function.__name__}: {error}; install the GPU driver") from error
    if status != runtime.cudaError_t.cudaSuccess:
        _, words = runtime.cudaGetErrorString(status)
        raise DeviceFailed(
            f"{function.__name__}: {words.decode()} ({status.name} {int(status)}); check the GPU and its driver"
        )
    return values[0] if values else None
