"""heads.decode: names and order from the manifest; no number is made up."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from msgspec.structs import replace

from engines.heads import box_scores, decode
from signing.manifest import Model, Preprocessing, Region, Tensor

CODES = ("a", "b", "c")
IMAGE = Tensor("image", "uint8", (1, 1, 8, 8))
MODEL = Model(
    file="m.onnx",
    input=IMAGE,
    output=Tensor("scores", "float32", (1, 3)),
    head="probability",
    classes=CODES,
    preprocessing=Preprocessing(Region(0, 0, 8, 8), 8, 8, "area"),
)
LOGIT = replace(MODEL, head="logit")
BOXES = replace(MODEL, head="boxes", output=Tensor("scores", "float32", (1, 4, 8)))
MASK = replace(MODEL, head="mask", output=Tensor("scores", "float32", (1, 3, 2, 5)))
MODELS: dict[str, Model] = {model.head: model for model in (MODEL, LOGIT, BOXES, MASK)}
SHARES = st.floats(0.0, 1.0, width=32)


def outputs(model: Model) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float32, model.output.shape, elements=SHARES)


def test_probabilities_are_passed_on_in_order() -> None:
    out = {"scores": np.array([[0.25, 0.5, 0.75]], np.float32)}
    assert decode(MODEL, out) == {"a": 0.25, "b": 0.5, "c": 0.75}


def test_logits_become_probabilities() -> None:
    out = {"scores": np.array([[0.0, 200.0, -200.0]], np.float32)}
    assert decode(LOGIT, out) == pytest.approx({"a": 0.5, "b": 1.0, "c": 0.0})


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3))
def test_a_larger_logit_never_scores_lower_and_none_leaves_0_to_1(logits: list[float]) -> None:
    scores = list(decode(LOGIT, {"scores": np.array([sorted(logits)], np.float32)}).values())
    assert scores == sorted(scores) and scores[0] >= 0.0 and scores[-1] <= 1.0


@given(st.data(), st.sampled_from(sorted(MODELS)), st.sampled_from([math.nan, math.inf, -math.inf]))
def test_one_value_that_is_no_number_leaves_no_score_a_number(data: st.DataObject, head: str, bad: float) -> None:
    """Wherever it stands: in a logit of minus infinity the sigmoid alone would see a perfect unit."""
    model = MODELS[head]
    output = data.draw(outputs(model))
    output.reshape(-1)[data.draw(st.integers(0, output.size - 1))] = bad
    scores = decode(model, {"scores": output})
    assert tuple(scores) == CODES and all(math.isnan(score) for score in scores.values())


@given(outputs(BOXES))
def test_a_class_scores_what_its_best_box_does(output: np.ndarray) -> None:
    scores = decode(BOXES, {"scores": output})
    for column, code in enumerate(CODES):
        assert scores[code] == max(float(row[4] * row[5 + column]) for row in output[0])
        assert 0.0 <= scores[code] <= 1.0
    assert box_scores(output).shape == (4, 3)


@given(outputs(MASK), st.integers(1, 10))
def test_a_class_scores_what_so_many_cells_reach(output: np.ndarray, cells: int) -> None:
    scores = decode(replace(MASK, cells=cells), {"scores": output})
    for number, code in enumerate(CODES):
        assert scores[code] == sorted(output[0, number].ravel().tolist())[-cells]
        assert (output[0, number] >= scores[code]).sum() >= cells


@pytest.mark.parametrize(("model", "shape"), [(MODEL, (1, 2)), (LOGIT, (1, 4)), (BOXES, (1, 4, 7)), (BOXES, (1, 4, 9))])
def test_one_value_for_each_class(model: Model, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="argument"):
        decode(model, {"scores": np.zeros(shape, np.float32)})


@given(st.data(), st.sampled_from([-50.0, -0.01, 1.01, 9.0]))
def test_one_share_that_is_none_leaves_no_score_a_number(data: st.DataObject, bad: float) -> None:
    """A graph without its last sigmoid: the best of its rows or cells may look like the score of a good unit."""
    row, cell = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 9))
    boxes, mask = data.draw(outputs(BOXES)), data.draw(outputs(MASK))
    boxes[0, row, data.draw(st.integers(4, 7))] = bad
    mask[0, data.draw(st.integers(0, 2)), cell // 5, cell % 5] = bad
    for model, output in ((BOXES, boxes), (replace(MASK, cells=4), mask)):
        assert all(math.isnan(score) for score in decode(model, {"scores": output}).values())
