"""What a candidate leaves on the disk: counts by active pair, disagreements, and no more frames than it may."""

import hashlib
from pathlib import Path

import msgspec
import pytest

from daemon.config import Vision
from daemon.evidence_file import Image, read_image
from daemon.messages import Judged, Loaded
from daemon.shadow_file import (
    COUNTS,
    DISAGREEMENTS,
    FRAMES,
    Opinion,
    ShadowUnreadable,
    candidates,
    folder_of,
    frame_file,
    read_counts,
    read_disagreements,
)
from daemon.units import Channel, FrameKey, JudgedView, Reason, UnitId, Verdict, ViewKey
from daemon.vision import shadow_records
from daemon.vision.judging import Limit, Rules
from daemon.vision.shadow_compare import Compared, compare, wanted
from daemon.vision.shadow_records import Records
from daemon.vision.shadow_turn import Missed

SIDE, CAP = ViewKey("side"), ViewKey("cap")
LOADED = Loaded("b" * 64, "c" * 64, "new 2.0.0", "new-recipe 1.0.0", [SIDE], 1.0, 1.0, 1.0, 1.0)
ACCEPT = Opinion(Verdict.ACCEPT, Reason.NONE, "")
REJECT = Opinion(Verdict.REJECT, Reason.DEFECT, "crack")


def picture(number: int) -> tuple[Image, str]:
    pixels = number.to_bytes(2) * 8
    return Image(4, 4, pixels), hashlib.sha256(pixels).hexdigest()


def judged(number: int, verdict: Verdict = Verdict.ACCEPT, bundle: str = "1" * 64) -> Judged:
    view = JudgedView(SIDE, FrameKey("side", 5, number), 77, picture(number)[1], {"crack": 0.1})
    reason = Reason.NONE if verdict is Verdict.ACCEPT else Reason.DEFECT
    return Judged(UnitId(3, 0, number), verdict, reason, Channel.NONE, "", [view], bundle, "2" * 64, 0, 0, 0, 0)


def look(records: Records, number: int, candidate: Opinion = REJECT, bundle: str = "1" * 64) -> None:
    unit = judged(number, bundle=bundle)
    records.compared(unit, Compared(ACCEPT, candidate), {SIDE: {"crack": 0.9}}, [picture(number)[0]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_of(tmp_path, LOADED.bundle, LOADED.recipe)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every disagreement may keep its frames."""
    monkeypatch.setattr(shadow_records, "KEEP_S", 0.0)


def test_counts_are_of_one_active_pair_and_go_on_in_the_next_life(tmp_path: Path, folder: Path) -> None:
    records = Records(tmp_path, "line-1", LOADED)
    look(records, 1)
    look(records, 2, ACCEPT)
    look(records, 3, bundle="9" * 64)
    records.incomplete(judged(4))
    records.missed([Missed("1" * 64, "2" * 64, 7)])
    records.flush()
    again = Records(tmp_path, "line-1", LOADED)
    look(again, 5, ACCEPT)
    again.flush()
    first, second = read_counts(folder).rounds
    assert (first.pairs, first.incomplete, first.dropped) == ({"accept reject": 1, "accept accept": 2}, 1, 7)
    assert (second.bundle, second.pairs) == ("9" * 64, {"accept reject": 1})
    assert (first.count(active=True, candidate=False), first.count(active=False, candidate=True)) == (1, 0)
    assert candidates(tmp_path) == [folder]


def test_a_torn_line_is_left_out_and_the_next_one_is_not(tmp_path: Path, folder: Path) -> None:
    records = Records(tmp_path, "line-1", LOADED)
    look(records, 1)
    path = folder / DISAGREEMENTS
    look(records, 2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    again = Records(tmp_path, "line-1", LOADED)
    look(again, 3)
    assert [row.unit.number for row in read_disagreements(folder)] == [1, 3]
    assert not frame_file(folder, picture(2)[1]).exists(), "no line names it"
    assert read_image(frame_file(folder, picture(3)[1])) == picture(3)[0]


def test_the_oldest_frames_go_and_those_that_are_named_stay(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_records, "UNITS", 3)
    records = Records(tmp_path, "line-1", LOADED)
    for number in (1, 2, 3, 1, 4, 5):
        look(records, number)
    left = {path.stem for path in (folder / FRAMES).iterdir()}
    assert left == {picture(number)[1] for number in (1, 4, 5)}
    (folder / FRAMES / f".{'0' * 64}.pgm.1.tmp").write_bytes(b"half")
    monkeypatch.setattr(shadow_records, "QUOTA_BYTES", 2 * picture(1)[0].file_bytes)
    look(Records(tmp_path, "line-1", LOADED), 6)
    assert {path.stem for path in (folder / FRAMES).iterdir()} == {picture(number)[1] for number in (5, 6)}
    assert len(read_disagreements(folder)) == 7


def test_frames_are_kept_no_faster_than_agreed_and_lines_are(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_records, "KEEP_S", 60.0)
    records = Records(tmp_path, "line-1", LOADED)
    for number in range(1, 4):
        look(records, number)
    assert [row.kept for row in read_disagreements(folder)] == [True, False, False]
    assert len(list((folder / FRAMES).iterdir())) == 1


def test_nothing_is_kept_on_the_last_bytes_of_the_disk(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_records, "RESERVE_BYTES", 1 << 62)
    look(Records(tmp_path, "line-1", LOADED), 1)
    (row,) = read_disagreements(folder)
    assert not row.kept and not list((folder / FRAMES).iterdir())


def test_the_list_does_not_grow_for_ever(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow_records, "ROWS", 3)
    records = Records(tmp_path, "line-1", LOADED)
    for number in range(1, 20):
        look(records, number)
    kept = [row.unit.number for row in read_disagreements(folder)]
    assert len(kept) <= 6 and kept == list(range(20 - len(kept), 20))


def test_counts_are_written_now_and_then_and_a_full_disk_is_no_reason_to_end(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    records = Records(tmp_path, "line-1", LOADED)
    before = (folder / COUNTS).read_bytes()
    look(records, 1, ACCEPT)
    records.flush_due()
    assert (folder / COUNTS).read_bytes() == before
    monkeypatch.setattr(shadow_records, "FLUSH_S", 0.0)
    records.flush_due()
    assert read_counts(folder).rounds[0].pairs == {"accept accept": 1}
    (folder / DISAGREEMENTS).mkdir()
    for number in (2, 3):
        look(records, number)
    assert sum("not written" in message for message in caplog.messages) == 1


def test_damaged_counts_are_one_line(tmp_path: Path, folder: Path) -> None:
    Records(tmp_path, "line-1", LOADED)
    (folder / COUNTS).write_bytes(b'{"station":')
    with pytest.raises(ShadowUnreadable, match="counts.json"):
        Records(tmp_path, "line-1", LOADED)


def test_a_candidate_is_compared_only_where_the_active_pair_saw_every_view() -> None:
    limits = {"crack": Limit(0.4, 0.6)}
    rules = Rules({SIDE: limits}, {"crack": Channel.CRITICAL})
    whole = [
        JudgedView(CAP, FrameKey("cap", 5, 1), 77, "d", {"crack": 0.1}),
        JudgedView(ViewKey("side", region=2), FrameKey("side", 5, 1), 77, "d", {"crack": 0.1}),
    ]
    assert wanted(rules, whole) == [1]
    assert wanted(Rules({SIDE: limits, CAP: limits}, {}), whole) == [0, 1]
    assert wanted(rules, whole[:1]) is None
    assert wanted(rules, [whole[0], msgspec.structs.replace(whole[1], scores={})]) is None
    assert wanted(Rules({}, {}), whole) is None


@pytest.mark.parametrize(
    ("score", "verdict", "agree"),
    [
        ({"crack": 0.1}, Verdict.ACCEPT, True),
        ({"crack": 0.5}, Verdict.UNDECIDED, False),
        ({}, Verdict.UNDECIDED, False),
    ],
)
def test_two_agree_when_both_accept_or_neither_does(score: dict[str, float], verdict: Verdict, agree: bool) -> None:
    rules = Rules({SIDE: {"crack": Limit(0.4, 0.6)}}, {"crack": Channel.CRITICAL})
    found = compare(rules, judged(1), {SIDE: score})
    assert (found.candidate.verdict, found.agree) == (verdict, agree)
    rejected = compare(rules, judged(1, Verdict.REJECT), {SIDE: score})
    assert rejected.agree is not agree


def test_a_candidate_is_named_whole_or_not_at_all() -> None:
    named = {"bundle": "b", "recipe": "r", "trust": "t"}
    assert msgspec.convert(named, Vision).candidate_bundle == ""
    assert msgspec.convert(named | {"candidate_bundle": "c", "candidate_recipe": "d"}, Vision).candidate_recipe == "d"
    for key in ("candidate_bundle", "candidate_recipe"):
        with pytest.raises(msgspec.ValidationError, match="belong together"):
            msgspec.convert(named | {key: "c"}, Vision)
