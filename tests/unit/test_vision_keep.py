"""The evidence store: content-addressed, readable by anything, and never in the way."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from daemon.units import FrameKey, Reason, UnitId, Verdict, ViewKey
from daemon.vision.keep import QUEUED, Entry, Keeper, Kept, file_of


def kept(number: int, height: int = 3, width: int = 5) -> Kept:
    pixels = bytes((number + place) % 256 for place in range(height * width))
    digest = hashlib.sha256(pixels).hexdigest()
    entry = Entry(
        UnitId(1, 0, number),
        ViewKey("side"),
        FrameKey("side", 9, number),
        Verdict.REJECT,
        Reason.DEFECT,
        "bright",
        {"bright": 0.9},
        digest,
        file_of(digest),
    )
    return Kept(entry, width, height, pixels)


@contextmanager
def running(keeper: Keeper) -> Iterator[None]:
    thread = threading.Thread(target=keeper.run)
    thread.start()
    try:
        yield
    finally:
        keeper.stop()
        thread.join()


def test_images_are_found_by_digest_and_named_by_unit(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, 1 << 20)
    with running(keeper):
        for number in (1, 2, 1):
            keeper.offer(kept(number))
    index = [json.loads(line) for line in (tmp_path / "evidence" / "index.jsonl").read_text().splitlines()]
    assert [entry["unit"] for entry in index] == [[1, 0, 1], [1, 0, 2], [1, 0, 1]]
    for entry in index:
        image = cv2.imread(str(tmp_path / "evidence" / entry["file"]), cv2.IMREAD_UNCHANGED)
        assert image is not None
        assert image.shape == (3, 5)
        assert hashlib.sha256(np.ascontiguousarray(image).data).hexdigest() == entry["digest"]
    assert len(list((tmp_path / "evidence").rglob("*.pgm"))) == 2
    assert not list((tmp_path / "evidence").rglob("*.tmp"))
    assert keeper.dropped == 0


def test_a_full_queue_drops_and_counts_without_waiting(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, 1 << 20)
    for number in range(QUEUED + 3):
        keeper.offer(kept(number))
    assert (keeper.dropped, keeper.failure) == (3, "the queue is full")
    with running(keeper):
        pass
    assert len(list((tmp_path / "evidence").rglob("*.pgm"))) == QUEUED


@pytest.mark.parametrize("restarted", [False, True])
def test_the_quota_holds_over_restarts(tmp_path: Path, restarted: bool) -> None:
    keeper = Keeper(tmp_path, 100)
    with running(keeper):
        keeper.offer(kept(1))
        keeper.offer(kept(2))
        if not restarted:
            keeper.offer(kept(3))
    if restarted:
        keeper = Keeper(tmp_path, 60)
        with running(keeper):
            keeper.offer(kept(3))
    assert keeper.dropped == 1
    assert "quota" in keeper.failure
    assert len(list((tmp_path / "evidence").rglob("*.pgm"))) == 2


def test_a_disk_that_refuses_does_not_end_the_thread(tmp_path: Path) -> None:
    (tmp_path / "evidence").write_text("a file where the folder should be")
    keeper = Keeper(tmp_path, 1 << 20)
    with running(keeper):
        keeper.offer(kept(1))
        keeper.offer(kept(2))
    assert keeper.dropped == 2
