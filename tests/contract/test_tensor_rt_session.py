"""The TensorRT session: everything but NVIDIA's own calls, in host memory; and what those say where there is no GPU."""

import gc
import hashlib
import threading

import numpy as np
import pytest

from engines.engine import allocate
from engines.errors import DeviceFailed, InferenceFailed, PlanRefused
from engines.model_engine import ModelEngine
from engines.onnx_runtime import OnnxRuntimeSession
from engines.plan_file import BuildOptions, CheckedPlan, Evidence, PlanSource
from engines.session import Facts, Session
from engines.tensor_rt import TensorRtProgram, TensorRtSession, open_session
from engines.tensor_rt_build import build_plan
from signing.manifest import Model
from tests.contract import tensor_rt_graphs as graphs
from tests.contract.host_cuda import HostCuda, OrtProgram

FACTS = Facts("tensorrt in host memory", "0", "host", "as in the graph")
CRIMP = (graphs.ROOT / "demo/crimp.onnx").read_bytes()
MODEL = graphs.declared(CRIMP, "crimp.onnx")
FRAMES = np.random.default_rng(graphs.SEED).integers(0, 256, (3, *MODEL.input.shape[2:]), np.uint8)


def hosted(refused: str = "") -> tuple[TensorRtSession, HostCuda]:
    cuda = HostCuda()
    return TensorRtSession(MODEL, OrtProgram(MODEL, CRIMP, cuda, refused), cuda, FACTS), cuda


@pytest.mark.parametrize("name", [graphs.shown(path) for path in graphs.SHIPPED])
def test_it_gives_the_bytes_that_the_graph_gives(name: str) -> None:
    raw = (graphs.ROOT / name).read_bytes()
    model = graphs.declared(raw, name)
    cuda = HostCuda()
    sessions: tuple[Session, ...] = (
        OnnxRuntimeSession(model, raw),
        TensorRtSession(model, OrtProgram(model, raw, cuda), cuda, FACTS),
    )
    frame = np.random.default_rng(graphs.SEED).integers(0, 256, model.input.shape[2:], np.uint8)
    found = [scores(model, session, frame) for session in sessions]
    assert found[0] == found[1]
    assert found[0]


def scores(model: Model, session: Session, frame: np.ndarray) -> bytes:
    engine = ModelEngine(model, session, "0" * 64)
    out = allocate(engine.outputs)
    engine.infer(frame, out)
    engine.close()
    assert all(np.isfinite(array).all() for array in out.values())
    return b"".join(out[tensor.name].tobytes() for tensor in model.outputs)


def test_a_run_copies_in_computes_copies_out_and_waits() -> None:
    session, cuda = hosted()
    session.run()
    assert cuda.done == ["in", *("in" for _ in MODEL.outputs), "graph", *("out" for _ in MODEL.outputs)]
    session.close()


def test_a_launch_that_writes_nothing_gives_nothing_of_the_frame_before() -> None:
    session, _ = hosted()
    engine = ModelEngine(MODEL, session, "0" * 64)
    out = allocate(engine.outputs)
    frame = np.zeros((2000, 2000), np.uint8)
    engine.infer(frame, out)
    assert all(np.isfinite(array).all() for array in out.values())
    session._program.launch = lambda stream: None  # type: ignore[attr-defined,method-assign]
    engine.infer(frame, out)
    assert all(np.isnan(array).all() for array in out.values())
    engine.close()


def test_a_run_makes_no_memory() -> None:
    session, cuda = hosted()
    session.run()
    before = dict(cuda.live)
    for frame in FRAMES:
        session.image[0, 0] = frame
        session.run()
    assert dict(cuda.live) == before
    session.close()


def test_frames_do_not_mix() -> None:
    session, _ = hosted()
    result = session.results[MODEL.output.name]
    found = []
    for frame in (*FRAMES, *FRAMES):
        session.image[0, 0] = frame
        session.run()
        found.append(result.tobytes())
    assert found[:3] == found[3:]
    assert len(set(found)) == len(FRAMES)
    session.close()


def test_a_broken_device_is_a_failed_inference_and_still_closes() -> None:
    session, cuda = hosted()
    cuda.broken = "cudaStreamSynchronize: unspecified launch failure"
    with pytest.raises(InferenceFailed, match="unspecified launch failure"):
        session.run()
    session.close()
    assert cuda.live["memory"] == cuda.live["streams"] == 0


def test_after_close_nothing_is_held_and_nothing_runs() -> None:
    session, cuda = hosted()
    session.close()
    session.close()
    assert (cuda.live["memory"], cuda.live["streams"], cuda.live["closed"]) == (0, 0, 1)
    with pytest.raises(InferenceFailed, match="closed"):
        session.run()


def test_a_session_that_is_dropped_holds_nothing() -> None:
    """The loader of vision drops what another pair replaced, from whichever thread that is."""
    session, cuda = hosted()
    engine = ModelEngine(MODEL, session, "0" * 64)
    image = session.image
    del session, engine
    gc.collect()
    assert (cuda.live["memory"], cuda.live["streams"], cuda.live["closed"]) == (0, 0, 1)
    image.fill(1)


def test_one_thread_makes_it_and_another_runs_it() -> None:
    found: list[bytes] = []

    def infer(engine: ModelEngine) -> None:
        out = allocate(engine.outputs)
        engine.infer(FRAMES[0], out)
        found.append(out[MODEL.output.name].tobytes())

    engine = ModelEngine(MODEL, hosted()[0], "0" * 64)
    thread = threading.Thread(target=infer, args=(engine,))
    thread.start()
    thread.join()
    infer(engine)
    engine.close()
    assert len(found) == 2
    assert found[0] == found[1]


def test_a_caller_may_still_write_the_image_after_close() -> None:
    """ModelEngine fills it before it calls `run`: freed pinned memory there would be a crash."""
    session, _ = hosted()
    engine = ModelEngine(MODEL, session, "0" * 64)
    engine.close()
    with pytest.raises(InferenceFailed, match="closed"):
        engine.infer(FRAMES[0], allocate(engine.outputs))


def test_a_tensor_that_the_plan_does_not_take_leaves_nothing_behind() -> None:
    cuda = HostCuda()
    program = OrtProgram(MODEL, CRIMP, cuda, refused=MODEL.output.name)
    with pytest.raises(PlanRefused, match=MODEL.output.name):
        TensorRtSession(MODEL, program, cuda, FACTS)
    assert (cuda.live["memory"], cuda.live["streams"], program.closed) == (0, 0, 1)


def test_without_a_gpu_a_plan_is_refused_with_nvidias_own_line() -> None:
    graphs.needs_no_gpu()
    library = graphs.rtx_library()
    plan = build_plan(library, CRIMP, MODEL, BuildOptions(), "SM80").plan
    with pytest.raises(PlanRefused, match="cudaError 35") as caught:
        TensorRtProgram(MODEL, plan, library)
    assert "\n" not in str(caught.value)


def test_without_a_gpu_a_session_says_that_there_is_none() -> None:
    graphs.needs_no_gpu()
    library = graphs.rtx_library()
    source = PlanSource("0" * 64, library.name, library.version, "none", "0.0", "0.0", BuildOptions())
    evidence = Evidence(1, source, hashlib.sha256(b"").hexdigest(), "2026-11-23T06:00:00Z", 0.0, 0, ())
    with pytest.raises(DeviceFailed, match="cudaErrorInsufficientDriver|cudaErrorNoDevice"):
        open_session(MODEL, CheckedPlan(b"", evidence), library)
