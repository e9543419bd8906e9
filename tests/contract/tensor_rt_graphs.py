"""What the TensorRT tests share: small graphs, the manifest's model for any graph, the one real library."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from engines.errors import BackendMissing
from engines.tensor_rt_api import Library, load_library
from signing.manifest import Model, Preprocessing, Region, Tensor

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted(
    {
        *ROOT.glob("demo/*.onnx"),
        *ROOT.glob("demo/families/*.onnx"),
        *ROOT.glob("demo/anomaly/*.onnx"),
        *ROOT.glob("tests/vectors/bundle-*/bundle/*.onnx"),
    }
)
EXTERNAL = ROOT / "tests/vectors/bundle-1/refused/external-data/tiny.onnx"
SIDE, CLASSES = 32, 4
SEED = 20261123
_HEADS = {2: "probability", 3: "boxes", 4: "mask"}


def rtx_library() -> Library:
    """tensorrt-rtx, or skip with what it needs."""
    try:
        return load_library("tensorrt-rtx")
    except BackendMissing as error:
        pytest.skip(f"needs the wheels tensorrt-rtx-cu13-libs and -bindings of the extra `test`: {error}")


def needs_no_gpu() -> None:
    if shutil.which("nvidia-smi") or Path("/proc/driver/nvidia/version").exists():
        pytest.skip("needs a machine without a GPU")


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def declared(raw: bytes, file: str = "graph.onnx") -> Model:
    """The model that a manifest would declare for this graph, as far as a back end asks."""
    graph = onnx.ModelProto.FromString(raw).graph
    (image,) = graph.input
    outputs = [_tensor(value) for value in graph.output]
    height, width = _tensor(image).shape[2:]
    return Model(
        file=file,
        input=_tensor(image),
        output=outputs[0],
        head=_HEADS[len(outputs[0].shape)],  # type: ignore[arg-type]
        classes=tuple(f"class_{number}" for number in range(outputs[0].shape[1])),
        preprocessing=Preprocessing(Region(0, 0, width, height), width, height, "area"),
        map=outputs[1] if len(outputs) > 1 else None,
    )


def quantized(kind: npt.DTypeLike = np.int8, zero: int = 0, bias: bool = False) -> bytes:
    """A convolution between Q and DQ nodes; `kind` of the activations, `bias` as int32 as ORT's quantiser writes it."""
    rng = np.random.default_rng(SEED)
    weights = {
        "scale": np.float32(0.02),
        "zero": np.array(zero, kind),
        "w_q": rng.integers(-100, 100, (CLASSES, 1, 3, 3)).astype(np.int8),
        "w_scale": np.float32(0.01),
        "w_zero": np.int8(0),
        "b_q": rng.integers(-100, 100, CLASSES).astype(np.int32),
        "b_scale": np.float32(0.0002),
        "b_zero": np.int32(0),
        "b_float": rng.normal(size=CLASSES).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("QuantizeLinear", ["pixels", "scale", "zero"], ["x_q"]),
        helper.make_node("DequantizeLinear", ["x_q", "scale", "zero"], ["x"]),
        helper.make_node("DequantizeLinear", ["w_q", "w_scale", "w_zero"], ["w"]),
    ]
    if bias:
        nodes.append(helper.make_node("DequantizeLinear", ["b_q", "b_scale", "b_zero"], ["b"], name="bias"))
    return _classifier([*nodes, *_tail(["x", "w", "b" if bias else "b_float"])], weights)


def two_stage() -> bytes:
    """What torchvision's Faster R-CNN ends in: which rows count depends on the image."""
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        *_tail(["x", "w", "b"]),
        helper.make_node("NonZero", ["scores"], ["rows"]),
    ]
    return _classifier(nodes, _weights())


def dilated() -> bytes:
    """A pooling that admission and ONNX Runtime take and NVIDIA's parser does not."""
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("MaxPool", ["x"], ["pooled"], name="wide", kernel_shape=[3, 3], dilations=[2, 2]),
        *_tail(["pooled", "w", "b"]),
    ]
    return _classifier(nodes, _weights())


def _weights() -> dict[str, npt.NDArray[np.float32]]:
    rng = np.random.default_rng(SEED)
    kernel, bias = rng.normal(size=(CLASSES, 1, 3, 3)), rng.normal(size=CLASSES)
    return {"w": kernel.astype(np.float32), "b": bias.astype(np.float32)}


def _tail(inputs: list[str]) -> list[NodeProto]:
    return [
        helper.make_node("Conv", inputs, ["planes"]),
        helper.make_node("GlobalAveragePool", ["planes"], ["means"]),
        helper.make_node("Flatten", ["means"], ["scores"]),
    ]


def _classifier(nodes: list[NodeProto], weights: Mapping[str, npt.ArrayLike]) -> bytes:
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, CLASSES])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items() if name in used],
    )
    model: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


def _tensor(value: ValueInfoProto) -> Tensor:
    kind = value.type.tensor_type
    dtype = "uint8" if kind.elem_type == TensorProto.UINT8 else "float32"
    return Tensor(value.name, dtype, tuple(dim.dim_value for dim in kind.shape.dim))
