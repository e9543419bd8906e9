"""check_graph: a graph is its signed bytes and nothing else, and its run time does not depend on the image."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from msgspec.structs import replace
from onnx import TensorProto, helper, numpy_helper

from signing.errors import DocumentInvalid, GraphRefused
from signing.graph import INSTEAD, MAX_GRAPH_BYTES, MAX_NODES, MAX_OPSET, MIN_OPSET, OPERATORS, check_graph
from signing.keyring import load_trust
from signing.manifest import MAX_BOXES, MAX_MAP_CELLS, Model, Tensor, read_bundle_manifest
from signing.sealed import open_directory
from signing.verify import verify
from tests.contract import engine_models
from tests.contract.engine_models import FILES, KINDS
from tests.vectors import bundle_1


@pytest.fixture(scope="module")
def model() -> Model:
    with open_directory(bundle_1.ROOT / "bundle") as fd:
        return verify(fd, load_trust(bundle_1.ROOT / "trust", production=False)).manifest.models["side"]


def _external(tensor: TensorProto) -> TensorProto:
    tensor.data_location = TensorProto.EXTERNAL
    return tensor


def _hidden_location(proto: onnx.ModelProto) -> None:
    """Location left at DEFAULT, external_data filled all the same."""
    entry = proto.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "weights"


def _constant(proto: onnx.ModelProto) -> None:
    tensor = _external(helper.make_tensor("inner", TensorProto.FLOAT, [1], [1.0]))
    proto.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def _tensor_list(proto: onnx.ModelProto) -> None:
    tensor = _external(helper.make_tensor("listed", TensorProto.FLOAT, [1], [1.0]))
    attribute = proto.graph.node[0].attribute.add()
    attribute.name, attribute.type = "many", onnx.AttributeProto.TENSORS
    attribute.tensors.append(tensor)


def _subgraph(proto: onnx.ModelProto) -> None:
    """A subgraph in an operator that is on the list."""
    attribute = proto.graph.node[0].attribute.add()
    attribute.name, attribute.type = "body", onnx.AttributeProto.GRAPH
    attribute.g.CopyFrom(helper.make_graph([], "inner", [], []))


def _sparse(proto: onnx.ModelProto) -> None:
    values = helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))


def _sparse_attribute(proto: onnx.ModelProto) -> None:
    values = helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    attribute = proto.graph.node[0].attribute.add()
    attribute.name, attribute.type = "s", onnx.AttributeProto.SPARSE_TENSOR
    attribute.sparse_tensor.CopyFrom(helper.make_sparse_tensor(values, indices, [4]))


def _operator(name: str, domain: str = "") -> Callable[[onnx.ModelProto], None]:
    return lambda proto: proto.graph.node.append(helper.make_node(name, ["image"], ["other"], domain=domain))


def _function(proto: onnx.ModelProto) -> None:
    proto.functions.append(helper.make_function("own", "Relu", ["x"], ["y"], [], [helper.make_opsetid("", 17)]))


def _opset(domain: str, version: int) -> Callable[[onnx.ModelProto], None]:
    return lambda proto: proto.opset_import.append(helper.make_opsetid(domain, version))


def _dynamic(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


def _odd_type(proto: onnx.ModelProto) -> None:
    proto.graph.output[0].type.tensor_type.elem_type = 12345


def _second_input(proto: onnx.ModelProto) -> None:
    proto.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def _training(proto: onnx.ModelProto) -> None:
    proto.training_info.add()


def _dropout(proto: onnx.ModelProto) -> None:
    proto.graph.node.append(helper.make_node("Dropout", ["image", "", "always"], ["other"]))


def _branches(name: str, *attributes: str) -> Callable[[onnx.ModelProto], None]:
    """Real control flow: each attribute holds a graph of its own."""

    def change(proto: onnx.ModelProto) -> None:
        value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])
        inner = helper.make_graph(
            [helper.make_node("Constant", [], ["y"], value_floats=[0.0, 1.0])], "inner", [], [value]
        )
        node = helper.make_node(name, ["both"], ["z"], "branch")
        node.attribute.extend(helper.make_attribute(attribute, inner) for attribute in attributes)
        proto.graph.node.append(node)

    return change


def _opset_alone(version: int) -> Callable[[onnx.ModelProto], None]:
    def change(proto: onnx.ModelProto) -> None:
        proto.opset_import[0].version = version

    return change


def _data_shape(proto: onnx.ModelProto) -> None:
    """The brightest pixel says how many rows something inside has."""
    sizes = {"one": [1], "rest": [1, 1]}
    proto.graph.initializer.extend(numpy_helper.from_array(np.array(v, np.int64), n) for n, v in sizes.items())
    proto.graph.node.extend(
        [
            helper.make_node("Cast", ["largest"], ["whole"], "whole", to=TensorProto.INT64),
            helper.make_node("Reshape", ["whole", "one"], ["rows"], "rows"),
            helper.make_node("Concat", ["rest", "rows"], ["size"], "size", axis=0),
            helper.make_node("Reshape", ["pixels", "size"], ["odd"], "odd"),
        ]
    )


def _huge(proto: onnx.ModelProto) -> None:
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 20_000, 20_000], np.int64), "huge"))
    node = helper.make_node("Resize", ["grey", "", "", "huge"], ["enlarged"], "enlarge", mode="nearest")
    proto.graph.node.append(node)


def _less_than_nothing(proto: onnx.ModelProto) -> None:
    """A filter that is larger than its image: sizes below zero, which would make room for others in a sum."""
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 1, 1, 11), np.float32), "wide"))
    proto.graph.node.append(helper.make_node("Conv", ["grey", "wide"], ["thin"], "thin"))


def _end_from_pixels(proto: onnx.ModelProto) -> None:
    """The last node writes as much as the brightest pixel says; the graph declares the wanted size."""
    _data_shape(proto)
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "single"))
    del proto.graph.node[8:]
    proto.graph.node[5].CopyFrom(helper.make_node("Concat", ["single", "rows"], ["size"], "size", axis=0))
    nodes = [proto.graph.node[number] for number in (0, 1, 2, 3, 4, 6, 7, 5)]
    last = helper.make_node("Reshape", ["both", "size"], ["scores"], "last")
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in (*nodes, last)]
    del proto.graph.node[:]
    proto.graph.node.extend(kept)


def _twice(proto: onnx.ModelProto) -> None:
    proto.graph.node.append(helper.make_node("Relu", ["pixels"], ["grey"], "again"))


def _second_output(proto: onnx.ModelProto) -> None:
    proto.graph.output.append(helper.make_tensor_value_info("grey", TensorProto.FLOAT, [1, 1, 8, 8]))


def _unknown_name(proto: onnx.ModelProto) -> None:
    proto.graph.node.append(helper.make_node("Relu", ["nobody"], ["other"], "orphan"))


def _too_large(proto: onnx.ModelProto) -> None:
    """What the end says is not what comes out."""
    proto.graph.node[5].input[1] = "other"
    proto.graph.initializer.append(numpy_helper.from_array(np.array([2, 1], np.int64), "other"))


REFUSED: dict[str, tuple[Callable[[onnx.ModelProto], object], str]] = {
    "external weights": (lambda proto: _external(proto.graph.initializer[0]), "'scale' keeps its data outside"),
    "hidden location": (_hidden_location, "'scale' keeps its data outside"),
    "external constant": (_constant, "'inner' keeps its data outside"),
    "external tensor list": (_tensor_list, "'listed' keeps its data outside"),
    "subgraph": (_subgraph, "attribute 'body' holds a subgraph"),
    "sparse weights": (_sparse, "sparse weights"),
    "sparse attribute": (_sparse_attribute, "sparse tensor"),
    "loop": (_operator("Loop"), "operator 'Loop' is not on the list"),
    "if": (_operator("If"), "operator 'If'"),
    "if with branches": (_branches("If", "then_branch", "else_branch"), "node 6 'branch': operator 'If' is not on"),
    "loop with a body": (_branches("Loop", "body"), "node 6 'branch': operator 'Loop' is not on the list"),
    "nonzero": (_operator("NonZero"), "operator 'NonZero'"),
    "foreign domain": (_operator("Relu", "com.example"), "operator 'Relu' is not on the list"),
    "function": (_function, "local function 'Relu'"),
    "foreign opset": (_opset("com.microsoft", 1), "domain 'com.microsoft'"),
    "future opset": (_opset("", 99), "opset 99 is outside 13..21"),
    "old opset": (_opset_alone(MIN_OPSET - 1), "opset 12 is outside 13..21"),
    "next opset": (_opset_alone(MAX_OPSET + 1), "opset 22 is outside 13..21"),
    "no opset": (lambda proto: proto.ClearField("opset_import"), "no opset"),
    "dynamic shape": (_dynamic, "input is [image uint8 [0, 1, 8, 8]]"),
    "odd type": (_odd_type, "output is [scores type 12345 [1, 2]]"),
    "second input": (_second_input, "more float32 [1]"),
    "no output": (lambda proto: proto.graph.ClearField("output"), "output is []"),
    "training": (_training, "training information"),
    "second output": (_second_output, "output is [scores float32 [1, 2], grey float32 [1, 1, 8, 8]]"),
    "shape from pixels": (_data_shape, "node 9 'odd' (Reshape): the size of 'odd' is not static"),
    "sizes below zero": (_less_than_nothing, "node 6 'thin' (Conv): the size of 'thin' is not static"),
    "end from pixels": (_end_from_pixels, "node 8 'last' (Reshape): the size of 'scores' is not static"),
    "written twice": (_twice, "node 6 'again' (Relu): 'grey' was written before, by node 1 ''"),
    "too much memory": (_huge, "1024 MiB are accepted; node 6 'enlarge' (Resize) alone writes 1525 MiB"),
    "unknown name": (
        _unknown_name,
        "its shapes cannot be inferred ([ShapeInferenceError] Inference error(s): (op_type:Relu, node name: orphan)",
    ),
    "another end": (_too_large, "output 'scores' is declared as [1, 2] and comes out as [2, 1]"),
    "dropout that trains": (_dropout, "'Dropout' may be told to train"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_graphs(model: Model, name: str) -> None:
    change, text = REFUSED[name]
    proto = bundle_1.tiny_model()
    change(proto)
    with pytest.raises(GraphRefused) as caught:
        check_graph(proto.SerializeToString(), model)
    assert text in str(caught.value)
    assert "tiny.onnx" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("raw", [b"", b"\xff" * 40, b"not a model"])
def test_what_is_no_model_is_refused(model: Model, raw: bytes) -> None:
    with pytest.raises(GraphRefused):
        check_graph(raw, model)


def test_the_unchanged_graph_is_accepted(model: Model) -> None:
    check_graph(bundle_1.tiny_model().SerializeToString(), model)


@pytest.mark.parametrize("kind", KINDS)
def test_the_graph_of_every_head_is_accepted(kind: str) -> None:
    check_graph(engine_models.graph(kind).SerializeToString(), engine_models.model(kind))


@pytest.mark.parametrize("name", INSTEAD)
def test_what_a_detector_of_two_stages_needs_is_refused_with_what_to_use_instead(model: Model, name: str) -> None:
    proto = bundle_1.tiny_model()
    proto.graph.node.append(helper.make_node(name, ["grey"], ["found"], "/roi_heads/nms"))
    with pytest.raises(GraphRefused) as caught:
        check_graph(proto.SerializeToString(), model)
    said = str(caught.value)
    assert said.startswith(f"tiny.onnx: node 6 '/roi_heads/nms': operator '{name}' is not on the list")
    assert "Faster R-CNN" in said and "use an anchor-free detector with head 'boxes'" in said and "\n" not in said
    assert name not in OPERATORS


@pytest.mark.parametrize("version", range(MIN_OPSET, MAX_OPSET + 1))
def test_every_opset_of_the_range_is_accepted(model: Model, version: int) -> None:
    proto = bundle_1.tiny_model()
    _opset_alone(version)(proto)
    check_graph(proto.SerializeToString(), model)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("constant", ["sizes", "scales"])
def test_resize_to_a_constant_size_is_accepted(model: Model, mode: str, constant: str) -> None:
    proto = bundle_1.tiny_model()
    values = np.array([1, 1, 16, 16], np.int64) if constant == "sizes" else np.array([1, 1, 2, 2], np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(values, "to"))
    ends = ["grey", "", "", "to"] if constant == "sizes" else ["grey", "", "to"]
    proto.graph.node.append(helper.make_node("Resize", ends, ["larger"], "larger", mode=mode))
    check_graph(proto.SerializeToString(), model)


def test_too_many_nodes_are_refused(model: Model) -> None:
    proto = bundle_1.tiny_model()
    same = helper.make_node("Identity", ["grey"], ["same"])
    proto.graph.node.extend([same] * MAX_NODES)
    with pytest.raises(GraphRefused, match=f"tiny.onnx: {MAX_NODES + 6} nodes, at most {MAX_NODES} are accepted"):
        check_graph(proto.SerializeToString(), model)


def test_too_large_a_file_is_refused_unread(model: Model) -> None:
    with pytest.raises(GraphRefused, match=f"tiny.onnx: {MAX_GRAPH_BYTES + 1} bytes, at most {MAX_GRAPH_BYTES}"):
        check_graph(bytes(MAX_GRAPH_BYTES + 1), model)


MAP = Tensor("map", "float32", (1, 2, 4, 4))


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        (None, "output is [scores float32 [1, 2], map float32 [1, 2, 4, 4]] and the manifest declares [scores"),
        (replace(MAP, shape=(1, 1, 4, 4)), "declares [scores float32 [1, 2], map float32 [1, 1, 4, 4]]"),
        (replace(MAP, name="heat"), "declares [scores float32 [1, 2], heat float32 [1, 2, 4, 4]]"),
    ],
)
def test_the_second_output_is_the_declared_map_or_refused(declared: Tensor | None, says: str) -> None:
    declaring = replace(engine_models.model("logit"), map=declared)
    with pytest.raises(GraphRefused) as caught:
        check_graph(engine_models.graph("logit").SerializeToString(), declaring)
    assert says in str(caught.value)


def test_a_declared_map_that_the_graph_does_not_give_is_refused() -> None:
    proto = engine_models.graph("logit")
    del proto.graph.output[1]
    with pytest.raises(GraphRefused, match="output is .scores float32 .1, 2..* declares .scores .* map"):
        check_graph(proto.SerializeToString(), engine_models.model("logit"))


def read(kind: str, golden: dict[str, Any], **changes: Any) -> Model:
    """What the device reads of a manifest whose only model and first golden case are changed."""
    said = engine_models.bundle_description(kind)
    said["models"]["side"] |= changes
    case = {name: golden.pop(name) for name in list(golden) if name == "raw"}
    said["golden"]["cases"][0] |= case
    said["golden"] |= golden
    names = ["tiny.onnx", "sbom.cdx.json", *FILES, "golden.f32", "golden-1.f32"]
    files = {name: {"sha256": "0" * 64, "size": 1} for name in names}
    document = {"document": "bundle", "format": 1, **said, "files": files}
    return read_bundle_manifest(json.dumps(document).encode(), "bundle.json").models["side"]


def tensor(*shape: int, dtype: str = "float32") -> dict[str, Any]:
    return {"name": "map", "dtype": dtype, "shape": shape}


def scores(*shape: int) -> dict[str, Any]:
    return {**tensor(*shape), "name": "scores"}


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("logit", {"map": tensor(1, 1, 4, 4)}),
        ("logit", {"map": tensor(1, 2, 40, MAX_MAP_CELLS // 40)}),
        ("probability", {"map": tensor(1, 2, 1, 1)}),
        ("boxes", {"output": scores(1, MAX_BOXES, 7), "overlap": 0.0}),
        ("boxes", {"output": scores(1, 1, 7), "overlap": 1.0}),
        ("mask", {"cells": 16}),
        ("mask", {"map": tensor(1, 2, 4, 4)}),
    ],
)
def test_outputs_of_every_head(kind: str, changes: dict[str, Any]) -> None:
    found = read(kind, {}, **changes)
    assert found.head == kind and (found.map is None) == ("map" not in changes and kind != "logit")


@pytest.mark.parametrize(
    ("kind", "changes", "says"),
    [
        ("logit", {"map": tensor(1, 3, 4, 4)}, "map must be of shape [1, 1 or 2, h, w] with h * w of at most 4000"),
        ("logit", {"map": tensor(1, 2, 1, MAX_MAP_CELLS + 1)}, "map must be of shape"),
        ("logit", {"map": tensor(1, 2, 4)}, "map must be of shape"),
        ("logit", {"map": tensor(2, 2, 4, 4)}, "map must be of shape"),
        ("logit", {"map": tensor(1, 2, 4, 4, dtype="uint8")}, "outputs must be float32"),
        ("logit", {"output": scores(1, 3)}, "output must be float32 of shape [1, 2], one value per class"),
        ("boxes", {"output": scores(1, 16, 6)}, "output must be of shape [1, N, 7] with N of at most 8400"),
        ("boxes", {"output": scores(1, MAX_BOXES + 1, 7)}, "output must be of shape [1, N, 7]"),
        ("boxes", {"output": scores(16, 7)}, "output must be of shape [1, N, 7]"),
        ("mask", {"map": scores(1, 2, 4, 4)}, "input, output and map must have names of their own"),
        ("boxes", {"overlap": 1.1}, "overlap"),
        ("mask", {"output": scores(1, 3, 4, 4)}, "output must be of shape [1, 2, h, w]"),
        ("mask", {"cells": 17}, "with h * w of at least 'cells'"),
        ("mask", {"cells": 0}, "cells"),
        ("mask", {"cells": MAX_MAP_CELLS + 1}, "cells"),
    ],
)
def test_outputs_that_no_head_has_are_refused(kind: str, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DocumentInvalid) as caught:
        read(kind, {}, **changes)
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("golden", "says"),
    [
        ({"raw": "golden.bin"}, "golden case 0: raw 'golden.bin' is not an .f32 file that is listed under files"),
        ({"raw": "golden.png"}, "raw 'golden.png' is not an .f32 file"),
        ({"raw": "other.f32"}, "raw 'other.f32' is not an .f32 file that is listed"),
        ({"raw_tolerance": 0.0}, "raw_tolerance"),
        ({"raw_tolerance": 0.2}, "raw_tolerance"),
    ],
)
def test_raw_numbers_are_a_listed_file_with_a_small_tolerance(golden: dict[str, Any], says: str) -> None:
    with pytest.raises(DocumentInvalid) as caught:
        read("logit", golden)
    assert says in str(caught.value)
