"""Two engines on the same frames: the differences are the ones that were put in."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from engines.equivalence import compare, differences
from engines.model_engine import ModelEngine
from engines.onnx_runtime import OnnxRuntimeSession
from signing.manifest import Model, Preprocessing, Region, Tensor

SIDE = 4
MODEL = Model(
    file="mean.onnx",
    input=Tensor("image", "uint8", (1, 1, SIDE, SIDE)),
    output=Tensor("scores", "float32", (1, 1)),
    head="probability",
    classes=("bright",),
    preprocessing=Preprocessing(Region(0, 0, SIDE, SIDE), SIDE, SIDE, "area"),
)
FRAMES = [("dark", np.full((SIDE, SIDE), 64, np.uint8)), ("light", np.full((SIDE, SIDE), 128, np.uint8))]


def mean(factor: float) -> ModelEngine:
    """An engine whose score is the mean of the image times `factor`."""
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "factor"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, list(MODEL.input.shape))],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 1])],
        [helper.make_tensor("factor", TensorProto.FLOAT, [1], [factor])],
    )
    raw = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    return ModelEngine(MODEL, OnnxRuntimeSession(MODEL, raw), "0" * 64)


def test_an_engine_is_no_distance_from_itself() -> None:
    found = compare(mean(0.5), mean(0.5), FRAMES, "mean")
    assert [(row.file, row.model, row.worst_absolute, row.worst_relative) for row in found] == [
        ("dark", "mean", 0.0, 0.0),
        ("light", "mean", 0.0, 0.0),
    ]


def test_the_difference_is_the_one_that_was_put_in() -> None:
    found = compare(mean(0.5), mean(0.75), FRAMES, "mean")
    assert [row.worst_absolute for row in found] == [16.0, 32.0]
    assert [row.worst_relative for row in found] == [0.5, 0.5]


def test_the_worst_of_all_outputs_counts() -> None:
    expected = {"scores": np.array([[1.0, 2.0]], np.float32), "map": np.zeros((1, 1, 2, 2), np.float32)}
    found = {name: array.copy() for name, array in expected.items()}
    found["scores"][0, 0] = 1.5
    assert differences(expected, found) == (0.5, 0.5)
    found["map"][0, 0, 1, 1] = 2.0
    assert differences(expected, found) == (2.0, 2.0)


def test_large_numbers_do_not_stand_for_small_ones() -> None:
    """A box of 500 pixels whose score went from 0.95 to 0 is far off, and so is a small number of another output."""
    expected = {"boxes": np.array([[[10.0, 10.0, 500.0, 400.0, 0.95, 1.0]]], np.float32)}
    found = {"boxes": np.array([[[10.0, 10.0, 500.5, 400.0, 0.0, 1.0]]], np.float32)}
    assert differences(expected, found) == (pytest.approx(0.95), pytest.approx(0.95))
    found["boxes"][0, 0, 4] = 0.95
    assert differences(expected, found) == (pytest.approx(0.5), pytest.approx(0.001))


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("side", [0, 1])
def test_what_is_no_number_is_infinitely_far(wrong: float, side: int) -> None:
    outputs = [{"scores": np.ones((1, 2), np.float32)} for _ in range(2)]
    outputs[side]["scores"][0, 1] = wrong
    assert differences(*outputs) == (float("inf"), float("inf"))
    assert differences(outputs[side], outputs[side]) == (float("inf"), float("inf"))
