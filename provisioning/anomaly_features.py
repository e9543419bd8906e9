"""What the backbone sees in a picture: 40 numbers for every 8 x 8 pixels of the graph's input.

The backbone is the beginning of EfficientNet-Lite0 with ImageNet weights (engines/backbone/README.md). Its file has one
size of input; a fit rewrites that size, because a graph that a device loads has static shapes.
"""

import math
from importlib.resources import files

import numpy as np
import numpy.typing as npt
import onnx
from onnx import shape_inference

from engines.engine import Frame
from engines.onnx_runtime import OnnxRuntimeSession
from engines.preprocess import Preprocessor
from provisioning.errors import CommandFailed
from signing.manifest import Model, Preprocessing, Region, Tensor

Array = npt.NDArray[np.float32]

IMAGE, TAP = "image", "stride8"
STRIDE, CHANNELS = 8, 40
MOST_PIXELS = 122_880
LEAST_SIDE = 8 * STRIDE
_FILE = ("backbone", "efficientnet-lite0-taps.onnx")


class RegionRefused(CommandFailed):
    """The region of interest cannot be used; the text says why."""


def preprocessing_of(region: Region) -> Preprocessing:
    """Return how a region is reduced: not at all up to 122 880 pixels, else to just that many, its shape kept.

    Both sides become multiples of 8, so that every number of the backbone covers whole pixels. 122 880 pixels leave a
    mark of 8 pixels in a frame of 480 x 1024 with 4.

    Raises:
        RegionRefused: a side is shorter than 64 pixels, or would become so.
    """
    scale = min(1.0, math.sqrt(MOST_PIXELS / (region.width * region.height)))
    width, height = (int(side * scale + 1e-9) // STRIDE * STRIDE for side in (region.width, region.height))
    if min(width, height) < LEAST_SIDE:
        raise RegionRefused(
            f"a region of {region.width} x {region.height} pixels leaves {width} x {height} for the model, "
            f"which needs {LEAST_SIDE} each way; choose another region"
        )
    return Preprocessing(region, width, height, "area")


def backbone(height: int, width: int) -> onnx.ModelProto:
    """Return the backbone for an input uint8 [1, 1, height, width]; its output is `stride8`."""
    model = onnx.ModelProto.FromString(files("engines").joinpath(*_FILE).read_bytes())
    for value, size in ((model.graph.input[0], (height, width)), (model.graph.output[0], cells_of(height, width))):
        for dimension, length in zip(value.type.tensor_type.shape.dim[2:], size, strict=True):
            dimension.dim_value = length
    del model.graph.value_info[:]
    return shape_inference.infer_shapes(model, check_type=True, strict_mode=True)


def cells_of(height: int, width: int) -> tuple[int, int]:
    """Return rows and columns of the backbone's output."""
    return height // STRIDE, width // STRIDE


class Extractor:
    """Runs frames through the device's own preprocessing and the backbone; made once a view."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        height, width = preprocessing.height, preprocessing.width
        model = Model(
            file=_FILE[1],
            input=Tensor(IMAGE, "uint8", (1, 1, height, width)),
            output=Tensor(TAP, "float32", (1, CHANNELS, *cells_of(height, width))),
            head="mask",
            classes=("feature",),
            preprocessing=preprocessing,
        )
        self._session = OnnxRuntimeSession(model, backbone(height, width).SerializeToString())
        self._preprocessor = Preprocessor(preprocessing, self._session.image)

    def __call__(self, frame: Frame) -> Array:
        """Return the features of one raw frame, (rows, columns, 40) float32.

        Raises:
            EngineError: the frame does not cover the region, or the graph does not run.
        """
        self._preprocessor.fill(frame)
        self._session.run()
        return np.ascontiguousarray(self._session.results[TAP][0].transpose(1, 2, 0))
