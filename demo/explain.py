"""Adds the heat map to an exported demo classifier: `python -m demo.explain` (once; demo/train.py does it at export).

Second output `map`, [1, classes, rows, columns] at 1/16 of the input: what each place adds to the logit of each class.
Two parts of the net speak of places, and both are taken as the head weighs them: the mean over each cell of the grid
(class activation, Zhou et al. 2016, cell by cell), and for local defects the map that was trained on their positions.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from demo.spec import FOLDER, load_spec

POOLED, WHERE, HEAD, SELECT = (
    "/net/cells/AveragePool_output_0",
    "/net/where/Conv_output_0",
    "net.head.weight",
    "net.select",
)
MAP = "map"


def with_map(model: ModelProto) -> ModelProto:
    """Return the exported net (demo.network.Scorer) with its heat map as second output."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in inferred.value_info}
    _, channels, down, across = shapes[POOLED]
    rows, columns = shapes[WHERE][2:]
    head, select = _weight(model, HEAD), _weight(model, SELECT)
    classes = len(head)
    cells = head[:, : channels * down * across].reshape(1, classes, channels, down, across)
    local = np.ascontiguousarray(select.T)[:, :, None, None]
    sizes = np.array([1, classes, rows, columns], np.int64)
    made = {"map.cells": cells, "map.local": local, "map.sizes": sizes, "map.over": np.array([2], np.int64)}
    made["map.first"] = np.array([1], np.int64)
    changed = ModelProto()
    changed.CopyFrom(model)
    changed.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in made.items())
    changed.graph.node.extend(_nodes())
    changed.graph.output.append(helper.make_tensor_value_info(MAP, TensorProto.FLOAT, sizes.tolist()))
    onnx.checker.check_model(changed, full_check=True)
    return changed


def map_shape(file: Path) -> list[int]:
    """Return the shape of the heat map of a model."""
    output = next(output for output in onnx.load(file).graph.output if output.name == MAP)
    return [dim.dim_value for dim in output.type.tensor_type.shape.dim]


def _nodes() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Unsqueeze", [POOLED, "map.first"], ["map.pooled"], "map.pooled"),
        helper.make_node("Mul", ["map.pooled", "map.cells"], ["map.weighed"], "map.weighed"),
        helper.make_node("ReduceSum", ["map.weighed", "map.over"], ["map.coarse"], "map.coarse", keepdims=0),
        helper.make_node(
            "Resize", ["map.coarse", "", "", "map.sizes"], ["map.fine"], "map.fine",
            mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        ),
        helper.make_node("Relu", [WHERE], ["map.seen"], "map.seen"),
        helper.make_node("Conv", ["map.seen", "map.local"], ["map.places"], "map.places"),
        helper.make_node("Add", ["map.fine", "map.places"], [MAP], "map"),
    ]  # fmt: skip


def _weight(model: ModelProto, name: str) -> npt.NDArray[np.float32]:
    return numpy_helper.to_array(next(tensor for tensor in model.graph.initializer if tensor.name == name))


def main() -> None:
    for model in load_spec().views.values():
        proto = onnx.load(FOLDER / model.file)
        if MAP not in [output.name for output in proto.graph.output]:
            (FOLDER / model.file).write_bytes(with_map(proto).SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
