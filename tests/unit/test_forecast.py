"""When a store is full: from the last day's growth, or from less where the record is younger."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.ledger_file import LedgerUnreadable
from daemon.vision.keep import Keeper
from provisioning.forecast import DAY_NS, HOUR_NS, Growth, first_since, forecast, storage
from tests.unit.evidence_world import FILE_BYTES, Book, offer, running, told
from tests.unit.ledger_rows import NOW


@pytest.mark.parametrize(
    ("growth", "days"),
    [
        (Growth(0, 100, 30 * DAY_NS), 9.0),
        (Growth(0, 100, DAY_NS // 2), 4.5),
        (Growth(100, 100, HOUR_NS), 9.0 / 24),
        (Growth(100, 100, HOUR_NS // 60), 9.0 / 24),
        (Growth(0, 0, DAY_NS), None),
    ],
)
def test_days_to_full(growth: Growth, days: float | None) -> None:
    assert forecast("x", 100, 1000, growth).days_left == (pytest.approx(days) if days is not None else None)


def test_what_is_full_is_full_now() -> None:
    assert forecast("x", 1001, 1000, Growth(1, 1, DAY_NS)).days_left == 0.0


def test_its_line_says_all_of_it() -> None:
    text = forecast("evidence store", 100 << 20, 512 << 20, Growth(4 << 20, 50 << 20, DAY_NS)).text()
    assert text == (
        "evidence store: 100.0 MB of 512.0 MB (20 %); 4.0 MB in the last hour, 50.0 MB in the last day; "
        "full in 8.2 days at this rate"
    )
    assert forecast("x", 0, 10, Growth(0, 0, 0)).text().endswith("nothing comes in")


@given(st.lists(st.integers(0, 1000), max_size=60), st.integers(-5, 1005))
def test_the_first_entry_since(times: list[int], since: int) -> None:
    times.sort()
    expected = next((index for index, at in enumerate(times) if at >= since), len(times))
    assert first_since(len(times), times.__getitem__, since) == expected


@pytest.mark.clause("IEC 62443-4-2 CR 2.9")
def test_of_a_state_folder(tmp_path: Path) -> None:
    book, keeper = Book(tmp_path), Keeper(tmp_path, 1 << 20)
    with running(keeper):
        for number, of in ((1, 1), (2, 2), (3, 1)):
            keeper.offer(offer(number, of))
    book.store(*told(keeper))
    evidence, disk = storage(tmp_path, 10 * FILE_BYTES, NOW.ns + HOUR_NS // 2)
    assert (evidence.used_bytes, evidence.hour_bytes, evidence.day_bytes) == (2 * FILE_BYTES,) * 3
    assert evidence.days_left == pytest.approx(8 / 2 / 24)
    assert disk.limit_bytes > disk.used_bytes > 0
    assert disk.day_bytes > evidence.day_bytes
    later, _ = storage(tmp_path, 10 * FILE_BYTES, NOW.ns + 2 * DAY_NS)
    assert (later.hour_bytes, later.day_bytes, later.days_left) == (0, 0, None)


def test_without_a_ledger_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnreadable):
        storage(tmp_path, 1, 1)
