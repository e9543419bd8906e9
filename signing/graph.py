"""Which ONNX graphs may reach an engine. Works on bytes whose digest was checked.

Rules of this file:
  1. Every weight is inside these bytes. Engines read external data from their working directory, so a signature over
     the .onnx file alone would not cover the model.
  2. Only operators of `OPERATORS`, no subgraphs, no functions: the run time of a graph does not depend on the image.
  3. Shapes are static, inside too, and at the ends equal to what the signed manifest declares.
  4. Size of the file, count of nodes and memory of everything between them are bounded.
"""

from collections.abc import Iterable, Iterator, Sequence
from math import prod

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, shape_inference

from signing.errors import GraphRefused
from signing.manifest import Model, Tensor

MIN_OPSET = 13
MAX_OPSET = 21
MAX_GRAPH_BYTES = 512 << 20
MAX_NODES = 20_000
MAX_ACTIVATION_BYTES = 1 << 30
MOST_SIZES = 64
MOST_NUMBERS = 65_536

OPERATORS = frozenset(
    {
        "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Constant", "Conv", "ConvTranspose",
        "DequantizeLinear", "Div", "Dropout", "Elu", "Erf", "Exp", "Flatten", "Gather", "Gelu", "Gemm",
        "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization",
        "LayerNormalization", "LeakyRelu", "MatMul", "Max", "MaxPool", "Min", "Mul", "Neg", "Pad", "Pow",
        "QuantizeLinear", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Relu", "Reshape", "Resize", "Sigmoid",
        "Slice", "Softmax", "Softplus", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
# What takes the place of an operator that people's exporters like to write.
INSTEAD = dict.fromkeys(
    ("NonMaxSuppression", "NonZero", "RoiAlign", "TopK"),
    "it belongs to a detector of two stages or with suppression inside (Faster R-CNN), whose run time depends on the "
    "image: use an anchor-free detector with head 'boxes'; suppression is the device's",
)
_WHOLE = (TensorProto.INT32, TensorProto.INT64)
_EIGHT_BYTES = (TensorProto.INT64, TensorProto.DOUBLE)
_DTYPES: dict[str, int] = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}


def check_graph(raw: bytes, model: Model) -> None:
    """Accept the graph in `raw` as what `model` declares.

    Raises:
        GraphRefused: naming the file and the first thing that is not acceptable.
    """
    if len(raw) > MAX_GRAPH_BYTES:
        raise GraphRefused(f"{model.file}: {len(raw)} bytes, at most {MAX_GRAPH_BYTES} are loaded; make it smaller")
    try:
        proto = onnx.ModelProto.FromString(raw)
    except DecodeError as error:
        raise GraphRefused(f"{model.file}: not an ONNX model; export it again") from error
    for fault in _faults(proto, model):
        raise GraphRefused(f"{model.file}: {fault}; export the model again")


def _faults(proto: ModelProto, model: Model) -> Iterator[str]:
    yield from _domain_faults(proto)
    yield from _weight_faults(proto.graph)
    if len(proto.graph.node) > MAX_NODES:
        yield f"{len(proto.graph.node)} nodes, at most {MAX_NODES} are accepted"
    for number, node in enumerate(proto.graph.node):
        yield from (f"node {number} '{node.name}': {fault}" for fault in _node_faults(node))
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in weights]
    yield from _interface_faults("input", inputs, (model.input,))
    yield from _interface_faults("output", proto.graph.output, model.outputs)
    yield from _memory_faults(proto)


def _domain_faults(proto: ModelProto) -> Iterator[str]:
    for opset in proto.opset_import:
        if opset.domain not in ("", "ai.onnx"):
            yield f"operator domain '{opset.domain}' is not accepted"
        elif not MIN_OPSET <= opset.version <= MAX_OPSET:
            yield f"opset {opset.version} is outside {MIN_OPSET}..{MAX_OPSET}"
    if not proto.opset_import:
        yield "no opset is declared"
    if proto.functions:
        yield f"local function '{proto.functions[0].name}' is not accepted"
    if proto.training_info:
        yield "training information is not accepted"


def _weight_faults(graph: GraphProto) -> Iterator[str]:
    if graph.sparse_initializer:
        yield "sparse weights are not accepted"
    for tensor in graph.initializer:
        yield from _tensor_faults(tensor)


def _tensor_faults(tensor: TensorProto) -> Iterator[str]:
    if tensor.data_location != TensorProto.DEFAULT or tensor.external_data:
        yield f"tensor '{tensor.name}' keeps its data outside the file, where no signature covers it"


def _node_faults(node: NodeProto) -> Iterator[str]:
    if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
        instead = INSTEAD.get(node.op_type)
        hint = f" ({instead})" if instead else ""
        yield f"operator '{node.op_type}' is not on the list of accepted operators{hint}"
    if node.op_type == "Dropout" and any(node.input[2:]):
        yield "operator 'Dropout' may be told to train: its third input is chance at run time"
    parts = next((one.i for one in node.attribute if one.name == "num_outputs"), len(node.output))
    if node.op_type == "Split" and parts != len(node.output):
        yield f"operator 'Split' makes {parts} parts of which {len(node.output)} have a name"
    for attribute in node.attribute:
        yield from _attribute_faults(attribute)


def _attribute_faults(attribute: AttributeProto) -> Iterator[str]:
    if attribute.HasField("g") or attribute.graphs:
        yield f"attribute '{attribute.name}' holds a subgraph"
    if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
        yield f"attribute '{attribute.name}' holds a sparse tensor"
    if attribute.ref_attr_name:
        yield f"attribute '{attribute.name}' refers to a function"
    for tensor in (attribute.t, *attribute.tensors):
        yield from _tensor_faults(tensor)


def _interface_faults(side: str, values: Iterable[ValueInfoProto], declared: Sequence[Tensor]) -> Iterator[str]:
    found = [_describe(value) for value in values]
    wanted = [(tensor.name, _DTYPES[tensor.dtype], tensor.shape) for tensor in declared]
    if found != wanted:
        names = {number: name for name, number in _DTYPES.items()}
        shown = ", ".join(f"{name} {names.get(dtype, f'type {dtype}')} {list(shape)}" for name, dtype, shape in found)
        expected = ", ".join(f"{tensor.name} {tensor.dtype} {list(tensor.shape)}" for tensor in declared)
        yield f"{side} is [{shown}] and the manifest declares [{expected}] (0 stands for a size that is not static)"


def _describe(value: ValueInfoProto) -> tuple[str, int, tuple[int, ...]]:
    kind = value.type.tensor_type
    return value.name, kind.elem_type, tuple(dim.dim_value for dim in kind.shape.dim)


def _memory_faults(proto: ModelProto) -> Iterator[str]:
    """Infer what lies between the nodes; the sum is more than an engine needs at once."""
    bare = _without_weights(proto)
    try:
        for fault in _number_faults(shape_inference.infer_shapes(bare, strict_mode=True)):
            yield fault
            return
        inferred = shape_inference.infer_shapes(bare, strict_mode=True, data_prop=True)
    except (shape_inference.InferenceError, ValueError, RuntimeError, MemoryError) as error:
        yield f"its shapes cannot be inferred ({' '.join(str(error).split())[:200]})"
        return
    known = [*inferred.graph.value_info, *inferred.graph.output]
    shapes = {value.name: _describe(value)[2] for value in known if value.type.tensor_type.HasField("shape")}
    wide = {value.name for value in known if value.type.tensor_type.elem_type in _EIGHT_BYTES}
    written: dict[str, tuple[int, str]] = {}
    for number, node in enumerate(inferred.graph.node):
        place = f"node {number} '{node.name}' ({node.op_type})"
        for name in filter(None, node.output):
            shape = shapes.get(name)
            if shape is None or any(size < 1 for size in shape):
                yield f"{place}: the size of '{name}' is not static"
                return
            if name in written:
                yield f"{place}: '{name}' was written before, by {written[name][1]}"
            written[name] = (8 if name in wide else 4) * prod(shape), place
    total, (most, largest) = sum(size for size, _ in written.values()), max(written.values(), default=(0, ""))
    if total > MAX_ACTIVATION_BYTES:
        yield (
            f"its nodes write {total >> 20} MiB, at most {MAX_ACTIVATION_BYTES >> 20} MiB are accepted; "
            f"{largest} alone writes {most >> 20} MiB"
        )
    for name, _, declared in map(_describe, proto.graph.output):
        if (found := shapes.get(name)) != declared:
            yield f"output '{name}' is declared as {list(declared)} and comes out as {list(found or ())}"


def _number_faults(inferred: ModelProto) -> Iterator[str]:
    """What inference would work out number by number, as sizes may depend on it, and what makes it run away."""
    for value in inferred.graph.value_info:
        _, kind, shape = _describe(value)
        if kind in _WHOLE and prod(shape) > MOST_NUMBERS:
            yield f"'{value.name}' holds {prod(shape)} whole numbers, at most {MOST_NUMBERS} are accepted"


def _without_weights(proto: ModelProto) -> ModelProto:
    """Return the graph with its weights as shapes alone; numbers that are sizes stay. The ends have no shape."""
    graph = onnx.GraphProto(name=proto.graph.name, node=proto.graph.node)
    graph.input.extend(proto.graph.input)
    for value in proto.graph.output:  # without its shape, which is to be inferred and not believed
        graph.output.append(helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, None))
    for tensor in proto.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and prod(tensor.dims) > MOST_SIZES:
            graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        else:
            graph.initializer.append(tensor)
    return ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import, graph=graph)
