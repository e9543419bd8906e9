"""check_graph: a graph is its signed bytes and nothing else, and its run time does not depend on the image."""

from collections.abc import Callable

import onnx
import pytest
from onnx import TensorProto, helper

from signing.errors import GraphRefused
from signing.graph import check_graph
from signing.keyring import load_trust
from signing.manifest import Model
from signing.sealed import open_directory
from signing.verify import verify
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
    "nonzero": (_operator("NonZero"), "operator 'NonZero'"),
    "foreign domain": (_operator("Relu", "com.example"), "operator 'Relu' is not on the list"),
    "function": (_function, "local function 'Relu'"),
    "foreign opset": (_opset("com.microsoft", 1), "domain 'com.microsoft'"),
    "future opset": (_opset("", 99), "opset 99 is outside 13..21"),
    "no opset": (lambda proto: proto.ClearField("opset_import"), "no opset"),
    "dynamic shape": (_dynamic, "input is [image uint8 [0, 1, 8, 8]]"),
    "odd type": (_odd_type, "output is [scores type 12345 [1, 2]]"),
    "second input": (_second_input, "more float32 [1]"),
    "no output": (lambda proto: proto.graph.ClearField("output"), "output is []"),
    "training": (_training, "training information"),
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
