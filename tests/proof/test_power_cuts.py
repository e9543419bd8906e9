"""Power cuts in small: real processes killed before a call, crash states of whole lives; and that both would notice."""

import functools
import io
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from power_cuts import ALL, DISK, HERE, Recorded, Tally, record, sample, states, try_cut, try_states
from power_disk import SECTOR, Disk
from power_main import shares, table
from power_trace import Event, TraceError, command, events, unavailable
from rich.console import Console

STATES = 16
CUTS = 1
HEAVY = 3
NAMES = [life.name for life in ALL]
WHY = unavailable()
pytestmark = pytest.mark.skipif(bool(WHY), reason=WHY or "strace is here")


@pytest.fixture(scope="module")
def lives() -> Callable[[int], Recorded]:
    """Give the record of a life, made once."""
    return functools.cache(record)


@pytest.mark.clause("ALCOA+ enduring", "ALCOA+ complete", "21 CFR 11.10(c)", "Annex 11 §7.1")
@pytest.mark.clause("IEC 62443-4-2 CR 7.4")
@pytest.mark.clause("ALCOA+ enduring", "Annex 11 §7.1")
@pytest.mark.parametrize("life", DISK, ids=[NAMES[life] for life in DISK])
def test_whatever_the_disk_was_left_with_holds_what_was_promised(life: int, lives, seed: int) -> None:
    recorded = lives(life)
    tally = try_states(recorded, seed, STATES if ALL[life].short else HEAVY)
    assert tally.wrong == [], f"again: make powercuts ARGS='--seed {seed}'"
    assert tally.done > HEAVY / 2 and tally.promises > 0


@pytest.mark.clause("ALCOA+ enduring", "21 CFR 11.10(c)", "Annex 11 §16", "IEC 62443-4-2 CR 7.4")
@pytest.mark.clause("Annex 11 §16", "IEC 62443-4-2 CR 7.4")
@pytest.mark.parametrize("life", [n for n, body in enumerate(ALL) if body.short], ids=[b.name for b in ALL if b.short])
def test_a_process_that_dies_before_any_call_lost_nothing_and_goes_on(life: int, lives, seed: int) -> None:
    if life not in HERE:
        pytest.skip(ALL[life].unavailable)
    chance = Random(f"{seed}:{life}")
    targets = lives(life).targets
    for target in sample(targets, CUTS, chance):
        _, _, wrong = try_cut(life, target)
        assert wrong == [], f"again: make powercuts ARGS='--seed {seed}'"


def test_a_cut_ends_the_process_before_its_call(lives) -> None:
    """Before the last fsync of the WAL that was followed by a promise: that promise cannot have been made."""
    target = [(call, number) for call, number in lives(0).targets if call == "fdatasync"][4]
    call, promised, wrong = try_cut(0, target)
    assert (call, wrong) == ("fdatasync", [])
    assert promised < len(lives(0).promised)


def _found_out(recorded: Recorded, forgets: Callable[[str], bool]) -> bool:
    """Judge the same life on a disk that forgot some of its fsyncs, as if the program had never called them."""
    kept = [event for event in recorded.events if event.kind != "sync" or not forgets(event.path)]
    changed = replace(recorded, events=kept)
    return any(try_states(changed, 1, 2 * STATES, (part, 16)).wrong for part in reversed(range(16)))


@pytest.mark.parametrize(
    ("life", "forgets"),
    [
        (0, lambda path: path.endswith("-wal")),
        (0, lambda path: path.endswith("ledger.sqlite")),
        (0, lambda path: "." not in Path(path).name),
        (3, lambda path: path.endswith("ledger.sqlite")),
        (4, lambda path: path.endswith(".tmp")),
        (4, lambda path: path.endswith("pending.jsonl")),
        (5, lambda path: path.endswith(".new")),
        (5, lambda path: "/archive/" in path and "." not in Path(path).name),
        (7, lambda path: "/store/" in path and path.endswith(".tmp")),
        (7, lambda path: path.endswith("/store")),
        (7, lambda path: path.endswith("/bundles")),
    ],
    ids=[
        "the WAL", "the ledger's file", "the folder", "the ledger's file before the WAL begins anew",
        "an image", "what is pending", "a file of the archive", "a folder of the archive",
        "a file of the store", "the store's folder", "a bundle's folder",
    ],
)  # fmt: skip
def test_a_forgotten_fsync_is_found(life: int, forgets: Callable[[str], bool], lives) -> None:
    assert _found_out(lives(life), forgets)


def test_the_same_seed_draws_the_same_states(lives) -> None:
    one, again, other = ([state for *_, state in states(lives(4), seed, 10)] for seed in (7, 7, 8))
    assert one == again != other


def test_the_table_names_every_life() -> None:
    found = {(what, life): Tally(1, 2) for what in ("cut", "states") for life in range(len(ALL))}
    text = io.StringIO()
    Console(width=200, file=text).print(table(found, "cuts"))
    assert all(text.getvalue().count(name) == 2 for name in NAMES)


def test_cuts_are_shared_by_the_number_of_calls() -> None:
    assert shares(100, [500, 300, 200]) == [50, 30, 20]
    assert shares(10, [3, 3]) == [3, 3]
    assert shares(0, [3, 3]) == [0, 0]


class TestDisk:
    """The model by itself: what a cut may take and what not."""

    def disk(self, *calls: tuple[str, str, dict[str, object]]) -> Disk:
        disk = Disk("/r", {"old": b"before"})
        for line, (kind, path, more) in enumerate(calls):
            disk.feed(Event(kind, line, line, 1, 1, f"/r{path}", **more))
        return disk

    def all_of(self, disk: Disk) -> list[dict[str, bytes | None]]:
        return [disk.crash(Random(turn), style) for turn in range(40) for style in ("ordered", "subset", "sectors")]

    def test_what_was_synced_is_there(self) -> None:
        data = {"offset": 0, "data": b"x" * 3000}
        disk = self.disk(("create", "/a", {}), ("write", "/a", data), ("sync", "/a", {}), ("sync", "", {}))
        assert all(state == {"a": b"x" * 3000, "old": b"before"} for state in self.all_of(disk))

    def test_a_name_may_be_there_without_bytes_and_bytes_without_a_name(self) -> None:
        data = {"offset": 0, "data": b"x" * 3000}
        unsynced = self.disk(("create", "/a", {}), ("write", "/a", data), ("sync", "", {}))
        found = {state["a"] for state in self.all_of(unsynced)}
        assert b"" in found and b"x" * 3000 in found
        assert any(len(one) % SECTOR for one in found if len(one) < 3000)
        unnamed = self.disk(("create", "/a", {}), ("write", "/a", data), ("sync", "/a", {}))
        assert {state.get("a") for state in self.all_of(unnamed)} == {None, b"x" * 3000}

    def test_a_rename_is_one_step(self) -> None:
        synced = (("create", "/t", {}), ("write", "/t", {"offset": 0, "data": b"new"}), ("sync", "/t", {}))
        disk = self.disk(*synced, ("sync", "", {}), ("rename", "/t", {"to": "/r/old"}))
        assert {state["old"] for state in self.all_of(disk)} == {b"before", b"new"}
        assert all(state["old"] == b"new" for state in self.all_of(disk) if "t" not in state)

    def test_what_was_removed_may_come_back(self) -> None:
        disk = self.disk(("unlink", "/old", {}))
        assert {state.get("old") for state in self.all_of(disk)} == {None, b"before"}

    def test_a_write_behind_one_that_was_lost_leaves_a_hole(self) -> None:
        first, second = {"offset": 0, "data": b"a" * SECTOR}, {"offset": SECTOR, "data": b"b" * SECTOR}
        disk = self.disk(("create", "/a", {}), ("sync", "", {}), ("write", "/a", first), ("write", "/a", second))
        assert bytes(SECTOR) + b"b" * SECTOR in {state["a"] for state in self.all_of(disk)}


def _traced(folder: Path, code: str) -> list[Event]:
    watched, log = folder / "w", folder / "log"
    watched.mkdir()
    run = [sys.executable, "-I", "-c", f"import os, sys; w = sys.argv[1]\n{code}", str(watched)]
    with subprocess.Popen(command(log, run), stderr=subprocess.PIPE, text=True) as process:
        _, text = process.communicate(timeout=20)
    assert process.returncode == 0, text
    return events(log, watched)


def test_the_log_is_read_as_it_happened(tmp_path: Path) -> None:
    code = """
with open(w + "/a", "wb") as file:
    file.write(b"one")
with open(w + "/a", "ab") as file:
    file.write(b"two")
    file.flush()
    os.fsync(file.fileno())
os.mkdir(w + "/k")
os.rename(w + "/a", w + "/k/a")
"""
    found = _traced(tmp_path, code)
    assert [(event.kind, Path(event.path).name, event.offset, event.data) for event in found] == [
        ("create", "a", 1, b""),
        ("write", "a", 0, b"one"),
        ("create", "a", 0, b""),
        ("write", "a", -1, b"two"),
        ("sync", "a", 0, b""),
        ("mkdir", "k", 0, b""),
        ("rename", "a", 0, b""),
    ]
    disk = Disk(str(tmp_path / "w"), {})
    for event in found:
        disk.feed(event)
    assert disk.crash(Random(1), "most") == {"k": None, "k/a": b"onetwo"}


def test_a_call_that_is_not_understood_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="fallocate"):
        _traced(tmp_path, 'os.posix_fallocate(os.open(w + "/a", os.O_RDWR | os.O_CREAT), 0, 10)')
