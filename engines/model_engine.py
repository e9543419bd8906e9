"""The one body of `Engine`: preprocessing, a session of some back end, and what must hold whichever it is."""

import statistics
import time
from collections.abc import Sequence

import numpy as np

from engines.engine import EngineInfo, Frame, Outputs, Timing
from engines.errors import InferenceFailed, ModelRefused
from engines.preprocess import Preprocessor
from engines.session import Session
from signing.manifest import Model, Tensor

WARMUP_RUNS = 20


class ModelEngine:
    """Body of `engines.engine.Engine`. On a device `engines.load` alone makes it, from verified bytes."""

    def __init__(self, model: Model, session: Session, onnx_sha256: str) -> None:
        """Warm the session, which is the engine's from here on.

        Raises:
            ModelRefused: it fails while it is warmed up, or has other outputs than the model declares.
        """
        self._model = model
        self._session = session
        found = {name: result.shape for name, result in session.results.items()}
        if found != {tensor.name: tensor.shape for tensor in model.outputs}:
            session.close()
            raise ModelRefused(f"model {model.file}: the session gives {found}; build the bundle again")
        self._preprocessor = Preprocessor(model.preprocessing, session.image)
        self._results = [(tensor.name, session.results[tensor.name]) for tensor in model.outputs]
        facts = session.facts
        self.info = EngineInfo(
            backend=facts.backend,
            version=facts.version,
            device=facts.device,
            precision=facts.precision,
            onnx_sha256=onnx_sha256,
            plan=facts.plan,
            warmup_runs=WARMUP_RUNS,
            warmup_p50_ns=self._warm(),
        )

    @property
    def inputs(self) -> Sequence[Tensor]:
        return (self._model.input,)

    @property
    def outputs(self) -> Sequence[Tensor]:
        return self._model.outputs

    def infer(self, frame: Frame, out: Outputs) -> Timing:
        """See `engines.engine.Engine.infer`."""
        for name, _ in self._results:
            out[name].fill(np.nan)
        started = time.monotonic_ns()
        self._preprocessor.fill(frame)
        prepared = time.monotonic_ns()
        self._run()
        finished = time.monotonic_ns()
        for name, result in self._results:
            np.copyto(out[name], result)
        return Timing(prepared - started, finished - prepared)

    def keep_warm(self) -> None:
        """See `engines.engine.Engine.keep_warm`."""
        self._run()

    def close(self) -> None:
        """See `engines.engine.Engine.close`."""
        self._session.close()

    def _run(self) -> None:
        for _, result in self._results:
            result.fill(np.nan)
        try:
            self._session.run()
        except InferenceFailed as error:
            raise InferenceFailed(f"model {self._model.file}: {error}; load the engine again") from error

    def _warm(self) -> int:
        durations: list[int] = []
        for _ in range(WARMUP_RUNS):
            started = time.monotonic_ns()
            try:
                self._run()
            except InferenceFailed as error:
                self._session.close()
                raise ModelRefused(f"{error} (while it was warmed up)") from error
            durations.append(time.monotonic_ns() - started)
        return int(statistics.median(durations))
