"""What every body of `Engine` must do with every head. One suite; a further backend adds its loader to `BACKENDS`."""

import gc
import math
import os
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from engines.backends import plan_maker
from engines.cuda import open_cuda
from engines.engine import Engine, Frame, Outputs, allocate
from engines.errors import BuildFailed, EngineError, FrameRefused, InferenceFailed, ModelRefused
from engines.golden import check_golden
from engines.heads import decode
from engines.load import load, load_built
from engines.model_engine import ModelEngine
from engines.plan_file import CheckedPlan
from engines.tensor_rt_api import LIBRARIES, load_library
from engines.tensor_rt_build import evidence_of
from signing.verify import VerifiedBundle
from tests.contract.engine_models import COLUMNS, FILES, KINDS, ROWS, Aged, expected, make_bundle, opened, picture
from tests.vectors import bundle_1


def planned(backend: str) -> Callable[[VerifiedBundle, str], Engine]:
    """Return what loads a model by a plan that is built of it beforehand, as slots builds and vision loads it."""

    def load_planned(bundle: VerifiedBundle, name: str) -> Engine:
        model = bundle.manifest.models.get(name)
        if model is None:
            return load(bundle, name)
        file, maker = bundle.files[model.file], plan_maker(backend)
        try:
            built = maker.build(model, file.bytes())
        except BuildFailed as error:
            raise ModelRefused(str(error)) from error
        evidence = evidence_of(built, maker.source(file.sha256), bundle_1.NOW)
        return load_built(bundle, name, maker, CheckedPlan(built.plan, evidence))

    return load_planned


def runs_here(library: str) -> bool:
    """True where a plan of this library can be built and run: it is installed, and there is a GPU."""
    try:
        load_library(library)
        open_cuda().close()
    except EngineError:
        return False
    return True


PLANNED = ("onnxruntime-plan", *filter(runs_here, LIBRARIES))
BACKENDS: dict[str, Callable[[VerifiedBundle, str], Engine]] = {"onnxruntime": load} | {
    backend: planned(backend) for backend in PLANNED
}
AGAIN, CALLS = 1000, 200
GROWTH_BYTES = 2048


@dataclass(frozen=True)
class Loaded:
    """One engine of one back end, the head it runs and the bundle it was loaded from."""

    engine: Engine
    backend: str
    kind: str
    bundle: VerifiedBundle

    def infer(self, frame: Frame) -> Outputs:
        out = allocate(self.engine.outputs)
        self.engine.infer(frame, out)
        return out


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, VerifiedBundle]:
    root = tmp_path_factory.mktemp("bundles")
    for kind in KINDS:
        make_bundle(root / kind, kind)
    return {kind: opened(root / kind) for kind in KINDS}


@pytest.fixture(params=[(backend, kind) for backend in BACKENDS for kind in KINDS], ids="-".join)
def loaded(request: pytest.FixtureRequest, bundles: dict[str, VerifiedBundle]) -> Iterator[Loaded]:
    backend, kind = request.param
    engine = BACKENDS[backend](bundles[kind], "side")
    yield Loaded(engine, backend, kind, bundles[kind])
    engine.close()


def as_bytes(out: Outputs) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in out.items()}


@pytest.mark.parametrize(
    "frame", [picture(), picture(0, 2, 200), picture(level=51), np.zeros((ROWS, COLUMNS), np.uint8)]
)
def test_every_output_is_what_numpy_computes_of_the_region(loaded: Loaded, frame: Frame) -> None:
    """The map, where there is one, is an output like the other."""
    out, wanted = loaded.infer(frame), expected(loaded.kind, frame)
    assert list(out) == list(wanted) == [tensor.name for tensor in loaded.bundle.manifest.models["side"].outputs]
    for name, values in wanted.items():
        assert np.abs(out[name] - values).max() < 1e-5


def test_a_mark_is_seen_and_its_place_is_right(loaded: Loaded) -> None:
    model = loaded.bundle.manifest.models["side"]
    marked, clean = (decode(model, loaded.infer(frame)) for frame in (picture(2, 1), picture(level=51)))
    assert marked["bright"] > 1.2 * clean["bright"]
    out = loaded.infer(picture(2, 1))
    if model.map or model.head == "mask":
        grid = out[model.map.name if model.map else model.output.name][0, 0]
        assert np.unravel_index(grid.argmax(), grid.shape) == (2, 1)


def test_the_same_frame_gives_the_same_bytes_a_thousand_times(loaded: Loaded) -> None:
    out = allocate(loaded.engine.outputs)
    frame, given = picture(), set()
    for _ in range(AGAIN):
        loaded.engine.infer(frame, out)
        given.add(b"".join(as_bytes(out).values()))
    assert len(given) == 1


def test_a_second_engine_of_the_same_bundle_gives_the_same_bytes(loaded: Loaded) -> None:
    other = BACKENDS[loaded.backend](loaded.bundle, "side")
    out = allocate(other.outputs)
    other.infer(picture(), out)
    other.close()
    assert as_bytes(out) == as_bytes(loaded.infer(picture()))


def test_a_call_keeps_no_memory(loaded: Loaded) -> None:
    out, frame = allocate(loaded.engine.outputs), picture()
    loaded.engine.infer(frame, out)
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(CALLS):  # what the interpreter keeps of code that runs often is there after these
            loaded.engine.infer(frame, out)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(CALLS):
            loaded.engine.infer(frame, out)
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < GROWTH_BYTES


def test_the_frame_is_not_changed_and_may_be_read_only(loaded: Loaded) -> None:
    frame = picture()
    frame.flags.writeable = False
    loaded.infer(frame)
    assert (frame == picture()).all()


def test_frames_do_not_leak_into_each_other(loaded: Loaded) -> None:
    out, black = allocate(loaded.engine.outputs), np.zeros((ROWS, COLUMNS), np.uint8)
    loaded.engine.infer(picture(), out)
    first = as_bytes(out)
    loaded.engine.infer(black, out)
    assert as_bytes(out) == as_bytes(loaded.infer(black)) != first
    loaded.engine.infer(picture(), out)
    assert as_bytes(out) == first


def test_keeping_warm_changes_no_answer(loaded: Loaded) -> None:
    out = loaded.infer(picture())
    kept = as_bytes(out)
    loaded.engine.keep_warm()
    assert as_bytes(out) == kept == as_bytes(loaded.infer(picture()))


def test_outputs_are_written_in_place(loaded: Loaded) -> None:
    out = allocate(loaded.engine.outputs)
    arrays = dict(out)
    assert all(np.isnan(array).all() for array in arrays.values())
    loaded.engine.infer(picture(), out)
    assert all(out[name] is array and np.isfinite(array).all() for name, array in arrays.items())


def test_specs_are_those_of_the_manifest(loaded: Loaded) -> None:
    model = loaded.bundle.manifest.models["side"]
    assert (list(loaded.engine.inputs), list(loaded.engine.outputs)) == ([model.input], list(model.outputs))


def test_it_says_what_runs_and_was_warmed(loaded: Loaded) -> None:
    info = loaded.engine.info
    assert info.onnx_sha256 == loaded.bundle.manifest.files["tiny.onnx"].sha256
    assert info.warmup_runs >= 20
    assert info.warmup_p50_ns > 0
    assert all((info.backend, info.version, info.device, info.precision))


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((ROWS, COLUMNS - 9), np.uint8),
        np.zeros((ROWS - 5, COLUMNS), np.uint8),
        np.zeros((ROWS, COLUMNS, 3), np.uint8),
        np.zeros((ROWS, COLUMNS), np.uint16),
    ],
)
def test_other_frames_are_refused_and_leave_no_scores(loaded: Loaded, frame: Frame) -> None:
    out = allocate(loaded.engine.outputs)
    loaded.engine.infer(picture(), out)
    with pytest.raises(FrameRefused):
        loaded.engine.infer(frame, out)
    assert all(np.isnan(array).all() for array in out.values())
    assert all(math.isnan(score) for score in decode(loaded.bundle.manifest.models["side"], out).values())
    assert as_bytes(loaded.infer(picture())) == as_bytes(loaded.infer(picture()))


def test_a_closed_engine_infers_nothing(loaded: Loaded) -> None:
    loaded.engine.close()
    out = allocate(loaded.engine.outputs)
    with pytest.raises(InferenceFailed, match="model tiny.onnx: the engine is closed; load the engine again"):
        loaded.engine.infer(picture(), out)
    assert all(np.isnan(array).all() for array in out.values())
    with pytest.raises(InferenceFailed, match="closed"):
        loaded.engine.keep_warm()


def test_timing_is_a_duration(loaded: Loaded) -> None:
    timing = loaded.engine.infer(picture(), allocate(loaded.engine.outputs))
    assert timing.preprocess_ns >= 0
    assert timing.inference_ns > 0


class Short(Aged):
    """A back end that forgets an output."""

    @property
    def results(self) -> Mapping[str, npt.NDArray[np.float32]]:
        return {}


class Tired(Aged):
    """A back end that fails in its second run."""

    def run(self) -> None:
        if self.runs:
            raise InferenceFailed("out of breath")
        super().run()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (Short, "model tiny.onnx: the session gives {}"),
        (Tired, "model tiny.onnx: out of breath; load the engine again"),
    ],
)
def test_a_back_end_that_does_not_fit_is_closed_and_refused(
    bundles: dict[str, VerifiedBundle], body: type[Aged], says: str
) -> None:
    session = body(bundles["logit"])
    with pytest.raises(ModelRefused) as caught:
        ModelEngine(bundles["logit"].manifest.models["side"], session, "0" * 64)
    assert str(caught.value).startswith(says) and "\n" not in str(caught.value)
    with pytest.raises(InferenceFailed, match="closed"):
        Aged.run(session)


@pytest.mark.parametrize("kind", KINDS)
def test_the_golden_set_that_numpy_wrote_holds(bundles: dict[str, VerifiedBundle], kind: str) -> None:
    assert [case.file for case in bundles[kind].manifest.golden.cases] == list(FILES)
    assert check_golden(bundles[kind]) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_unknown_model_is_refused_by_name(bundles: dict[str, VerifiedBundle], backend: str) -> None:
    with pytest.raises(ModelRefused, match="no model 'top' .it holds side."):
        BACKENDS[backend](bundles["logit"], "top")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_graph_the_backend_cannot_run_is_refused_in_one_line(tmp_path: Path, backend: str) -> None:
    proto = bundle_1.tiny_model()
    whole = [
        onnx.helper.make_node("Cast", ["both"], ["whole"], to=onnx.TensorProto.INT16),
        onnx.helper.make_node("Elu", ["whole"], ["elu"]),
        onnx.helper.make_node("Cast", ["elu"], ["floats"], to=onnx.TensorProto.FLOAT),
    ]
    proto.graph.node[5].input[0] = "floats"
    for number, node in enumerate(whole):
        proto.graph.node.insert(5 + number, node)
    bundle_1.make_bundle(tmp_path / "bundle", proto.SerializeToString())
    with pytest.raises(ModelRefused) as caught:
        BACKENDS[backend](opened(tmp_path / "bundle"), "side")
    assert "tiny.onnx" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_working_directory_cannot_change_a_model(
    tmp_path: Path, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights come from the verified bytes; a file beside the process does nothing."""
    wanted = as_bytes(loaded.infer(picture()))
    monkeypatch.chdir(tmp_path)
    for name in ("tiny.onnx", "tiny.onnx.data", "scale", "filters"):
        Path(name).write_bytes(os.urandom(64))
    engine = BACKENDS[loaded.backend](loaded.bundle, "side")
    out = allocate(engine.outputs)
    engine.infer(picture(), out)
    engine.close()
    assert as_bytes(out) == wanted
