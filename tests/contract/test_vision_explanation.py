"""Why a unit was not accepted: what the evidence row of its image says, over the real sockets of vision."""

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from daemon.records import EvidenceRow, Kept
from daemon.units import Verdict
from engines.engine import Frame
from engines.explanation import MAX_BYTES, Explanation, decode
from signing.manifest import Region
from tests.contract.engine_models import CELLS, HEIGHT, LEFT, TOP, WIDTH, picture
from tests.contract.head_bench import HeadBench
from tests.contract.vision_bench import unit

# Two cells beside each other: the mask of `engine_models` asks for two.
ROW, COLUMNS = 1, (2, 3)
REGION = Region(LEFT, TOP, WIDTH, HEIGHT)
CLEAN = picture(level=51)


@pytest.fixture
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[HeadBench]:
    bench = HeadBench(tmp_path, request.param)
    bench.connect()
    yield bench
    bench.close()


def two_cells(level: int) -> Frame:
    """A clean frame but for a mark over both cells."""
    frame = CLEAN.copy()
    for column in COLUMNS:
        mark = picture(ROW, column, 0) == 0
        frame[mark] = level
    return frame


def row_of(bench: HeadBench, number: int, frame: Frame) -> tuple[str, EvidenceRow]:
    """Judge a unit; return the class that decided and the row about its image."""
    judged, digest = bench.judge(number, frame)
    row = bench.recorder.hear(EvidenceRow, lambda row: row.unit == unit(number))
    assert (row.digest, row.state) == (digest, Kept.RETAINED)
    assert (judged.verdict is Verdict.ACCEPT) == (frame is CLEAN)
    return judged.defect, row


def shows_the_mark(said: Explanation) -> bool:
    """True where the hottest place lies inside the mark, in pixels of the frame."""
    if said.grid is None:
        best = said.boxes[0]
        across, down = (best.left + best.right) / 2, (best.top + best.bottom) / 2
    else:
        assert said.grid.shape == (CELLS, CELLS)
        row, column = np.unravel_index(said.grid.argmax(), said.grid.shape)
        across = said.region.x + (float(column) + 0.5) * said.region.width / CELLS
        down = said.region.y + (float(row) + 0.5) * said.region.height / CELLS
    return bool(two_cells(0)[int(down), int(across)] == 0)


@pytest.mark.clause("21 CFR 211.192")
@pytest.mark.parametrize("bench", ["boxes", "mask"], indirect=True)
def test_a_reject_is_explained_by_what_decided_and_where(bench: HeadBench) -> None:
    defect, row = row_of(bench, 1, two_cells(255))
    assert defect == "bright" and 0 < len(row.explanation) <= MAX_BYTES
    said = decode(row.explanation)
    assert (said.code, said.region) == ("bright", REGION) and shows_the_mark(said)


@pytest.mark.clause("21 CFR 211.192")
@pytest.mark.parametrize("bench", ["logit"], indirect=True)
def test_rejects_and_doubts_are_explained_by_the_map_and_what_is_accepted_is_not(bench: HeadBench) -> None:
    """The second unit scores between the limits: about one half for a level of one half."""
    for number, level in ((1, 255), (2, 130)):
        defect, row = row_of(bench, number, two_cells(level))
        said = decode(row.explanation)
        assert defect == said.code == "bright" and said.region == REGION and shows_the_mark(said)
        assert "explanation" in json.loads(msgspec.json.encode(row))
        assert msgspec.json.decode(msgspec.json.encode(row), type=EvidenceRow) == row
    _, accepted = row_of(bench, 3, CLEAN)
    assert accepted.explanation == b""
    assert "explanation" not in json.loads(msgspec.json.encode(accepted))


@pytest.mark.parametrize("bench", ["probability"], indirect=True)
def test_a_model_without_a_map_explains_nothing(bench: HeadBench) -> None:
    defect, row = row_of(bench, 1, two_cells(255))
    assert defect == "bright" and row.explanation == b""
    assert "explanation" not in json.loads(msgspec.json.encode(row))
