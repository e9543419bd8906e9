"""Suppression of boxes: what is left, and that nothing else is; and the boxes that people are shown."""

import itertools
import math
from collections.abc import Sequence
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engines.boxes import MOST_BOXES, boxes, boxes_of, overlaps, suppressed
from signing.manifest import Model, Preprocessing, Region, Tensor

Array = npt.NDArray[np.float32]
PLACES = st.integers(0, 8).map(float)
# Edges on a small grid, so that boxes do meet; turned ones and such without area among them.
EDGES = st.lists(st.tuples(PLACES, PLACES, PLACES, PLACES), min_size=1, max_size=12)
OVERLAPS = st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0])
HUGE = float(np.finfo(np.float32).max)


def array(edges: Sequence[tuple[float, ...]]) -> Array:
    return np.array(edges, np.float32)


def distinct(count: int, order: st.SearchStrategy[list[int]]) -> st.SearchStrategy[Array]:
    return order.map(lambda numbers: np.array(numbers[:count], np.float32) / np.float32(16))


@st.composite
def scored(draw: st.DrawFn) -> tuple[Array, Array]:
    """Boxes and scores without ties."""
    edges = array(draw(EDGES))
    return edges, draw(distinct(len(edges), st.permutations(range(16))))


def one_overlap(one: Array, other: Array) -> float:
    return float(overlaps(one, other[None])[0])


@given(scored(), OVERLAPS, st.sampled_from([0.0, 0.3, 1.0]))
def test_what_is_left_overlaps_little_and_what_is_gone_overlaps_something_better(
    case: tuple[Array, Array], overlap: float, at_least: float
) -> None:
    edges, scores = case
    kept = suppressed(edges, scores, overlap, at_least)
    assert [float(scores[row]) for row in kept] == sorted((float(scores[row]) for row in kept), reverse=True)
    assert all(one_overlap(edges[one], edges[other]) <= overlap for one, other in itertools.combinations(kept, 2))
    wanted = {row for row in range(len(edges)) if scores[row] >= at_least}
    assert set(kept) <= wanted
    for row in wanted - set(kept):
        better = [best for best in kept if scores[best] > scores[row]]
        assert any(one_overlap(edges[best], edges[row]) > overlap for best in better)


@given(scored(), OVERLAPS)
def test_the_best_box_always_stays(case: tuple[Array, Array], overlap: float) -> None:
    edges, scores = case
    assert suppressed(edges, scores, overlap, 0.0)[0] == int(scores.argmax())


@given(scored(), OVERLAPS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(case: tuple[Array, Array], overlap: float, random: Random) -> None:
    edges, scores = case
    order = list(range(len(edges)))
    random.shuffle(order)
    turned = suppressed(edges[order], scores[order], overlap, 0.0)
    assert [order[row] for row in turned] == suppressed(edges, scores, overlap, 0.0)


@given(st.tuples(PLACES, PLACES, PLACES, PLACES), st.tuples(PLACES, PLACES, PLACES, PLACES))
def test_overlap_is_a_share_the_same_from_both_sides(one: tuple[float, ...], other: tuple[float, ...]) -> None:
    first, second = array([one, other])
    shared = one_overlap(first, second)
    assert 0.0 <= shared <= 1.0 and shared == one_overlap(second, first)
    has_area = one[2] > one[0] and one[3] > one[1]
    assert one_overlap(first, first) == (1.0 if has_area else 0.0)


@pytest.mark.parametrize("size", [1e-30, 1e-6, 1.0, HUGE])
def test_a_box_overlaps_itself_whatever_its_size(size: float) -> None:
    box = array([(0.0, 0.0, size, size)])
    assert overlaps(box[0], box)[0] == 1.0
    assert suppressed(np.repeat(box, 3, 0), array([(0.1, 0.3, 0.2)])[0], 0.99, 0.0) == [1]


def test_half_of_two_boxes() -> None:
    """Intersection 1 of union 3."""
    assert one_overlap(*array([(0, 0, 2, 1), (1, 0, 3, 1)])) == pytest.approx(1 / 3)


def test_no_more_than_so_many_are_left() -> None:
    apart = array([(3.0 * place, 0.0, 3.0 * place + 1, 1.0) for place in range(2 * MOST_BOXES)])
    assert len(suppressed(apart, np.ones(len(apart), np.float32), 0.5, 0.0)) == MOST_BOXES


def detector(rows: int, overlap: float = 0.5) -> Model:
    return Model(
        file="m.onnx",
        input=Tensor("image", "uint8", (1, 1, 8, 8)),
        output=Tensor("found", "float32", (1, rows, 7)),
        head="boxes",
        classes=("crack", "fibre"),
        preprocessing=Preprocessing(Region(0, 0, 8, 8), 8, 8, "area"),
        overlap=overlap,
    )


# left, top, right, bottom, objectness, crack, fibre
OUTPUT = np.array([[[0, 0, 4, 4, 1.0, 0.9, 0.1], [0, 0, 4, 5, 1.0, 0.8, 0.6], [5, 5, 7, 7, 0.5, 0.4, 0.0]]], np.float32)


def shown(model: Model, at_least: float) -> list[tuple[str, float, float]]:
    return [(box.code, round(box.score, 3), box.bottom) for box in boxes(model, {"found": OUTPUT}, at_least)]


def test_boxes_are_suppressed_within_their_class_only() -> None:
    assert shown(detector(3), 0.15) == [("crack", 0.9, 4.0), ("fibre", 0.6, 5.0), ("crack", 0.2, 7.0)]
    assert shown(detector(3), 0.5) == [("crack", 0.9, 4.0), ("fibre", 0.6, 5.0)]
    assert shown(detector(3, overlap=0.9), 0.5) == [("crack", 0.9, 4.0), ("crack", 0.8, 5.0), ("fibre", 0.6, 5.0)]
    assert shown(replace(detector(3), overlap=0.0), 0.95) == []


def test_a_class_is_not_pushed_out_by_the_boxes_of_another() -> None:
    rows = [[3.0 * place, 0, 3.0 * place + 1, 1, 1.0, 0.9, 0.5] for place in range(2 * MOST_BOXES)]
    out = {"found": np.array([rows], np.float32)}
    assert {box.code for box in boxes(detector(len(rows)), out, 0.0)} == {"crack"}
    found = boxes_of(detector(len(rows)), out, "fibre", 0.0)
    assert [(box.code, box.score) for box in found] == [("fibre", 0.5)] * MOST_BOXES


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_none_show_no_boxes(bad: float) -> None:
    output = OUTPUT.copy()
    output[0, 1, 2] = bad
    assert boxes(detector(3), {"found": output}, 0.0) == []
