"""What tests/bench/gpu_check.py measures: the shipped models, and each back end with a bare control beside it."""

import hashlib
import secrets
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnxruntime as ort

from demo.golden import golden_frames
from demo.shipped import shipped
from drivers.sim.render_spec import View
from engines.cuda import Gpu, open_cuda
from engines.engine import Frame
from engines.errors import PlanRefused
from engines.model_engine import ModelEngine
from engines.onnx_runtime import OnnxRuntimeSession
from engines.plan_file import KEY_BYTES, BuildOptions, read_plan, write_plan
from engines.session import Session
from engines.tensor_rt import open_session, plan_source
from engines.tensor_rt_api import Library
from engines.tensor_rt_build import build_plan, evidence_of
from signing.manifest import Model


@dataclass(frozen=True, slots=True)
class Subject:
    """One shipped model and raw frames for it."""

    name: str
    model: Model
    graph: bytes
    frames: tuple[tuple[str, Frame], ...]

    @property
    def onnx_sha256(self) -> str:
        return hashlib.sha256(self.graph).hexdigest()


@dataclass(frozen=True, slots=True)
class Opened:
    """A back end with the subject's model loaded. `bare` is the same call without any of our code around it."""

    engine: ModelEngine
    session: Session
    bare: Callable[[], None]
    plan_bytes: int
    build_s: float
    held: ExitStack


def subjects() -> list[Subject]:
    """Every shipped model, with the golden frames of the view that it sees."""
    frames = golden_frames()
    shown = {view: tuple((name, frame) for name, of, frame in frames if of is view) for view in View}
    return [
        Subject(one.name, one.model, one.graph, shown[View.CRIMP if one.name.endswith(View.CRIMP) else View.BODY])
        for one in shipped()
    ]


def open_onnx_runtime(subject: Subject) -> Opened:
    """ONNX Runtime on the CPU: the reference."""
    session = OnnxRuntimeSession(subject.model, subject.graph)
    engine = ModelEngine(subject.model, session, subject.onnx_sha256)
    return Opened(engine, session, _bare_onnx_runtime(subject, session), 0, 0.0, ExitStack())


def open_tensor_rt(subject: Subject, library: Library, gpu: Gpu, options: BuildOptions) -> Opened:
    """TensorRT as a station has it: built here, kept, read back and checked, then loaded.

    Raises:
        EngineError: any of that is refused.
    """
    source = plan_source(subject.onnx_sha256, library, gpu, options)
    built = build_plan(library, subject.graph, subject.model, options)
    key = secrets.token_bytes(KEY_BYTES)
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        write_plan(Path(folder), built.plan, evidence_of(built, source, datetime.now(UTC)), key)
        checked = read_plan(Path(folder), source, key)
    session = open_session(subject.model, checked, library)
    held = ExitStack()
    try:
        bare = _bare_tensor_rt(subject, checked.plan, library, held)
        engine = ModelEngine(subject.model, session, subject.onnx_sha256)
    except Exception:
        held.close()
        session.close()
        raise
    return Opened(engine, session, bare, len(checked.plan), built.seconds, held)


def _bare_onnx_runtime(subject: Subject, session: OnnxRuntimeSession) -> Callable[[], None]:
    """`InferenceSession.run` as its documentation shows it, one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    bare = ort.InferenceSession(subject.graph, options, providers=["CPUExecutionProvider"])
    feed = {subject.model.input.name: session.image}
    return lambda: bare.run(None, feed) and None


def _bare_tensor_rt(subject: Subject, plan: bytes, library: Library, held: ExitStack) -> Callable[[], None]:
    """Copy, execute, copy, wait on buffers of its own, in one function."""
    cuda = open_cuda()
    held.callback(cuda.close)
    engine = library.runtime().deserialize_cuda_engine(plan)
    context = engine.create_execution_context() if engine else None
    if context is None:
        raise PlanRefused(f"{subject.name}: bare {library.name}: {library.log.errors()}")
    stream = cuda.stream()
    held.callback(cuda.stream_free, stream)
    bound = []
    for tensor in (subject.model.input, *subject.model.outputs):
        host = cuda.host_alloc(int(np.prod(tensor.shape)) * np.dtype(tensor.dtype).itemsize)
        address = cuda.malloc(host.nbytes)
        held.callback(cuda.free, address)
        context.set_tensor_address(tensor.name, address)
        bound.append((address, host))
    (image, pixels), *outputs = bound

    def call() -> None:
        cuda.copy_in(image, pixels, stream)
        context.execute_async_v3(stream)
        for address, host in outputs:
            cuda.copy_out(host, address, stream)
        cuda.sync(stream)

    return call
