"""ONNX Runtime on the CPU: one thread, no spinning, no telemetry, no copy of the input.

One thread, because spinning costs 4.6 times the CPU on a paced line and two threads without it are slower than one.
"""

import statistics
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from engines.engine import EngineInfo, Frame, Outputs, Timing
from engines.errors import InferenceFailed, ModelRefused
from engines.preprocess import Preprocessor
from signing.manifest import Model, Tensor

WARMUP_RUNS = 20
_FATAL_ONLY = 4
_PROVIDERS = ["CPUExecutionProvider"]


class OnnxRuntimeEngine:
    """Body of `Engine`. Made by `engines.load` alone, from verified bytes."""

    def __init__(self, model: Model, graph: bytes, onnx_sha256: str) -> None:
        """Open a session on `graph` and warm it.

        Raises:
            ModelRefused: ONNX Runtime does not accept the graph, or it does not have the declared tensors.
        """
        self._model = model
        self._session: ort.InferenceSession | None = _open(model, graph)
        self._preprocessor = Preprocessor(model.preprocessing)
        self._output: npt.NDArray[np.float32] = np.full(model.output.shape, np.nan, np.float32)
        self._binding = self._bind(self._session)
        self.info = EngineInfo(
            backend="onnxruntime",
            version=ort.__version__,
            device="cpu",
            precision="fp32",
            onnx_sha256=onnx_sha256,
            warmup_runs=WARMUP_RUNS,
            warmup_p50_ns=self._warm(),
        )

    @property
    def inputs(self) -> Sequence[Tensor]:
        return (self._model.input,)

    @property
    def outputs(self) -> Sequence[Tensor]:
        return (self._model.output,)

    def infer(self, frame: Frame, out: Outputs) -> Timing:
        """See `engines.engine.Engine.infer`."""
        target = out[self._model.output.name]
        target.fill(np.nan)
        started = time.monotonic_ns()
        self._preprocessor.fill(frame)
        prepared = time.monotonic_ns()
        self._run()
        finished = time.monotonic_ns()
        np.copyto(target, self._output)
        return Timing(prepared - started, finished - prepared)

    def close(self) -> None:
        """See `engines.engine.Engine.close`."""
        self._session = None

    def _run(self) -> None:
        if self._session is None:
            raise InferenceFailed(f"model {self._model.file}: the engine is closed; load it again")
        self._output.fill(np.nan)
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # ONNX Runtime raises pybind types that share no root of their own
            raise InferenceFailed(f"model {self._model.file}: {_one_line(error)}; load the engine again") from error

    def _warm(self) -> int:
        durations: list[int] = []
        for _ in range(WARMUP_RUNS):
            started = time.monotonic_ns()
            try:
                self._run()
            except InferenceFailed as error:
                raise ModelRefused(f"{error} (while it was warmed up)") from error
            durations.append(time.monotonic_ns() - started)
        return int(statistics.median(durations))

    def _bind(self, session: ort.InferenceSession) -> ort.IOBinding:
        binding = session.io_binding()
        model, image = self._model, self._preprocessor.buffer
        binding.bind_input(model.input.name, "cpu", 0, np.uint8, image.shape, image.ctypes.data)
        scores = self._output
        binding.bind_output(model.output.name, "cpu", 0, np.float32, scores.shape, scores.ctypes.data)
        return binding


def _open(model: Model, graph: bytes) -> ort.InferenceSession:
    ort.disable_telemetry_events()
    try:
        session = ort.InferenceSession(graph, sess_options=_options(), providers=_PROVIDERS)
    except Exception as error:  # ONNX Runtime raises pybind types that share no root of their own
        raise ModelRefused(f"model {model.file}: {_one_line(error)}; export the model again") from error
    found = (
        [(value.name, value.type, tuple(value.shape)) for value in session.get_inputs()],
        [(value.name, value.type, tuple(value.shape)) for value in session.get_outputs()],
    )
    wanted = (
        [(model.input.name, "tensor(uint8)", model.input.shape)],
        [(model.output.name, "tensor(float)", model.output.shape)],
    )
    if found != wanted:
        raise ModelRefused(
            f"model {model.file}: ONNX Runtime sees {found}, the manifest declares {wanted}; build it again"
        )
    return session


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _FATAL_ONLY
    options.use_deterministic_compute = True
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
