"""What every body of `Engine` must do. One suite; a further backend adds its loader to `BACKENDS`."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from engines.engine import Engine, Frame, Outputs, allocate
from engines.errors import FrameRefused, InferenceFailed, ModelRefused
from engines.heads import decode
from engines.load import load
from signing.keyring import load_trust
from signing.sealed import open_directory
from signing.verify import VerifiedBundle, verify
from tests.vectors import bundle_1

BACKENDS: dict[str, Callable[[VerifiedBundle, str], Engine]] = {"onnxruntime": load}
ROWS, COLUMNS = 24, 32


def open_bundle(directory: Path) -> VerifiedBundle:
    with open_directory(directory) as fd:
        return verify(fd, load_trust(bundle_1.ROOT / "trust", production=False))


@pytest.fixture(scope="module")
def bundle() -> VerifiedBundle:
    return open_bundle(bundle_1.ROOT / "bundle")


@pytest.fixture(params=BACKENDS)
def engine(request: pytest.FixtureRequest, bundle: VerifiedBundle) -> Iterator[Engine]:
    engine = BACKENDS[request.param](bundle, "side")
    yield engine
    engine.close()


def picture() -> Frame:
    """A grey frame with one 2 x 2 white mark inside the region of interest and a white border outside it."""
    frame = np.full((ROWS, COLUMNS), 51, np.uint8)
    frame[:, :8] = 255
    frame[11:13, 15:17] = 255
    return frame


def scores(bundle: VerifiedBundle, engine: Engine, out: Outputs) -> dict[str, float]:
    return decode(bundle.manifest.models["side"], out)


def test_scores_are_those_of_the_region_of_interest(bundle: VerifiedBundle, engine: Engine) -> None:
    """The region is 16 x 16 and reduced to 8 x 8: the mark straddles four pixels and brightens each by a quarter."""
    out = allocate(engine.outputs)
    engine.infer(picture(), out)
    assert scores(bundle, engine, out) == pytest.approx({"bright": 102 / 255, "grey": (60 * 51 + 4 * 102) / 64 / 255})


def test_the_frame_is_not_changed_and_may_be_read_only(engine: Engine) -> None:
    frame = picture()
    frame.flags.writeable = False
    engine.infer(frame, allocate(engine.outputs))
    assert (frame == picture()).all()


def test_frames_do_not_leak_into_each_other(bundle: VerifiedBundle, engine: Engine) -> None:
    out = allocate(engine.outputs)
    engine.infer(picture(), out)
    first = scores(bundle, engine, out)
    engine.infer(np.zeros((ROWS, COLUMNS), np.uint8), out)
    assert scores(bundle, engine, out) == {"bright": 0.0, "grey": 0.0}
    engine.infer(picture(), out)
    assert scores(bundle, engine, out) == first


def test_outputs_are_written_in_place(engine: Engine) -> None:
    out = allocate(engine.outputs)
    arrays = dict(out)
    assert all(np.isnan(array).all() for array in arrays.values())
    engine.infer(picture(), out)
    assert all(out[name] is array and np.isfinite(array).all() for name, array in arrays.items())


def test_specs_are_those_of_the_manifest(bundle: VerifiedBundle, engine: Engine) -> None:
    model = bundle.manifest.models["side"]
    assert (list(engine.inputs), list(engine.outputs)) == ([model.input], [model.output])


def test_it_says_what_runs_and_was_warmed(bundle: VerifiedBundle, engine: Engine) -> None:
    assert engine.info.onnx_sha256 == bundle.manifest.files["tiny.onnx"].sha256
    assert engine.info.warmup_runs >= 20
    assert engine.info.warmup_p50_ns > 0


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((ROWS, COLUMNS - 9), np.uint8),
        np.zeros((ROWS - 5, COLUMNS), np.uint8),
        np.zeros((ROWS, COLUMNS, 3), np.uint8),
        np.zeros((ROWS, COLUMNS), np.uint16),
    ],
)
def test_other_frames_are_refused_and_leave_no_scores(engine: Engine, frame: Frame) -> None:
    out = allocate(engine.outputs)
    engine.infer(picture(), out)
    with pytest.raises(FrameRefused):
        engine.infer(frame, out)
    assert all(np.isnan(array).all() for array in out.values())


def test_a_closed_engine_infers_nothing(engine: Engine) -> None:
    engine.close()
    out = allocate(engine.outputs)
    with pytest.raises(InferenceFailed):
        engine.infer(picture(), out)
    assert all(np.isnan(array).all() for array in out.values())


def test_timing_is_a_duration(engine: Engine) -> None:
    timing = engine.infer(picture(), allocate(engine.outputs))
    assert timing.preprocess_ns >= 0
    assert timing.inference_ns > 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_unknown_model_is_refused_by_name(bundle: VerifiedBundle, backend: str) -> None:
    with pytest.raises(ModelRefused, match="no model 'top' .it holds side."):
        BACKENDS[backend](bundle, "top")


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
        BACKENDS[backend](open_bundle(tmp_path / "bundle"), "side")
    assert "tiny.onnx" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_working_directory_cannot_change_a_model(
    tmp_path: Path, bundle: VerifiedBundle, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights come from the verified bytes; a file beside the process does nothing."""
    monkeypatch.chdir(tmp_path)
    for name in ("tiny.onnx", "tiny.onnx.data", "scale"):
        Path(name).write_bytes(os.urandom(64))
    engine = BACKENDS[backend](bundle, "side")
    out = allocate(engine.outputs)
    engine.infer(picture(), out)
    engine.close()
    assert decode(bundle.manifest.models["side"], out)["bright"] == pytest.approx(102 / 255)
