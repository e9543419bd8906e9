"""`engines.cuda.Cuda` in host memory, and a program that computes with ONNX Runtime at the addresses it was bound to.

A stream is a list of what was queued; nothing moves before `sync`, as on a GPU it may not.
"""

import ctypes
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import onnxruntime as ort

from engines.cuda import Gpu, HostBytes
from engines.errors import DeviceFailed, PlanRefused
from signing.manifest import Model


class HostCuda:
    """Addresses are of numpy arrays. `live` counts what is held; `done` lists the steps of the last `sync`."""

    def __init__(self) -> None:
        self.gpu = Gpu("host memory", "0.0", "0.0", 1)
        self.live: Counter[str] = Counter()
        self.done: list[str] = []
        self.broken: str | None = None
        self._events: list[int] = []
        self._memory: dict[int, HostBytes] = {}
        self._queues: dict[int, list[tuple[str, Callable[[], object]]]] = {}

    def malloc(self, size: int) -> int:
        memory = np.full(size, 0xA5, np.uint8)
        self._memory[memory.ctypes.data] = memory
        self.live["memory"] += 1
        return memory.ctypes.data

    def free(self, address: int) -> None:
        del self._memory[address]
        self.live["memory"] -= 1

    def host_alloc(self, size: int) -> HostBytes:
        self.live["made"] += 1
        return np.zeros(size, np.uint8)

    def stream(self) -> int:
        self._queues[len(self._queues) + 1] = []
        self.live["streams"] += 1
        return len(self._queues)

    def stream_free(self, stream: int) -> None:
        self._queues[stream].clear()
        self.live["streams"] -= 1

    def copy_in(self, address: int, source: HostBytes, stream: int) -> None:
        self.queue(stream, "in", lambda: ctypes.memmove(address, source.ctypes.data, source.nbytes))

    def copy_out(self, target: HostBytes, address: int, stream: int) -> None:
        self.queue(stream, "out", lambda: ctypes.memmove(target.ctypes.data, address, target.nbytes))

    def queue(self, stream: int, name: str, step: Callable[[], object]) -> None:
        self._queues[stream].append((name, step))

    def sync(self, stream: int) -> None:
        if self.broken:
            raise DeviceFailed(self.broken)
        self.done.clear()
        for name, step in self._queues[stream]:
            step()
            self.done.append(name)
        self._queues[stream].clear()

    def event(self) -> int:
        self._events.append(0)
        return len(self._events) - 1

    def event_free(self, event: int) -> None:
        self._events[event] = 0

    def record(self, event: int, stream: int) -> None:
        self.queue(stream, "event", lambda: self._events.__setitem__(event, time.monotonic_ns()))

    def elapsed_ms(self, start: int, end: int) -> float:
        return (self._events[end] - self._events[start]) / 1e6

    def close(self) -> None:
        self.live["closed"] += 1


class OrtProgram:
    """Body of `engines.tensor_rt.Program`."""

    def __init__(self, model: Model, graph: bytes, cuda: HostCuda, refused: str = "") -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._binding = self._session.io_binding()
        self._tensors = {tensor.name: tensor for tensor in (model.input, *model.outputs)}
        self._image, self._cuda, self._refused = model.input.name, cuda, refused
        self.closed = 0

    def bind(self, name: str, address: int) -> None:
        if name == self._refused:
            raise PlanRefused(f"tensor '{name}'")
        tensor = self._tensors[name]
        bind = self._binding.bind_input if name == self._image else self._binding.bind_output
        bind(name, "cpu", 0, np.dtype(tensor.dtype), tensor.shape, address)

    def launch(self, stream: int) -> None:
        self._cuda.queue(stream, "graph", lambda: self._session.run_with_iobinding(self._binding))

    def close(self) -> None:
        self.closed += 1
