"""NVIDIA's own parser and builder on the graphs we ship, for an SM80 GPU that need not be here.

What runs is tensorrt-rtx, whose wheel builds plans without a GPU or a driver. To load and execute them takes both:
tests/bench/gpu_check.py does that on a GPU machine.
"""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from demo.shipped import shipped
from engines.errors import BackendMissing, BuildFailed, DeviceFailed, ModelRefused
from engines.onnx_runtime import OnnxRuntimeSession
from engines.plan_file import BuildOptions
from engines.tensor_rt_api import LIBRARIES, Library, Log, load_library
from engines.tensor_rt_build import BuiltPlan, build_plan
from signing.manifest import Model
from tests.contract import tensor_rt_graphs as graphs

TARGET = "SM80"
OPTIONS = BuildOptions(workspace_mb=256)
MAGIC = b"vtrt"


@pytest.fixture(scope="module")
def library() -> Library:
    return graphs.rtx_library()


@pytest.fixture(scope="module")
def built(library: Library) -> dict[str, BuiltPlan]:
    """Every shipped graph by its path, built once."""
    return {graphs.shown(path): build(library, path.read_bytes()) for path in graphs.SHIPPED}


def build(library: Library, raw: bytes, target: str = TARGET, options: BuildOptions = OPTIONS) -> BuiltPlan:
    return build_plan(library, raw, graphs.declared(raw), options, target)


def raw_parse(library: Library, raw: bytes) -> bool:
    """What NVIDIA's parser says, without our admission."""
    network = library.builder().create_network(1 << int(library.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    return library.module.OnnxParser(network, library.log.logger).parse(raw)


def test_every_shipped_model_is_among_the_graphs_that_are_built() -> None:
    assert {one.graph for one in shipped()} <= {path.read_bytes() for path in graphs.SHIPPED}


@pytest.mark.parametrize("name", [graphs.shown(path) for path in graphs.SHIPPED])
def test_a_shipped_graph_parses_and_builds(built: dict[str, BuiltPlan], name: str) -> None:
    found = built[name]
    assert found.plan.startswith(MAGIC)
    weights = sum(len(tensor.raw_data) for tensor in onnx.load(graphs.ROOT / name).graph.initializer)
    assert len(found.plan) > weights
    assert found.layers > 0
    assert found.seconds > 0


def test_the_same_build_gives_the_same_bytes(library: Library, built: dict[str, BuiltPlan]) -> None:
    again = build(library, (graphs.ROOT / "demo/crimp.onnx").read_bytes())
    assert again.plan == built["demo/crimp.onnx"].plan


def test_tf32_is_off_unless_the_options_ask_for_it(library: Library) -> None:
    """By default the builder has it on: the plans differ, and ours is the one with the flag cleared."""
    raw = (graphs.ROOT / "demo/crimp.onnx").read_bytes()
    off, on = build(library, raw), build(library, raw, options=BuildOptions(workspace_mb=256, tf32=True))
    assert off.plan != on.plan


def test_a_graph_quantised_to_signed_symmetric_int8_builds(library: Library) -> None:
    assert build(library, graphs.quantized()).plan.startswith(MAGIC)


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (graphs.quantized(np.uint8, zero=0), "QuantizeLinear 'x_q' is of uint8"),
        (graphs.quantized(np.uint8, zero=128), "QuantizeLinear 'x_q' is of uint8"),
        (graphs.quantized(bias=True), "DequantizeLinear 'bias' is of int32"),
    ],
    ids=["unsigned", "asymmetric", "int32 bias"],
)
def test_what_ort_quantises_by_default_is_refused(library: Library, raw: bytes, named: str) -> None:
    with pytest.raises(ModelRefused, match=named) as caught:
        build(library, raw)
    assert "signed, symmetric int8" in str(caught.value)


def test_the_parser_itself_takes_uint8_for_int8(library: Library) -> None:
    """Why we refuse it: half the range is lost, and all that NVIDIA says of it is a warning."""
    assert raw_parse(library, graphs.quantized(np.uint8, zero=0))
    assert any("Defaulting to INT8 instead" in line for line in library.log.lines())


def test_a_detector_of_two_stages_is_refused_by_name(library: Library) -> None:
    with pytest.raises(ModelRefused, match="'NonZero'") as caught:
        build(library, graphs.two_stage())
    assert "anchor-free" in str(caught.value)


def test_what_the_parser_does_not_take_is_refused_in_its_words(library: Library) -> None:
    raw = graphs.dilated()
    session = OnnxRuntimeSession(graphs.declared(raw), raw)
    session.run()
    session.close()
    with pytest.raises(ModelRefused, match="tensorrt-rtx .* does not take it: MaxPool 'wide': .*dilations") as caught:
        build(library, raw)
    assert "choose the back end onnxruntime" in str(caught.value)


def test_external_data_never_reaches_the_parser(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a file of that name in the working directory NVIDIA's parser takes any weights; ours stops before it."""
    raw = graphs.EXTERNAL.read_bytes()
    (tensor,) = [found for found in onnx.ModelProto.FromString(raw).graph.initializer if found.external_data]
    (location,) = [entry.value for entry in tensor.external_data if entry.key == "location"]
    (tmp_path / location).write_bytes(bytes(4 * int(np.prod(tensor.dims))))
    monkeypatch.chdir(tmp_path)
    assert raw_parse(library, raw)
    library.log.clear()
    with pytest.raises(ModelRefused, match="outside the file"):
        build(library, raw)
    assert library.log.lines() == ()


def test_without_a_gpu_the_builder_fails_with_nvidias_own_line(library: Library) -> None:
    graphs.needs_no_gpu()
    with pytest.raises(BuildFailed, match="cudaError"):
        build(library, graphs.quantized(), target="CURRENT")


def test_a_target_nobody_knows_is_refused(library: Library) -> None:
    with pytest.raises(BuildFailed, match="does not build for SM1"):
        build(library, graphs.quantized(), target="SM1")


def test_other_tensors_than_declared_are_refused(library: Library) -> None:
    raw = graphs.quantized()
    model = graphs.declared(raw)
    wrong: Model = graphs.declared(raw.replace(b"scores", b"grades"))
    assert wrong.output.name != model.output.name
    with pytest.raises(ModelRefused, match="grades"):
        build_plan(library, raw, wrong, OPTIONS, TARGET)


def test_no_flag_is_ever_set_and_no_host_code_allowed() -> None:
    """VERSION_COMPATIBLE would put host code into a plan; FP16 and INT8 are gone in TensorRT 11."""
    trees = [ast.parse(path.read_bytes()) for path in sorted((graphs.ROOT / "engines").glob("*.py"))]
    attributes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    assert [node.attr for node in attributes if node.attr == "clear_flag"]
    assert [node.attr for node in attributes if node.attr == "set_flag"] == []
    allowing = [node for node in attributes if node.attr == "engine_host_code_allowed"]
    assert allowing
    assert all(isinstance(node.ctx, ast.Load) for node in allowing)


def test_a_constructor_that_gives_nothing_is_an_error_of_ours(library: Library) -> None:
    """TensorRT 10 answers so without a GPU. Here a logger that is none makes the real constructor do it."""
    broken = Log(library.module)
    broken.logger = object()
    dumb = replace(library, log=broken)
    for make in (dumb.builder, dumb.runtime):
        with pytest.raises(DeviceFailed, match="check the GPU and its driver"):
            make()


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_that_is_not_there_says_what_to_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engines.tensor_rt_api.LIBRARIES", {name: ("no_such_tensorrt",)})
    with pytest.raises(BackendMissing, match=f"^{name}: not installed .*choose the back end onnxruntime"):
        load_library.__wrapped__(name)


def test_type_stubs_alone_are_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without code is importable as a namespace; it must not count as installed."""
    (tmp_path / "tensorrt_stub_alone").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("engines.tensor_rt_api.LIBRARIES", {"tensorrt": ("tensorrt_stub_alone",)})
    with pytest.raises(BackendMissing, match="not installed"):
        load_library.__wrapped__("tensorrt")


def test_a_library_that_does_not_load_keeps_the_loaders_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shared object that is none, where the binding's would be."""
    (tmp_path / "tensorrt_broken.so").write_bytes(b"no ELF")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("engines.tensor_rt_api.LIBRARIES", {"tensorrt": ("tensorrt_broken",)})
    with pytest.raises(BackendMissing, match="does not load: .*tensorrt_broken.so"):
        load_library.__wrapped__("tensorrt")
