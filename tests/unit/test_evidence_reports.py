"""Rows about images on their way to the recorder, and which accepted units are drawn."""

import hashlib
import queue

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.messages import Judged
from daemon.records import EvidenceRow
from daemon.units import Channel, FrameKey, JudgedView, Reason, UnitId, Verdict, ViewKey
from daemon.vision.choice import drawn, is_kept
from daemon.vision.reports import WINDOW, Reports
from tests.unit.evidence_world import offer


class Recorder:
    """Takes what it is sent as long as it is up; stores all of it when asked."""

    def __init__(self) -> None:
        self.up = True
        self.heard: list[EvidenceRow] = []

    def take(self, row: EvidenceRow) -> bool:
        if self.up:
            self.heard.append(row)
        return self.up


def of(*numbers: int) -> Reports:
    outcomes: queue.SimpleQueue[EvidenceRow] = queue.SimpleQueue()
    for number in numbers:
        outcomes.put(offer(number).row)
    return Reports(outcomes)


def test_they_are_numbered_from_one_and_sent_once() -> None:
    reports, recorder = of(5, 6), Recorder()
    reports.pump(recorder.take)
    reports.pump(recorder.take)
    assert [(row.seq, row.unit.number) for row in recorder.heard] == [(1, 5), (2, 6)]
    reports.stored(1)
    assert reports.acknowledged == 1


def test_only_what_is_not_stored_is_sent_again() -> None:
    reports, recorder = of(1, 2, 3), Recorder()
    reports.pump(recorder.take)
    reports.stored(2)
    reports.connected()
    reports.pump(recorder.take)
    assert [row.seq for row in recorder.heard] == [1, 2, 3, 3]


def test_few_are_under_way_at_a_time() -> None:
    reports, recorder = of(*range(1, 3 * WINDOW)), Recorder()
    for _ in range(3):
        reports.pump(recorder.take)
    assert len(recorder.heard) == WINDOW
    reports.stored(10)
    reports.pump(recorder.take)
    assert len(recorder.heard) == WINDOW + 10


def test_a_number_that_was_never_sent_acknowledges_nothing() -> None:
    reports, recorder = of(1, 2), Recorder()
    recorder.up = False
    reports.pump(recorder.take)
    reports.stored(99)
    assert reports.acknowledged == 0
    recorder.up = True
    reports.pump(recorder.take)
    reports.stored(99)
    assert reports.acknowledged == 2


@pytest.mark.clause("ALCOA+ complete")
@given(st.lists(st.one_of(st.sampled_from(["pump", "down", "up", "again"]), st.integers(0, 90))))
def test_every_row_arrives_whatever_happens(steps: list[str | int]) -> None:
    reports, recorder = of(*range(1, 81)), Recorder()
    for step in [*steps, "up", "again", *(["pump", 90] * (80 // WINDOW + 1))]:
        if isinstance(step, int):
            reports.stored(min(step, max((row.seq for row in recorder.heard), default=0)))
        elif step == "pump":
            reports.pump(recorder.take)
        elif step == "again":
            reports.connected()
        else:
            recorder.up = step == "up"
    assert reports.acknowledged == 80
    by_number = {row.seq: row.unit.number for row in recorder.heard}
    assert by_number == {number: number for number in range(1, 81)}


def judged(verdict: Verdict, *keys: FrameKey) -> Judged:
    views = [JudgedView(ViewKey(key.camera), key, 0, "d" * 64, {}) for key in keys]
    return Judged(UnitId(1, 0, 1), verdict, Reason.NONE, Channel.NONE, "", views, "b", "r", 0, 0, 0, 0)


KEYS = (FrameKey("body", 0x1234, 7), FrameKey("crimp", 0xABCDEF, 7))


@pytest.mark.clause("ALCOA+ original", "21 CFR 211.188")
def test_all_that_is_not_accepted_is_kept() -> None:
    for verdict in (Verdict.REJECT, Verdict.UNDECIDED):
        assert is_kept(judged(verdict, *KEYS), 0.0, "B")
    assert not is_kept(judged(Verdict.ACCEPT, *KEYS), 0.0, "B")
    assert is_kept(judged(Verdict.ACCEPT, *KEYS), 1.0, "B")


def test_the_draw_is_the_documented_one() -> None:
    """docs/operations/evidence.md: sha256 of `B-1\\nbody/00001234/7\\ncrimp/00abcdef/7`, 8 bytes, of 2^64."""
    text = b"B-1\nbody/00001234/7\ncrimp/00abcdef/7"
    share = int.from_bytes(hashlib.sha256(text).digest()[:8]) / 2**64
    assert drawn("B-1", KEYS, share * 1.000001) and drawn("B-1", reversed(KEYS), share * 1.000001)
    assert not drawn("B-1", KEYS, share * 0.999999)


def test_the_share_is_met_and_depends_on_batch_and_session() -> None:
    def taken(batch: str, session: int) -> set[int]:
        return {n for n in range(20_000) if drawn(batch, [FrameKey("body", session, n)], 0.05)}

    first, other_batch, other_session = taken("A", 1), taken("B", 1), taken("A", 2)
    assert all(900 < len(found) < 1100 for found in (first, other_batch, other_session))
    assert len(first & other_batch) < 120 and len(first & other_session) < 120


def test_a_row_fits_into_a_message() -> None:
    assert len(msgspec.msgpack.encode(offer(1).row)) < 1000
