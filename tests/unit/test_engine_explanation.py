"""Explanations: what is said of a class, in at most 4096 bytes that mean one thing only (explanation-1.md)."""

import base64
import json
import math
import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from msgspec.structs import replace
from trail_world import TrailWorld, complaint, evidence

from daemon.ledger_file import LEDGER, reading
from daemon.recorder.rows import digest
from daemon.records import EvidenceRow, decode_body
from engines.boxes import MOST_BOXES
from engines.explanation import MAX_BYTES, Explanation, ExplanationUnreadable, ScoredBox, decode, encode, explain
from signing.manifest import MAX_MAP_CELLS, Model, Preprocessing, Region, Tensor

Grid = npt.NDArray[np.float32]
VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "explanation-1"
ROI = Region(100, 40, 640, 320)
LOGIT = Model(
    file="m.onnx",
    input=Tensor("image", "uint8", (1, 1, 80, 160)),
    output=Tensor("scores", "float32", (1, 2)),
    head="logit",
    classes=("crack", "fibre"),
    preprocessing=Preprocessing(ROI, 160, 80, "area"),
    map=Tensor("map", "float32", (1, 2, 3, 5)),
)
MASK = replace(LOGIT, head="mask", output=Tensor("scores", "float32", (1, 2, 90, 130)), map=None)
BOXES = replace(LOGIT, head="boxes", output=Tensor("scores", "float32", (1, 3, 7)), map=None)
LONGEST_NAME = "f" + "o" * 39
NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,39}", fullmatch=True)
PIXELS, SIZES = st.integers(0, 65535), st.integers(1, 65536)
REGIONS = st.builds(Region, PIXELS, PIXELS, SIZES, SIZES)
GRIDS = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=NUMBERS)
BOX_LISTS = st.lists(st.builds(ScoredBox, *[NUMBERS] * 5), max_size=MOST_BOXES).map(tuple)
EXPLANATIONS = st.builds(Explanation, NAMES, REGIONS, GRIDS) | st.builds(
    Explanation, NAMES, REGIONS, st.none(), BOX_LISTS
)
WHOLE = (
    encode(Explanation("crack", ROI, np.arange(6, dtype=np.float32).reshape(2, 3))),
    encode(Explanation("crack", ROI, boxes=(ScoredBox(0.5, 1, 2, 3, 4),))),
)


@given(EXPLANATIONS)
@example(Explanation(LONGEST_NAME, Region(65535, 65535, 65536, 65536), np.full((1, 1), 3e38, np.float32)))
@example(Explanation("a", ROI, np.array([[-3e38, 3e38]], np.float32)))
@example(Explanation("a", ROI, np.array([[0.0, 1e-45]], np.float32)))
def test_what_was_written_is_read(said: Explanation) -> None:
    raw = encode(said)
    read = decode(raw)
    assert len(raw) <= MAX_BYTES
    assert (read.code, read.region, read.boxes) == (said.code, said.region, said.boxes)
    if said.grid is None:
        assert read.grid is None
    else:
        assert read.grid is not None and read.grid.dtype == np.float32 and read.grid.shape == said.grid.shape
        step = (float(said.grid.max()) - float(said.grid.min())) / 255
        rounding = 1e-6 * float(np.abs(said.grid).max())
        off = np.abs(read.grid.astype(np.float64) - said.grid)
        assert float(off.max()) <= step / 2 + rounding
        assert (read.grid.min(), read.grid.max()) == (said.grid.min(), said.grid.max())
    assert encode(read) == raw


def test_the_largest_of_each_kind_fits() -> None:
    edge = Region(65535, 65535, 65536, 65536)
    many = Explanation(LONGEST_NAME, edge, boxes=(ScoredBox(1, 2, 3, 4, 5),) * MOST_BOXES)
    assert len(encode(many)) <= MAX_BYTES and decode(encode(many)) is not many
    for shape in ((1, MAX_MAP_CELLS), (50, 80), (MAX_MAP_CELLS, 1)):
        grid = np.linspace(-1, 1, MAX_MAP_CELLS, dtype=np.float32).reshape(shape)
        raw = encode(Explanation(LONGEST_NAME, edge, grid))
        assert len(raw) <= MAX_BYTES
        read = decode(raw).grid
        assert read is not None and read.shape == shape


def refuses_or_means_something(raw: bytes) -> None:
    try:
        read = decode(raw)
    except ExplanationUnreadable as error:
        assert "\n" not in str(error) and "another release" in str(error)
    else:
        assert encode(read)[:20] == raw[:20]


@given(st.binary(max_size=200) | st.builds(bytes.__add__, st.sampled_from([raw[:20] for raw in WHOLE]), st.binary()))
def test_foreign_bytes_are_refused_in_one_line_or_mean_something(raw: bytes) -> None:
    refuses_or_means_something(raw)


@given(st.sampled_from(WHOLE), st.data())
def test_torn_and_damaged_bytes_raise_nothing_else(raw: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(raw) - 1))
    with pytest.raises(ExplanationUnreadable):
        decode(raw[:at])
    damaged = bytearray(raw)
    damaged[at] ^= data.draw(st.integers(1, 255))
    refuses_or_means_something(bytes(damaged))


HEAD = b"LWX1" + struct.pack("<4I", 1, 2, 3, 4) + b"\x01a"


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "does not begin"),
        (b"LWX2" + WHOLE[0][4:], "does not begin"),
        (WHOLE[0] + bytes(MAX_BYTES), "does not begin"),
        (HEAD[:10], "requires a buffer"),
        (HEAD[:20], "out of range"),
        (HEAD, "kind b''"),
        (HEAD + b"\n", r"kind b'\\n'"),
        (HEAD[:20] + b"\x02a\nB\0\0", "no class"),
        (HEAD[:20] + b"\x00B\0\0", "no class"),
        (HEAD[:12] + bytes(4) + HEAD[16:] + b"B\0\0", "no region"),
        (HEAD + b"B" + struct.pack("<H", MOST_BOXES + 1) + bytes(20 * (MOST_BOXES + 1)), "too many"),
        (HEAD + b"M" + struct.pack("<HHff", 1, MAX_MAP_CELLS + 1, 0, 0) + bytes(MAX_MAP_CELLS + 1), "too many"),
        (HEAD[:20] + b"\x01\xffB\0\0", "ascii"),
        (WHOLE[0] + b"\0", "reshape"),
        (WHOLE[1] + b"\0", "multiple"),
        (WHOLE[1] + bytes(20), "cut off"),
        (HEAD + b"B\x01\0" + struct.pack("<5f", 0.5, 1, math.nan, 3, 4), "no numbers"),
        (HEAD + b"M" + struct.pack("<HHff", 0, 9, 0, 1), "without cells"),
        (HEAD + b"M" + struct.pack("<HHff", 1, 1, math.nan, 1) + b"\0", "without cells or numbers"),
        (HEAD + b"M" + struct.pack("<HHff", 1, 1, 0, math.inf) + b"\0", "without cells or numbers"),
        (HEAD + b"M" + struct.pack("<HHff", 1, 1, 1, 0) + b"\0", "without cells or numbers"),
    ],
)
def test_what_is_no_explanation_is_named(raw: bytes, says: str) -> None:
    with pytest.raises(ExplanationUnreadable, match=says):
        decode(raw)


def vectors() -> dict[str, tuple[bytes, Explanation]]:
    """The stored bytes put together by hand from docs/interfaces/explanation-1.md, and what they say."""
    region = struct.pack("<IIII", 8, 4, 16, 24)
    boxes = struct.pack("<H", 2) + struct.pack("<5f", 0.75, 8, 4, 12.5, 9) + struct.pack("<5f", 0.5, 10, 20, 24, 28)
    cells = struct.pack("<HHff", 2, 3, -1.0, 4.0) + bytes([0, 51, 102, 153, 204, 255])
    grid = np.array([[-1, 0, 1], [2, 3, 4]], np.float32)
    place = Region(8, 4, 16, 24)
    return {
        "boxes.bin": (
            b"LWX1" + region + b"\x05crack" + b"B" + boxes,
            Explanation("crack", place, boxes=(ScoredBox(0.75, 8, 4, 12.5, 9), ScoredBox(0.5, 10, 20, 24, 28))),
        ),
        "flat.bin": (
            b"LWX1" + region + b"\x0bstain_small" + b"M" + struct.pack("<HHff", 1, 2, 0.5, 0.5) + b"\0\0",
            Explanation("stain_small", place, np.full((1, 2), 0.5, np.float32)),
        ),
        "map.bin": (b"LWX1" + region + b"\x05fibre" + b"M" + cells, Explanation("fibre", place, grid)),
        "none.bin": (b"LWX1" + region + b"\x05crack" + b"B\0\0", Explanation("crack", place)),
    }


def test_the_vectors_are_read_byte_for_byte() -> None:
    assert sorted(path.name for path in VECTORS.iterdir()) == sorted(vectors())
    for name, (by_hand, said) in vectors().items():
        raw = (VECTORS / name).read_bytes()
        read = decode(raw)
        assert raw == by_hand == encode(said) == encode(read)
        assert (read.code, read.region, read.boxes) == (said.code, said.region, said.boxes)
        assert (read.grid is None) == (said.grid is None)
        if read.grid is not None and said.grid is not None:
            assert np.allclose(read.grid, said.grid, atol=1e-6)


def outputs(model: Model, **values: Grid) -> dict[str, Grid]:
    return {tensor.name: np.zeros(tensor.shape, np.float32) for tensor in model.outputs} | values


def test_the_map_of_the_class_that_is_asked_for_is_given() -> None:
    heat = np.arange(30, dtype=np.float32).reshape(1, 2, 3, 5)
    for number, code in enumerate(LOGIT.classes):
        said = explain(LOGIT, outputs(LOGIT, map=heat), code)
        assert said is not None and (said.code, said.region) == (code, ROI)
        assert said.grid is not None and (said.grid == heat[0, number]).all()
    shared = replace(LOGIT, map=Tensor("map", "float32", (1, 1, 3, 5)))
    said = explain(shared, outputs(shared, map=heat[:, :1]), "fibre")
    assert said is not None and said.grid is not None and (said.grid == heat[0, 0]).all()


@given(st.integers(1, 130), st.integers(1, 400), st.randoms(use_true_random=False))
def test_a_mask_is_made_smaller_and_keeps_every_maximum(rows: int, columns: int, random: Random) -> None:
    place = random.randrange(rows), random.randrange(columns)
    grid = np.zeros((rows, columns), np.float32)
    grid[place] = 0.75
    model = replace(MASK, output=Tensor("scores", "float32", (1, 2, rows, columns)))
    said = explain(model, {"scores": np.stack([np.zeros_like(grid), grid])[None]}, "fibre")
    assert said is not None and said.grid is not None
    assert (
        said.grid.size <= MAX_MAP_CELLS and (said.grid == 0.75).sum() == 1 and np.unique(said.grid).tolist()[-1] == 0.75
    )
    factor = -(-rows // said.grid.shape[0])
    found = tuple(int(at) for at in np.unravel_index(said.grid.argmax(), said.grid.shape))
    if rows * columns <= MAX_MAP_CELLS:
        assert said.grid.shape == (rows, columns) and found == place
    assert all(
        at == original // max(factor, -(-columns // said.grid.shape[1]))
        for at, original in zip(found, place, strict=True)
    )
    assert len(encode(said)) <= MAX_BYTES


def test_boxes_are_shown_in_pixels_of_the_frame_the_best_first() -> None:
    """The region begins at 100, 40 and is reduced four times; a box of a fifth of the best says nothing."""
    rows = [[10, 5, 20, 15, 1, 0.5, 0], [100, 50, 160, 80, 1, 0.9, 0], [50, 5, 60, 15, 1, 0.18, 1]]
    said = explain(BOXES, {"scores": np.array([rows], np.float32)}, "crack")
    assert said is not None and said.grid is None
    assert [(round(box.score, 3), box.left, box.top, box.right, box.bottom) for box in said.boxes] == [
        (0.9, 500.0, 240.0, 740.0, 360.0),
        (0.5, 140.0, 60.0, 180.0, 100.0),
    ]
    rows[0][:4] = [-3e38, -5, 3e38, 15]
    cut = explain(BOXES, {"scores": np.array([rows], np.float32)}, "crack")
    assert cut is not None and cut.boxes[1] == ScoredBox(0.5, 100.0, 40.0, 740.0, 100.0)
    assert decode(encode(cut)).boxes[1] == cut.boxes[1]
    other = explain(BOXES, {"scores": np.array([rows], np.float32)}, "fibre")
    assert other is not None and [(box.score, box.left) for box in other.boxes] == [(1.0, 300.0)]


@pytest.mark.parametrize("model", [LOGIT, MASK, BOXES])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_explain_nothing(model: Model, bad: float) -> None:
    tensor = model.map or model.output
    values = np.zeros(tensor.shape, np.float32)
    values.reshape(-1)[-1] = bad
    assert explain(model, outputs(model, **{tensor.name: values}), "fibre") is None


@pytest.mark.parametrize("head", ["logit", "probability"])
def test_scores_alone_explain_nothing(head: str) -> None:
    model = replace(LOGIT, head=head, map=None)
    assert explain(model, outputs(model), "crack") is None


def test_the_record_keeps_and_verifies_an_explanation(tmp_path: Path) -> None:
    """Base64 in the body of the entry, no key where there is none; the digests of the trail cover it."""
    world = TrailWorld(tmp_path)
    world.play()
    rows = [replace(evidence(900 + number, 900 + number), explanation=raw) for number, raw in enumerate((*WHOLE, b""))]
    world.write(*rows, origin="vision")
    world.sign()
    world.close()
    assert complaint(tmp_path) == ""
    with reading(tmp_path / LEDGER) as db:
        found = db.execute("SELECT n.body FROM evidence AS e JOIN entry AS n ON n.seq = e.entry ORDER BY e.entry")
        bodies = [body for (body,) in found.fetchall()][-len(rows) :]
    assert [decode_body(body).row for body in bodies] == rows
    said = [json.loads(body)["row"] for body in bodies]
    assert [base64.b64decode(row["explanation"]) for row in said[:-1]] == list(WHOLE)
    assert "explanation" not in said[-1]


def test_a_row_of_an_older_release_has_the_digest_that_it_had() -> None:
    """The vector was written before rows had explanations."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript((VECTORS.parent / "ledger" / "schema-3.sql").read_text())
        found = db.execute("SELECT e.row_digest, n.body FROM evidence AS e JOIN entry AS n ON n.seq = e.entry")
        rows = [(known, decode_body(body).row) for known, body in found.fetchall()]
    assert rows
    for known, row in rows:
        assert isinstance(row, EvidenceRow) and row.explanation == b""
        assert digest(row) == known != digest(replace(row, explanation=WHOLE[0]))
