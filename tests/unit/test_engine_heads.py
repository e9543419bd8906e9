"""heads.decode: names and order from the manifest; no number is made up."""

import math

import msgspec
import numpy as np
import pytest

from engines.heads import decode
from signing.manifest import Model

MODEL = msgspec.convert(
    {
        "file": "m.onnx",
        "input": {"name": "image", "dtype": "uint8", "shape": [1, 1, 8, 8]},
        "output": {"name": "scores", "dtype": "float32", "shape": [1, 3]},
        "head": "probability",
        "classes": ["a", "b", "c"],
        "preprocessing": {
            "roi": {"x": 0, "y": 0, "width": 8, "height": 8},
            "width": 8,
            "height": 8,
            "interpolation": "area",
        },
    },
    Model,
)
LOGIT = msgspec.structs.replace(MODEL, head="logit")


def test_probabilities_are_passed_on_in_order() -> None:
    out = {"scores": np.array([[0.25, 0.5, 0.75]], np.float32)}
    assert decode(MODEL, out) == {"a": 0.25, "b": 0.5, "c": 0.75}


def test_logits_become_probabilities() -> None:
    out = {"scores": np.array([[0.0, 200.0, -200.0]], np.float32)}
    assert decode(LOGIT, out) == pytest.approx({"a": 0.5, "b": 1.0, "c": 0.0})


@pytest.mark.parametrize("model", [MODEL, LOGIT])
def test_what_is_not_a_number_stays_visible(model: Model) -> None:
    scores = decode(model, {"scores": np.array([[math.nan, 0.5, 0.5]], np.float32)})
    assert math.isnan(scores["a"])


def test_one_value_for_each_class() -> None:
    with pytest.raises(ValueError, match="argument"):
        decode(MODEL, {"scores": np.zeros((1, 2), np.float32)})
