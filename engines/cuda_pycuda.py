"""`engines.cuda.Cuda` over `pycuda`, for JetPack 6 stations that have it. Imported by `engines.cuda.open_cuda` alone.

Rules of this file, each from what pycuda does otherwise:
  1. The primary context is retained, once a process: `pycuda.autoinit` makes one of its own, which TensorRT is not in.
  2. It is current only within a call. A thread that ends with a context on pycuda's stack ends the process, and a
     session is made by one thread and run by another.
  3. Everything is freed while it is current: elsewhere pycuda frees nothing and warns.
"""

import atexit
import ctypes
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from pycuda import driver

from engines.cuda import Gpu, HostBytes
from engines.errors import DeviceFailed

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING


class PycudaCuda:
    """Device 0. pycuda's objects free what they hold when they are collected, so they are kept here by handle."""

    def __init__(self) -> None:
        """Open the device.

        Raises:
            DeviceFailed: there is none, or its driver refuses.
        """
        self._kept: dict[int, Any] = {}
        with _current():
            self.gpu = _describe(driver.Device(0))

    def malloc(self, size: int) -> int:
        with _current():
            return self._keep(driver.mem_alloc(size), int)

    def free(self, address: int) -> None:
        with _current():
            self._kept.pop(address).free()

    def host_alloc(self, size: int) -> HostBytes:
        with _current():
            allocation = driver.pagelocked_empty(size, np.uint8)
        owner = (ctypes.c_uint8 * size).from_address(allocation.ctypes.data)
        weakref.finalize(owner, _free_host, allocation).atexit = False
        memory: HostBytes = np.frombuffer(memoryview(owner), np.uint8)
        memory.fill(0)
        return memory

    def stream(self) -> int:
        with _current():
            return self._keep(driver.Stream(_NON_BLOCKING), lambda found: found.handle)

    def stream_free(self, stream: int) -> None:
        with _current():
            del self._kept[stream]

    def copy_in(self, address: int, source: HostBytes, stream: int) -> None:
        with _current():
            driver.memcpy_htod_async(address, source, self._kept[stream])

    def copy_out(self, target: HostBytes, address: int, stream: int) -> None:
        with _current():
            driver.memcpy_dtoh_async(target, address, self._kept[stream])

    def sync(self, stream: int) -> None:
        with _current():
            self._kept[stream].synchronize()

    def event(self) -> int:
        with _current():
            return self._keep(driver.Event(), id)

    def event_free(self, event: int) -> None:
        with _current():
            del self._kept[event]

    def record(self, event: int, stream: int) -> None:
        with _current():
            self._kept[event].record(self._kept[stream])

    def elapsed_ms(self, start: int, end: int) -> float:
        with _current():
            return float(self._kept[start].time_till(self._kept[end]))

    def close(self) -> None:
        """Free what is left; the primary context belongs to the process and ends with it."""
        with _current():
            self._kept.clear()

    def _keep(self, found: Any, handle: Callable[[Any], int]) -> int:
        number = handle(found)
        self._kept[number] = found
        return number


def open_device() -> PycudaCuda:
    """See `engines.cuda.open_cuda`."""
    return PycudaCuda()


@cache
def _primary() -> Any:
    """Retained once; let go of at exit, as pycuda's own destructor would call what is not for primary contexts."""
    driver.init()
    context = driver.Device(0).retain_primary_context()
    atexit.register(context.detach)
    return context


@contextmanager
def _current() -> Iterator[None]:
    """Have the primary context current in this thread for one call, and give every error of pycuda's our name."""
    try:
        _primary().push()
        try:
            yield
        finally:
            driver.Context.pop()
    except driver.Error as error:
        raise DeviceFailed(f"pycuda: {' '.join(str(error).split())}; check the GPU and its driver") from error


def _free_host(allocation: Any) -> None:
    with _current():
        allocation.base.free()


def _describe(device: Any) -> Gpu:
    major, minor = device.compute_capability()
    version = int(driver.get_driver_version())
    return Gpu(
        name=device.name(),
        capability=f"{major}.{minor}",
        driver=f"{version // 1000}.{version % 1000 // 10}",
        memory_mb=device.total_memory() >> 20,
    )
