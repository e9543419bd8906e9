"""The journal of the fleet: every act with its end, in order, and what a power cut leaves of it."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from fleet.errors import JournalUnreadable
from fleet.journal import FILE, Act, entries, recorded
from signing.utc import utc_text

ACT = Act("anna", "activate", ("activate bundle 1 on line-1",), "1" * 64, "CC-17")


def test_an_act_is_written_before_and_after_it_is_done(tmp_path: Path) -> None:
    with recorded(tmp_path, ACT):
        (begun,) = entries(tmp_path)
    done = entries(tmp_path)[1]
    assert begun["outcome"] == "begun"
    assert (done["person"], done["command"], done["outcome"]) == ("anna", "activate", "done")
    assert (done["digest"], done["reason"]) == ("1" * 64, "CC-17")


def test_what_went_wrong_is_written_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no token"), recorded(tmp_path, ACT):
        raise ValueError("no token\nmore of it")
    assert entries(tmp_path)[1]["outcome"] == "ValueError: no token"


def test_an_entry_torn_by_a_power_cut_was_never_written(tmp_path: Path) -> None:
    with recorded(tmp_path, ACT):
        pass
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[:-10])
    assert len(entries(tmp_path)) == 1
    with recorded(tmp_path, ACT):
        pass
    assert [entry["outcome"] for entry in entries(tmp_path)] == ["begun", "begun", "done"]


@pytest.mark.parametrize("line", range(3))
def test_a_line_taken_out_or_changed_is_seen(tmp_path: Path, line: int) -> None:
    for _ in range(2):
        with recorded(tmp_path, ACT):
            pass
    lines = (tmp_path / FILE).read_bytes().splitlines(keepends=True)
    (tmp_path / FILE).write_bytes(b"".join(lines[:line] + lines[line + 1 :]))
    with pytest.raises(JournalUnreadable, match="does not follow"):
        entries(tmp_path)
    (tmp_path / FILE).write_bytes(b"".join([*lines[:line], lines[line].replace(b"anna", b"otto"), *lines[line + 1 :]]))
    with pytest.raises(JournalUnreadable, match=f"line {line + 2}"):
        entries(tmp_path)


def test_nothing_is_done_that_the_journal_cannot_hold(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    done = []
    with pytest.raises(JournalUnreadable), recorded(tmp_path, ACT):
        done.append(1)
    assert not done


def test_times_are_utc_to_the_second() -> None:
    east = datetime(2026, 11, 23, 9, 0, 0, 999, timezone(timedelta(hours=1)))
    assert utc_text(east) == "2026-11-23T08:00:00Z"
    assert utc_text(datetime(2026, 1, 2, tzinfo=UTC)) == "2026-01-02T00:00:00Z"
