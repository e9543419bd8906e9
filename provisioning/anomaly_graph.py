"""The anomaly model as one graph: backbone, both kinds of distance, a heat map and the score, both in logits.

Every number in it is of a fit; the operators are those that every back end has. What is affine is multiplied out
beforehand: the standardisation of a kind of distance is one multiplication and one addition.
"""

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from provisioning.anomaly_calibration import Kind, Limit
from provisioning.anomaly_features import TAP, backbone
from provisioning.anomaly_memory import Array, Memory, Profile

SCORE, MAP = "score", "map"


class _Writer:
    """Appends nodes and weights to a graph; every method returns the name of its result."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph

    def constant(self, name: str, value: npt.ArrayLike) -> str:
        tensor = np.ascontiguousarray(value, np.int64 if name.endswith((".axes", ".shape")) else np.float32)
        self._graph.initializer.append(numpy_helper.from_array(tensor, name))
        return name

    def node(self, kind: str, output: str, *inputs: str, **attributes: int | list[int]) -> str:
        self._graph.node.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))  # type: ignore[arg-type]
        return output

    def conv(self, output: str, source: str, kernel: Array, bias: Array) -> str:
        """A convolution over single places: `kernel` (outputs, inputs)."""
        weights = self.constant(f"{output}.w", kernel[:, :, None, None])
        return self.node("Conv", output, source, weights, self.constant(f"{output}.b", bias), kernel_shape=[1, 1])


def anomaly_graph(
    size: tuple[int, int], memory: Memory, profile: Profile, kinds: tuple[Kind, Kind], limit: Limit
) -> bytes:
    """Return the model for an input uint8 [1, 1, *size]: `score` [1, 1] and `map` [1, 1, rows, columns], float32.

    Args:
        size: height and width in pixels, multiples of 8.
        kinds: of the memory's distances and of the profile's.
    """
    model = backbone(*size)
    graph = model.graph
    graph.name = "anomaly"
    rows, columns = (dimension.dim_value for dimension in graph.output[0].type.tensor_type.shape.dim[2:])
    del graph.output[:]
    writer = _Writer(graph)
    strange = _strange(writer, _memory(writer, memory, (rows, columns)), kinds[0], limit)
    misplaced = _misplaced(writer, _profile(writer, profile), kinds[1], limit)
    for output, index in ((SCORE, 0), (MAP, 1)):
        writer.node("Max", output, strange[index], misplaced[index])
    for name, shape in ((SCORE, [1, 1]), (MAP, [1, 1, rows, columns])):
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    del graph.value_info[:]
    model.producer_name = "linewarden model fit-anomaly"
    inferred = shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    return inferred.SerializeToString(deterministic=True)


def _memory(writer: _Writer, memory: Memory, size: tuple[int, int]) -> str:
    """|x - b| of the nearest b, by |x - b|^2 = |x|^2 - (2 x b - |b|^2)."""
    seen = writer.conv("seen", TAP, memory.project.T, memory.offset)
    squares = writer.node("Mul", "seen.squares", seen, seen)
    length = writer.node("ReduceSum", "seen.length", squares, writer.constant("seen.axes", [1]), keepdims=1)
    flat = writer.node("Reshape", "seen.flat", seen, writer.constant("flat.shape", [memory.bank.shape[1], -1]))
    bank = writer.constant("bank", 2.0 * memory.bank.T)
    less = writer.constant("bank.squares", -(memory.bank**2).sum(axis=1))
    likeness = writer.node("Gemm", "likeness", flat, bank, less, transA=1)
    best = writer.node("ReduceMax", "best", likeness, axes=[1], keepdims=0)
    nearest = writer.node("Reshape", "nearest", best, writer.constant("map.shape", [1, 1, *size]))
    apart = writer.node("Relu", "apart", writer.node("Sub", "apart.signed", length, nearest))
    return writer.node("Sqrt", "distance", apart)


def _profile(writer: _Writer, profile: Profile) -> str:
    rows = writer.node("ReduceMean", "rows", TAP, axes=[3], keepdims=1)
    mean = writer.constant("rows.usual", profile.mean.T[None, :, :, None])
    gain = writer.constant("rows.gain", 1.0 / profile.spread.T[None, :, :, None])
    off = writer.node("Mul", "off", writer.node("Sub", "off.centred", rows, mean), gain)
    return writer.node("ReduceMean", "off.mean", writer.node("Mul", "off.squares", off, off), axes=[1], keepdims=1)


def _strange(writer: _Writer, distances: str, kind: Kind, limit: Limit) -> tuple[str, str]:
    """Return score and map, in logits, of what is above the floor: together and in each place."""
    above = writer.node("Relu", "strange.above", _standardised(writer, "strange", distances, kind, kind.floor or 0.0))
    squares = writer.node("Mul", "strange.squares", above, above)
    axes = writer.constant("strange.axes", [2, 3])
    together = writer.node("Sqrt", "strange.peak", writer.node("ReduceSum", "strange.sum", squares, axes, keepdims=0))
    gain, shift = _affine(kind, limit)
    writer.constant("strange.slope", gain)
    writer.constant("strange.start", shift)
    score, places = (
        writer.node("Add", name, writer.node("Mul", f"{name}.scaled", source, "strange.slope"), "strange.start")
        for name, source in (("strange.score", together), ("strange.map", above))
    )
    return score, places


def _misplaced(writer: _Writer, distances: str, kind: Kind, limit: Limit) -> tuple[str, str]:
    """Return score and map, in logits, of the oddest row and of each: [1, 1, rows, 1], which Max spreads."""
    gain, shift = _affine(kind, limit)
    places = _standardised(writer, "misplaced", distances, kind, -shift / gain, gain)
    return writer.node("ReduceMax", "misplaced.score", places, axes=[2, 3], keepdims=0), places


def _affine(kind: Kind, limit: Limit) -> tuple[float, float]:
    """((peak - location) / scale - limit) * gain = peak * slope + start."""
    return limit.gain / kind.scale, -limit.gain * (kind.location / kind.scale + limit.at)


def _standardised(writer: _Writer, name: str, distances: str, kind: Kind, less: float, times: float = 1.0) -> str:
    """((distance - mean) / spread - less) * times at each place."""
    gain = times / kind.usual.spread.astype(np.float64)
    shift = -kind.usual.mean * gain - less * times
    scaled = writer.node("Mul", f"{name}.scaled", distances, writer.constant(f"{name}.gain", gain[None, None]))
    return writer.node("Add", f"{name}.standard", scaled, writer.constant(f"{name}.shift", shift[None, None]))
