"""Running a plan: pinned buffers and a stream bound once, then copy in, execute, copy out, wait.

`Program` is the plan as the session sees it. Its body here is TensorRT's; the tests have one that computes with ONNX
Runtime on the same addresses, so that everything in this file but `TensorRtProgram` runs where there is no GPU.
"""

import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Protocol

import numpy as np
import numpy.typing as npt

from engines.cuda import Cuda, Gpu, HostBytes, open_cuda
from engines.errors import DeviceFailed, EngineError, InferenceFailed, PlanRefused
from engines.plan_file import BuildOptions, CheckedPlan, PlanSource
from engines.session import Facts
from engines.tensor_rt_api import CudaEngine, ExecutionContext, Library, shape_of
from signing.manifest import Model, Tensor

_TYPES = {"uint8": "UINT8", "float32": "FLOAT"}


class Program(Protocol):
    """A loaded plan. Addresses are of device memory and stay valid until `close`."""

    def bind(self, name: str, address: int) -> None:
        """Raises PlanRefused: it does not take this tensor."""
        ...

    def launch(self, stream: int) -> None:
        """Queue one execution. Raises InferenceFailed: it was not queued."""
        ...

    def close(self) -> None: ...


class TensorRtSession:
    """Body of `engines.session.Session`; the thread that runs it need not be the one that made it.

    It owns `cuda` and `program` from here on and lets go of them on `close`, or when nothing refers to it any more.
    """

    def __init__(self, model: Model, program: Program, cuda: Cuda, facts: Facts) -> None:
        """Bind the buffers.

        Raises:
            PlanRefused: the program does not take a tensor of the model.
            DeviceFailed: no memory, or the driver refuses.
        """
        self.facts = facts
        self._cuda, self._program = cuda, program
        self._bound: list[tuple[int, HostBytes]] = []
        self._streams: list[int] = []
        self._release = weakref.finalize(self, _released, program, cuda, self._bound, self._streams)
        self._release.atexit = False
        self._streams.append(cuda.stream())
        for tensor in (model.input, *model.outputs):
            self._bind(tensor)
        self.image: npt.NDArray[np.uint8] = self._bound[0][1].reshape(model.input.shape)
        self.results: Mapping[str, npt.NDArray[np.float32]] = {
            tensor.name: host.view(np.float32).reshape(tensor.shape)
            for tensor, (_, host) in zip(model.outputs, self._bound[1:], strict=True)
        }

    def run(self) -> None:
        """See `engines.session.Session.run`. It makes no buffer.

        What `results` hold goes out first: a launch that writes nothing gives that back, not the unit before.
        """
        if not self._release.alive:
            raise InferenceFailed("the engine is closed")
        cuda, (stream,) = self._cuda, self._streams
        _, *outputs = self._bound
        try:
            for address, host in self._bound:
                cuda.copy_in(address, host, stream)
            self._program.launch(stream)
            for address, host in outputs:
                cuda.copy_out(host, address, stream)
            cuda.sync(stream)
        except DeviceFailed as error:
            raise InferenceFailed(str(error)) from error

    def close(self) -> None:
        """See `engines.session.Session.close`. `image` and `results` stay readable; a broken device raises nothing."""
        self._release()

    def _bind(self, tensor: Tensor) -> None:
        size = int(np.prod(tensor.shape)) * np.dtype(tensor.dtype).itemsize
        host = self._cuda.host_alloc(size)
        address = self._cuda.malloc(size)
        self._bound.append((address, host))
        self._program.bind(tensor.name, address)


def _released(program: Program, cuda: Cuda, bound: list[tuple[int, HostBytes]], streams: list[int]) -> None:
    """The plan first: nothing may use the buffers any more."""
    program.close()
    for address, _ in bound:
        with suppress(DeviceFailed):
            cuda.free(address)
    for stream in streams:
        with suppress(DeviceFailed):
            cuda.stream_free(stream)
    with suppress(DeviceFailed):
        cuda.close()


class TensorRtProgram:
    """Body of `Program`: one engine of `tensorrt` or `tensorrt-rtx` and its execution context."""

    def __init__(self, model: Model, plan: bytes, library: Library) -> None:
        """Load the plan.

        Raises:
            PlanRefused: the runtime does not take it, with its own last lines, or it has other tensors than declared.
        """
        self._library, self._file = library, model.file
        runtime = library.runtime()
        if runtime.engine_host_code_allowed:
            raise self._refused("the runtime would run host code out of plans")
        self._engine: CudaEngine | None = runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise self._refused(library.log.errors())
        for fault in _tensor_faults(library, self._engine, model):
            raise self._refused(fault)
        self._context: ExecutionContext | None = self._engine.create_execution_context()
        if self._context is None:
            raise self._refused(library.log.errors())

    def bind(self, name: str, address: int) -> None:
        """See `Program.bind`."""
        if self._context is None or not self._context.set_tensor_address(name, address):
            raise self._refused(f"tensor '{name}': {self._library.log.errors()}")

    def launch(self, stream: int) -> None:
        """See `Program.launch`."""
        if self._context is None:
            raise InferenceFailed("the engine is closed")
        if not self._context.execute_async_v3(stream):
            raise InferenceFailed(f"{self._library.name}: {self._library.log.errors()}")

    def close(self) -> None:
        """Let go of context and engine, in that order."""
        self._context = None
        self._engine = None

    def _refused(self, reason: str) -> PlanRefused:
        library = self._library
        return PlanRefused(
            f"{self._file}: {library.name} {library.version} does not take the plan: {reason}; build it here again"
        )


def plan_source(onnx_sha256: str, library: Library, gpu: Gpu, options: BuildOptions) -> PlanSource:
    """Return what a plan of that graph depends on here; its key says whether it was built already.

    Called by: `engines.backends`, to find a plan and to build one.
    """
    return PlanSource(onnx_sha256, library.name, library.version, gpu.name, gpu.capability, gpu.driver, options)


def open_session(model: Model, checked: CheckedPlan, library: Library) -> TensorRtSession:
    """Load a plan that was checked, on the GPU of this device.

    Called by: `engines.backends`, for vision and for `slots`.

    Raises:
        BackendMissing, DeviceFailed: no CUDA body, no GPU.
        PlanRefused: it was built for another GPU or runtime, or the runtime does not take it.
    """
    cuda = open_cuda()
    try:
        built = checked.evidence.source
        if built != plan_source(built.onnx_sha256, library, cuda.gpu, built.options):
            raise PlanRefused(f"{model.file}: the plan is not for this GPU and runtime; build it again")
        program = TensorRtProgram(model, checked.plan, library)
    except EngineError:
        cuda.close()
        raise
    return TensorRtSession(model, program, cuda, _facts(checked, cuda, library))


def _facts(checked: CheckedPlan, cuda: Cuda, library: Library) -> Facts:
    gpu = cuda.gpu
    return Facts(
        backend=library.name,
        version=library.version,
        device=f"{gpu.name} (compute capability {gpu.capability}, driver {gpu.driver})",
        precision="tf32" if checked.evidence.source.options.tf32 else "as in the graph",
        plan=checked.evidence.plan_sha256,
    )


def _tensor_faults(library: Library, engine: CudaEngine, model: Model) -> Iterator[str]:
    """Compare names, directions, types and shapes of the plan with what the manifest declares."""
    found = {_described(engine, engine.get_tensor_name(index)) for index in range(engine.num_io_tensors)}
    wanted = {
        (tensor.name, side, _TYPES[tensor.dtype], tensor.shape)
        for side, tensors in (("INPUT", (model.input,)), ("OUTPUT", model.outputs))
        for tensor in tensors
    }
    if found != wanted:
        yield f"it has {sorted(found)}, the manifest declares {sorted(wanted)}"


def _described(engine: CudaEngine, name: str) -> tuple[str, str, str, tuple[int, ...]]:
    side, kind = engine.get_tensor_mode(name), engine.get_tensor_dtype(name)
    return name, side.name, kind.name, shape_of(engine.get_tensor_shape(name))
