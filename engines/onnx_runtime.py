"""ONNX Runtime on the CPU: one thread, no spinning, no telemetry, no copy of the input.

One thread, because spinning costs 4.6 times the CPU on a paced line and two threads without it are slower than one.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from engines.errors import InferenceFailed, ModelRefused
from engines.session import Facts
from signing.manifest import Model

EVERYTHING, NOTHING = ort.GraphOptimizationLevel.ORT_ENABLE_ALL, ort.GraphOptimizationLevel.ORT_DISABLE_ALL
_FATAL_ONLY = 4
_PROVIDERS = ["CPUExecutionProvider"]


class OnnxRuntimeSession:
    """Body of `engines.session.Session`."""

    def __init__(self, model: Model, graph: bytes, plan: Facts | None = None) -> None:
        """Open a session on `graph` and bind its buffers.

        `plan`: what runs, where the graph is what ONNX Runtime itself made of another one; it is run as it stands.

        Raises:
            ModelRefused: ONNX Runtime does not accept the graph, or it does not have the declared tensors.
        """
        self.facts = plan or Facts("onnxruntime", ort.__version__, "cpu", "fp32")
        self.image: npt.NDArray[np.uint8] = np.zeros(model.input.shape, np.uint8)
        self.results: Mapping[str, npt.NDArray[np.float32]] = {
            tensor.name: np.full(tensor.shape, np.nan, np.float32) for tensor in model.outputs
        }
        self._session: ort.InferenceSession | None = _open(model, graph, options(NOTHING if plan else EVERYTHING))
        self._binding = self._session.io_binding()
        self._binding.bind_input(model.input.name, "cpu", 0, np.uint8, self.image.shape, self.image.ctypes.data)
        for name, result in self.results.items():
            self._binding.bind_output(name, "cpu", 0, np.float32, result.shape, result.ctypes.data)

    def run(self) -> None:
        """See `engines.session.Session.run`."""
        if self._session is None:
            raise InferenceFailed("the engine is closed")
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # ONNX Runtime raises pybind types that share no root of their own
            raise InferenceFailed(one_line(error)) from error

    def close(self) -> None:
        """See `engines.session.Session.close`."""
        self._session = None


def open_graph(graph: bytes, chosen: ort.SessionOptions) -> ort.InferenceSession:
    """Return ONNX Runtime's own session on a graph, on the processor; it raises whatever it raises."""
    ort.disable_telemetry_events()
    return ort.InferenceSession(graph, sess_options=chosen, providers=_PROVIDERS)


def _open(model: Model, graph: bytes, chosen: ort.SessionOptions) -> ort.InferenceSession:
    try:
        session = open_graph(graph, chosen)
    except Exception as error:  # ONNX Runtime raises pybind types that share no root of their own
        raise ModelRefused(f"model {model.file}: {one_line(error)}; export the model again") from error
    found = (
        [(value.name, value.type, tuple(value.shape)) for value in session.get_inputs()],
        [(value.name, value.type, tuple(value.shape)) for value in session.get_outputs()],
    )
    wanted = (
        [(model.input.name, "tensor(uint8)", model.input.shape)],
        [(tensor.name, "tensor(float)", tensor.shape) for tensor in model.outputs],
    )
    if found != wanted:
        raise ModelRefused(
            f"model {model.file}: ONNX Runtime sees {found}, the manifest declares {wanted}; build it again"
        )
    return session


def options(level: ort.GraphOptimizationLevel) -> ort.SessionOptions:
    """Return the options under which every graph runs here: one thread, no spinning, the same bytes every time."""
    chosen = ort.SessionOptions()
    chosen.intra_op_num_threads = 1
    chosen.inter_op_num_threads = 1
    chosen.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    chosen.graph_optimization_level = level
    chosen.log_severity_level = _FATAL_ONLY
    chosen.use_deterministic_compute = True
    chosen.add_session_config_entry("session.intra_op.allow_spinning", "0")
    chosen.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return chosen


def one_line(error: Exception) -> str:
    """Return what a library says, in one line."""
    return " ".join(str(error).split())[:300]
