"""Which ONNX graphs may reach an engine. Works on bytes whose digest was checked.

Rules of this file:
  1. Every weight is inside these bytes. Engines read external data from their working directory, so a signature over
     the .onnx file alone would not cover the model.
  2. Only operators of `OPERATORS`, no subgraphs, no functions: the run time of a graph does not depend on the image.
  3. Shapes are static and equal to what the signed manifest declares.
"""

from collections.abc import Iterable, Iterator

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from signing.errors import GraphRefused
from signing.manifest import Model, Tensor

MIN_OPSET = 13
MAX_OPSET = 21

OPERATORS = frozenset(
    {
        "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Constant", "Conv", "DequantizeLinear",
        "Div", "Dropout", "Elu", "Erf", "Exp", "Flatten", "Gather", "Gelu", "Gemm", "GlobalAveragePool",
        "GlobalMaxPool", "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization", "LayerNormalization",
        "LeakyRelu", "MatMul", "Max", "MaxPool", "Min", "Mul", "Neg", "Pad", "Pow", "QuantizeLinear", "ReduceMax",
        "ReduceMean", "ReduceSum", "Relu", "Reshape", "Sigmoid", "Slice", "Softmax", "Softplus", "Split", "Sqrt",
        "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
_DTYPES: dict[str, int] = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}


def check_graph(raw: bytes, model: Model) -> None:
    """Accept the graph in `raw` as what `model` declares.

    Raises:
        GraphRefused: naming the file and the first thing that is not acceptable.
    """
    try:
        proto = onnx.ModelProto.FromString(raw)
    except DecodeError as error:
        raise GraphRefused(f"{model.file}: not an ONNX model; export it again") from error
    for fault in _faults(proto, model):
        raise GraphRefused(f"{model.file}: {fault}; export the model again")


def _faults(proto: ModelProto, model: Model) -> Iterator[str]:
    yield from _domain_faults(proto)
    yield from _weight_faults(proto.graph)
    for node in proto.graph.node:
        yield from _node_faults(node)
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in weights]
    yield from _interface_faults("input", inputs, model.input)
    yield from _interface_faults("output", proto.graph.output, model.output)


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
        yield f"operator '{node.op_type}' is not on the list of accepted operators"
    if node.op_type == "Dropout" and any(node.input[2:]):
        yield "operator 'Dropout' may be told to train: its third input is chance at run time"
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


def _interface_faults(side: str, values: Iterable[ValueInfoProto], declared: Tensor) -> Iterator[str]:
    found = [_describe(value) for value in values]
    wanted = (declared.name, _DTYPES[declared.dtype], declared.shape)
    if found != [wanted]:
        names = {number: name for name, number in _DTYPES.items()}
        shown = ", ".join(f"{name} {names.get(dtype, f'type {dtype}')} {list(shape)}" for name, dtype, shape in found)
        expected = f"{declared.name} {declared.dtype} {list(declared.shape)}"
        yield f"{side} is [{shown}] and the manifest declares [{expected}] (0 stands for a size that is not static)"


def _describe(value: ValueInfoProto) -> tuple[str, int, tuple[int, ...]]:
    kind = value.type.tensor_type
    return value.name, kind.elem_type, tuple(dim.dim_value for dim in kind.shape.dim)
