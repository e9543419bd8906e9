"""The part of NVIDIA's Python API that is used: the same for `tensorrt` 10 and 11 and for `tensorrt-rtx` 1.

Rules of engines/tensor_rt*.py:
  1. Tensors are addressed by name (`set_tensor_address`, `execute_async_v3`), the one way that 10.0 to 11.4 share.
  2. Precision is in the graph. The network is strongly typed; flags for FP16 and INT8 and calibrators are gone in 11.
  3. The API logs and returns None or False where others raise. Every such answer becomes an error of ours, with the
     last lines that were logged.
  4. A plan is data. `VERSION_COMPATIBLE`, which puts host code into it, is never set, nor `engine_host_code_allowed`.
"""

import importlib
import importlib.util
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, TypeVar, cast

from engines.errors import BackendMissing, DeviceFailed

T = TypeVar("T")

# Module names to try, by the name that a person knows. The meta package of tensorrt-rtx alone brings `tensorrt_rtx`.
LIBRARIES: Mapping[str, tuple[str, ...]] = {
    "tensorrt": ("tensorrt",),
    "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
KEPT_LINES = 64
SHOWN_ERRORS = 2
LONGEST_LINE = 300
# Of tensorrt.ILogger.Severity: 0 internal error, 1 error, 2 warning, 3 information, 4 verbose.
_ERROR, _WARNING = 1, 2


class Dims(Protocol):
    """A shape; not iterable by its declared type in every version."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> int: ...


class HostMemory(Protocol):
    """Bytes that belong to the library; gone with this object."""

    @property
    def nbytes(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...


class Network(Protocol):
    """`INetworkDefinition`."""

    @property
    def num_layers(self) -> int: ...


class ParserError(Protocol):
    """`ParserError`: one reason why a graph was not taken."""

    def desc(self) -> str: ...
    def node_name(self) -> str: ...
    def node_operator(self) -> str: ...


class OnnxParser(Protocol):
    """`OnnxParser`. `parse` reads external data from the working directory: only checked graphs may reach it."""

    @property
    def num_errors(self) -> int: ...
    def parse(self, model: bytes, /) -> bool: ...
    def get_error(self, index: int, /) -> ParserError: ...


class BuilderConfig(Protocol):
    """`IBuilderConfig`. Compute capabilities by name are of tensorrt-rtx alone and looked up."""

    def clear_flag(self, flag: Any, /) -> None: ...
    def set_memory_pool_limit(self, pool: Any, pool_size: int, /) -> None: ...


class Builder(Protocol):
    """`Builder`."""

    def create_network(self, flags: int, /) -> Network | None: ...
    def create_builder_config(self) -> BuilderConfig | None: ...
    def build_serialized_network(self, network: Any, config: Any, /) -> HostMemory | None: ...


class ExecutionContext(Protocol):
    """`IExecutionContext`."""

    def set_tensor_address(self, name: str, memory: int, /) -> bool: ...
    def execute_async_v3(self, stream_handle: int, /) -> bool: ...


class CudaEngine(Protocol):
    """`ICudaEngine`."""

    @property
    def num_io_tensors(self) -> int: ...
    def get_tensor_name(self, index: int, /) -> str: ...
    def get_tensor_shape(self, name: str, /) -> Dims: ...
    def get_tensor_dtype(self, name: str, /) -> Any: ...
    def get_tensor_mode(self, name: str, /) -> Any: ...
    def create_execution_context(self) -> ExecutionContext | None: ...


class PlanRuntime(Protocol):
    """`Runtime`."""

    engine_host_code_allowed: bool

    def deserialize_cuda_engine(self, serialized_engine: bytes, /) -> CudaEngine | None: ...


class TensorRt(Protocol):
    """What the module itself has. Enumerations are looked up by name, as some versions lack some of their members."""

    @property
    def ILogger(self) -> Any: ...  # noqa: N802
    @property
    def BuilderFlag(self) -> Any: ...  # noqa: N802
    @property
    def NetworkDefinitionCreationFlag(self) -> Any: ...  # noqa: N802
    @property
    def MemoryPoolType(self) -> Any: ...  # noqa: N802
    @property
    def DataType(self) -> Any: ...  # noqa: N802
    @property
    def TensorIOMode(self) -> Any: ...  # noqa: N802
    def Builder(self, logger: Any, /) -> Builder: ...  # noqa: N802
    def Runtime(self, logger: Any, /) -> PlanRuntime: ...  # noqa: N802
    def OnnxParser(self, network: Any, logger: Any, /) -> OnnxParser: ...  # noqa: N802


class Log:
    """What the library says. One per process: the library keeps the first logger it is given and ignores others.

    Its threads write while ours reads: the lines are copied in one step before they are looked at.
    """

    def __init__(self, module: TensorRt) -> None:
        self._lines: deque[tuple[int, str]] = deque(maxlen=KEPT_LINES)
        self.logger = _logger(module, self._lines)

    def clear(self) -> None:
        """Forget what was said before the step that begins."""
        self._lines.clear()

    def lines(self) -> tuple[str, ...]:
        """Errors and warnings since `clear`, oldest first, each once."""
        return tuple(dict.fromkeys(line for _, line in tuple(self._lines)))

    def errors(self) -> str:
        """The last errors since `clear` in one line; where there are none, the last warnings."""
        grave = [line for severity, line in tuple(self._lines) if severity <= _ERROR]
        found = dict.fromkeys(grave or self.lines())
        return "; ".join(list(found)[-SHOWN_ERRORS:]) or "it gives no reason"


@dataclass(frozen=True, slots=True)
class Library:
    """One installed runtime: the name it goes by here, its version, the module and its log."""

    name: str
    version: str
    module: TensorRt
    log: Log

    def builder(self) -> Builder:
        """Return a new builder, the log emptied.

        Raises:
            DeviceFailed: there is none to be had; TensorRT 10 wants a GPU for it, tensorrt-rtx does not.
        """
        return self._made(self.module.Builder)

    def runtime(self) -> PlanRuntime:
        """Return a new runtime, the log emptied.

        Raises:
            DeviceFailed: there is none to be had, as without a GPU.
        """
        return self._made(self.module.Runtime)

    def _made(self, kind: Callable[[Any], T]) -> T:
        """A constructor that gives nothing is a TypeError of the binding's ("factory function returned nullptr")."""
        self.log.clear()
        try:
            return kind(self.log.logger)
        except TypeError as error:
            raise DeviceFailed(
                f"{self.name} {self.version}: {one_line(str(error))}: {self.log.errors()}; check the GPU and its driver"
            ) from error


@cache
def load_library(name: str) -> Library:
    """Import the runtime `name` of `LIBRARIES`; once a process.

    Called by: `engines.load` and `slots` where the station asks for that back end, never at import.

    Raises:
        BackendMissing: it is not installed, or its libraries do not load; with the loader's own words.
    """
    module = _import(name, [found for found in LIBRARIES[name] if _is_installed(found)])
    return Library(name, str(getattr(module, "__version__", "of no version")), module, Log(module))


def shape_of(dims: Dims) -> tuple[int, ...]:
    """Return a shape as a tuple, whichever version made it."""
    return tuple(dims[index] for index in range(len(dims)))


def one_line(text: str) -> str:
    """Return what NVIDIA says in one line of bounded length."""
    return " ".join(text.split())[:LONGEST_LINE]


def _is_installed(module: str) -> bool:
    """A folder with type stubs alone counts as a package of that name for the import system: it has no origin."""
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.origin is not None


def _import(name: str, modules: Sequence[str]) -> TensorRt:
    if not modules:
        raise BackendMissing(
            f"{name}: not installed (no Python module {' or '.join(LIBRARIES[name])}); "
            "install it (docs/operations/tensorrt.md) or choose the back end onnxruntime"
        )
    try:
        return cast(TensorRt, importlib.import_module(modules[0]))
    except (ImportError, OSError) as error:
        raise BackendMissing(
            f"{name}: installed and does not load: {one_line(str(error))}; "
            "install its libraries (docs/operations/tensorrt.md) or choose the back end onnxruntime"
        ) from error


def _logger(module: TensorRt, lines: deque[tuple[int, str]]) -> Any:
    """Return an instance of a subclass of the module's own `ILogger`, which calls `log` from its threads too."""

    def begin(self: Any) -> None:
        module.ILogger.__init__(self)

    def log(_self: Any, severity: Any, message: str) -> None:
        if int(severity) <= _WARNING:
            lines.append((int(severity), one_line(message)))

    return type("Logger", (module.ILogger,), {"__init__": begin, "log": log})()
