"""Admission of graphs that would make shape inference itself run away."""

import resource

import onnx
import pytest

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


def test_whole_numbers_that_double_are_refused_before_they_are_worked_out(model: Model) -> None:
    """Twenty-two doublings of a list of sizes took inference 3 s and 1.3 GiB, forty took all memory."""
    proto = bundle_1.tiny_model()
    proto.graph.initializer.append(onnx.helper.make_tensor("numbers.0", onnx.TensorProto.INT64, [4], [1, 1, 1, 1]))
    for turn in range(22):
        twice = [f"numbers.{turn}"] * 2
        proto.graph.node.append(onnx.helper.make_node("Concat", twice, [f"numbers.{turn + 1}"], axis=0))
    began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(GraphRefused, match="whole numbers, at most 65536"):
        check_graph(proto.SerializeToString(), model)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - began < 200_000


def test_a_split_into_other_parts_than_it_has_outputs_is_refused(model: Model) -> None:
    proto = bundle_1.tiny_model()
    proto.opset_import[0].version = 18
    split = onnx.helper.make_node("Split", ["both"], ["one", "two"], axis=1, num_outputs=2_000_000_000, name="parts")
    proto.graph.node.append(split)
    with pytest.raises(GraphRefused, match="'parts'"):
        check_graph(proto.SerializeToString(), model)
