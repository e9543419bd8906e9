"""`linewarden shadow report`: counts, test and pictures of what a candidate left, beside a real ledger."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import msgspec
import pytest

from daemon.records import EvidenceRow
from daemon.shadow_file import Phase, tell
from daemon.units import UnitId
from daemon.vision import shadow_records
from daemon.vision.shadow_records import Records
from provisioning import cli
from provisioning.shadow_report import DOCUMENT, SHEET
from tests.unit.evidence_world import Book, offer
from tests.unit.ledger_rows import BATCH
from tests.unit.test_shadow_records import ACCEPT, LOADED, look

Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder with a ledger that knows units 1.0.1 to 1.0.3."""
    state = tmp_path / "state"
    state.mkdir()
    book = Book(state)
    for number in (1, 2, 3):
        book.judge(_row(number), ACCEPT.verdict)
    return state


def _row(number: int) -> EvidenceRow:
    return msgspec.structs.replace(offer(number).row, unit=UnitId(3, 0, number))


@pytest.fixture
def said(state: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    def run(*words: str) -> tuple[int, str, str]:
        status = cli.main(["shadow", "report", "--state", str(state), *words])
        out, err = capsys.readouterr()
        return status, out, err

    return run


def _look_on(state: Path, disagreements: int, agreements: int) -> None:
    records = Records(state, "line-1", LOADED)
    for number in range(1, disagreements + 1):
        look(records, number)
    for number in range(agreements):
        look(records, 1000 + number, ACCEPT)
    records.flush()


def _document(said: Said) -> dict[str, Any]:
    status, out, _ = said("--json")
    assert status == 0
    document: dict[str, Any] = json.loads(out)
    return document


def test_one_line_where_nothing_ever_looked_on(said: Said) -> None:
    status, out, err = said()
    assert (status, err, len(out.splitlines())) == (0, "", 1)
    assert "no candidate" in out


def test_one_line_says_why_a_candidate_does_not_look_on(state: Path, said: Said) -> None:
    tell(state, Phase.REFUSED, "recipe.json: it was changed")
    _, out, _ = said()
    assert len(out.splitlines()) == 1
    assert "refused" in out and "recipe.json: it was changed" in out


def test_the_counts_and_the_test_of_a_candidate_that_rejects_more(
    state: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_records, "KEEP_S", 0.0)
    _look_on(state, disagreements=12, agreements=88)
    (one,) = _document(said)["rounds"]
    counted = (one["units"], one["both_accept"], one["only_candidate_rejects"], one["only_active_rejects"])
    assert counted == (100, 88, 12, 0)
    assert (one["agreement"], one["decision"], one["more_pairs_needed"]) == (0.88, "candidate rejects more", 0)
    assert one["e_value"] == pytest.approx(2**12 / 13)
    assert one["mcnemar_p"] == pytest.approx(2 / 2**12)
    assert [row.get("batch") for row in one["disagreements"][:4]] == [BATCH, BATCH, BATCH, None]
    assert one["disagreements"][0]["clock"] == "unsynchronised"
    _, out, _ = said()
    assert "candidate rejects more" in out and "88.00 %" in out
    assert "not the truth" in out


def test_what_is_not_shown_yet_says_how_far_it_is(state: Path, said: Said) -> None:
    _look_on(state, disagreements=3, agreements=20)
    (one,) = _document(said)["rounds"]
    assert one["decision"] == "no difference shown yet"
    _, out, _ = said()
    assert f"{one['more_pairs_needed']} more discordant pairs" in out


def test_the_report_is_a_new_folder_with_a_sheet(
    state: Path, said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_records, "KEEP_S", 0.0)
    _look_on(state, disagreements=2, agreements=5)
    folder = tmp_path / "report"
    assert said("--report", str(folder))[0] == 0
    assert json.loads((folder / DOCUMENT).read_bytes()) == _document(said)
    assert cv2.imread(str(folder / SHEET)) is not None
    status, _, err = said("--report", str(folder))
    assert (status, len(err.splitlines())) == (1, 1)


def test_damaged_counts_are_one_line(state: Path, said: Said) -> None:
    _look_on(state, disagreements=1, agreements=0)
    next(state.glob("shadow/*/counts.json")).write_bytes(b"{")
    status, out, err = said()
    assert (status, out, len(err.splitlines())) == (1, "", 1)
    assert "counts.json" in err
