"""The evidence store: content-addressed, durable before it is reported, readable by anything, and never in the way."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from daemon.evidence_file import ImageDamaged, image_file, read_image
from daemon.records import Kept
from daemon.units import Verdict
from daemon.vision import keep
from daemon.vision.keep import QUEUED, Keeper
from tests.unit.evidence_world import FILE_BYTES, Book, images, offer, running, told

MB = 1 << 20
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep, "IDLE_S", 0.01)


def kept(state: Path, *numbers: int, quota: int = MB) -> Keeper:
    keeper = Keeper(state, quota)
    with running(keeper):
        for number in numbers:
            keeper.offer(offer(number))
    return keeper


def test_images_are_found_by_digest_and_named_by_unit(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, MB)
    with running(keeper):
        for number, of in ((1, 1), (2, 2), (3, 1)):
            keeper.offer(offer(number, of))
    rows = told(keeper)
    assert [(row.unit.number, row.state, row.bytes) for row in rows] == [(n, Kept.RETAINED, 26) for n in (1, 2, 3)]
    for row in rows:
        path = image_file(tmp_path, row.digest)
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert image is not None and image.shape == (3, 5)
        assert hashlib.sha256(np.ascontiguousarray(image).data).hexdigest() == row.digest == path.stem
        assert path.stat().st_size == row.bytes
        assert read_image(path).pixels == image.tobytes()
    assert len(images(tmp_path)) == 2
    assert not list(tmp_path.rglob("*.tmp"))
    assert keeper.dropped == 0


@pytest.mark.clause("ALCOA+ complete", "IEC 62443-4-2 CR 2.10")
def test_a_full_queue_drops_reports_and_counts_without_waiting(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, MB)
    for number in range(QUEUED + 3):
        keeper.offer(offer(number))
    assert keeper.dropped == 3
    assert "queue is full" in keeper.failure
    with running(keeper):
        pass
    rows = told(keeper)
    assert Counter(row.state for row in rows) == {Kept.RETAINED: QUEUED, Kept.DROPPED: 3}
    assert {row.why for row in rows if row.state is Kept.DROPPED} == {keeper.failure}
    assert len(images(tmp_path)) == QUEUED


@pytest.mark.parametrize("restarted", [False, True])
def test_the_quota_holds_over_restarts(tmp_path: Path, restarted: bool) -> None:
    quota = 2 * FILE_BYTES
    keeper = kept(tmp_path, 1, 2, *(() if restarted else (3,)), quota=quota)
    if restarted:
        keeper.acknowledged = len(told(keeper))
        keeper = kept(tmp_path, 3, quota=quota)
    assert keeper.dropped == 1
    assert "quota" in keeper.failure
    assert told(keeper)[-1].state is Kept.DROPPED
    assert images(tmp_path) == sorted(offer(number).row.digest for number in (1, 2))


def test_an_image_that_is_there_needs_no_room(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, FILE_BYTES)
    with running(keeper):
        keeper.offer(offer(1))
        keeper.offer(offer(2, of=1))
    assert [row.state for row in told(keeper)] == [Kept.RETAINED, Kept.RETAINED]


def test_the_last_of_the_disk_is_the_ledgers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = os.statvfs(tmp_path)
    monkeypatch.setattr(keep, "RESERVE_BYTES", disk.f_blocks * disk.f_frsize)
    keeper = kept(tmp_path, 1)
    assert [row.state for row in told(keeper)] == [Kept.DROPPED]
    assert "ledger" in keeper.failure and images(tmp_path) == []


def test_a_disk_that_refuses_does_not_end_the_thread(tmp_path: Path) -> None:
    (tmp_path / "evidence").write_text("a file where the folder should be")
    keeper = kept(tmp_path, 1, 2)
    assert keeper.dropped == 2
    assert [row.state for row in told(keeper)] == [Kept.DROPPED, Kept.DROPPED]


@pytest.mark.clause("ALCOA+ complete")
def test_what_was_not_acknowledged_is_told_again_after_a_restart(tmp_path: Path) -> None:
    first = told(kept(tmp_path, 1, 2, 3))
    assert told(kept(tmp_path)) == first
    assert told(kept(tmp_path, 4)) == [*first, offer(4).row]


def test_what_was_acknowledged_is_not_told_again(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, MB)
    with running(keeper):
        keeper.offer(offer(1))
        assert keeper.outcomes.get(timeout=20).seq == 0
        keeper.acknowledged = 1
    assert told(kept(tmp_path, 2)) == [offer(2).row]


def test_what_the_ledger_has_is_not_told_again(tmp_path: Path) -> None:
    """The process died between the recorder's commit and its acknowledgement."""
    rows = told(kept(tmp_path, 1, 2))
    Book(tmp_path).store(rows[0])
    assert told(kept(tmp_path)) == rows[1:]


@pytest.mark.clause("ALCOA+ accurate", "ALCOA+ enduring")
def test_an_image_that_was_not_written_before_a_restart_is_reported_as_dropped(tmp_path: Path) -> None:
    kept(tmp_path, 1, 2, 3)
    image_file(tmp_path, offer(1).row.digest).unlink()
    torn = image_file(tmp_path, offer(2).row.digest)
    torn.write_bytes(torn.read_bytes()[:-1])
    keeper = kept(tmp_path)
    assert [row.state for row in told(keeper)] == [Kept.DROPPED, Kept.DROPPED, Kept.RETAINED]
    assert keeper.dropped == 3  # two rows, and one damaged file in the store


def test_half_files_go_at_the_start_and_a_torn_list_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    rows = told(kept(tmp_path, 1, 2))
    (tmp_path / "evidence" / rows[0].digest[:2] / ".half.pgm.99.tmp").write_bytes(b"P5\n5 3\n255\nab")
    pending = tmp_path / "evidence" / "pending.jsonl"
    pending.write_bytes(pending.read_bytes() + b'\n{"type":"evidence_row","seq":0,"un')
    keeper = kept(tmp_path, 3)
    assert not list(tmp_path.rglob("*.tmp"))
    assert told(keeper) == [*rows, offer(3).row]
    assert told(kept(tmp_path)) == [*rows, offer(3).row]


def test_a_torn_image_is_written_again_by_the_next_of_its_pixels(tmp_path: Path) -> None:
    kept(tmp_path, 1)
    path = image_file(tmp_path, offer(1).row.digest)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ImageDamaged, match="cut off"):
        read_image(path)
    keeper = Keeper(tmp_path, MB)
    with running(keeper):
        keeper.offer(offer(9, of=1))
    assert read_image(path).pixels == offer(1).image.pixels
    assert "damaged" in keeper.failure or "not whole" in keeper.failure


@pytest.mark.clause("21 CFR 11.10(a)", "ALCOA+ accurate")
@pytest.mark.parametrize("place", range(0, 26, 5))
def test_any_flipped_byte_of_an_image_is_seen(tmp_path: Path, place: int) -> None:
    kept(tmp_path, 1)
    path = image_file(tmp_path, offer(1).row.digest)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(ImageDamaged, match=path.name):
        read_image(path)


def test_rows_that_nobody_takes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep, "CAPACITY", 3)
    keeper = kept(tmp_path, 1, 2, 3)
    with running(keeper := Keeper(tmp_path, MB)):
        keeper.offer(offer(4))
    assert len(told(keeper)) == 3
    assert "wait for the recorder" in keeper.failure and len(images(tmp_path)) == 3


class TestRoom:
    """Room is made with archived images of closed batches only, those of accepted units first, the oldest first."""

    QUOTA = 4 * FILE_BYTES + 5

    def book(self, state: Path) -> Book:
        """Four images on record: 1 rejected, 2 and 3 accepted, 4 rejected."""
        book = Book(state)
        keeper = Keeper(state, self.QUOTA)
        with running(keeper):
            for number in (1, 2, 3, 4):
                keeper.offer(offer(number))
        for row in told(keeper):
            book.judge(row, Verdict.ACCEPT if row.unit.number in (2, 3) else Verdict.REJECT)
            book.store(row)
        return book

    def after(self, state: Path, *numbers: int) -> tuple[list[int], list[tuple[int, Kept]]]:
        """Offer more; return whose images are there, and what was told."""
        keeper = kept(state, *numbers, quota=self.QUOTA)
        there = images(state)
        return [n for n in range(1, 10) if offer(n).row.digest in there], [
            (row.unit.number, row.state) for row in told(keeper)
        ]

    @pytest.mark.clause("21 CFR 11.10(c)", "ALCOA+ enduring")
    def test_nothing_goes_that_is_not_archived(self, tmp_path: Path) -> None:
        self.book(tmp_path).close_batch()
        assert self.after(tmp_path, 5) == ([1, 2, 3, 4], [(5, Kept.DROPPED)])

    @pytest.mark.clause("21 CFR 11.10(c)")
    def test_nothing_goes_of_an_open_batch(self, tmp_path: Path) -> None:
        self.book(tmp_path).archive()
        assert self.after(tmp_path, 5) == ([1, 2, 3, 4], [(5, Kept.DROPPED)])

    def test_accepts_go_first_then_the_oldest(self, tmp_path: Path) -> None:
        book = self.book(tmp_path)
        book.close_batch()
        book.archive()
        there, rows = self.after(tmp_path, 5, 6, 7)
        assert [number for number, state in rows if state is Kept.RELEASED] == [2, 3, 1]
        assert there == [4, 5, 6, 7], "no more goes than has to"
        assert all(state is not Kept.DROPPED for _, state in rows)

    @pytest.mark.clause("21 CFR 11.10(c)", "ALCOA+ enduring")
    def test_an_image_with_a_row_that_is_not_archived_stays(self, tmp_path: Path) -> None:
        book = self.book(tmp_path)
        book.close_batch()
        book.archive()
        book.store(offer(8, of=2).row, batch="")
        there, rows = self.after(tmp_path, 5)
        assert 2 in there and (3, Kept.RELEASED) in rows and 5 in there

    def test_a_release_that_a_crash_cut_off_is_finished(self, tmp_path: Path) -> None:
        book = self.book(tmp_path)
        book.close_batch()
        book.archive()
        before = images(tmp_path)
        code = (
            "import sys; from pathlib import Path; from daemon.vision import keep\n"
            "from tests.unit.evidence_world import offer\n"
            "keep.Keeper._remove = lambda *_: __import__('os')._exit(9)\n"
            f"k = keep.Keeper(Path(sys.argv[1]), {self.QUOTA}); k.offer(offer(5)); k.run()"
        )
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False)
        assert (done.returncode, images(tmp_path)) == (9, before)
        there, rows = self.after(tmp_path)
        assert (there, rows) == ([1, 3, 4], [(2, Kept.RELEASED)])

    def test_an_archive_that_grows_makes_room_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(keep, "LOOK_AGAIN_S", 0.0)
        book = self.book(tmp_path)
        book.close_batch()
        keeper = Keeper(tmp_path, self.QUOTA)
        with running(keeper):
            keeper.offer(offer(5))
            assert keeper.outcomes.get(timeout=20).state is Kept.DROPPED
            book.archive()
            keeper.offer(offer(5))
            assert [keeper.outcomes.get(timeout=20).state for _ in range(2)] == [Kept.RELEASED, Kept.RETAINED]
