"""Evidence store and archive under a power cut: their lives, what they promised, and judges of what is left.

The evidence store promises: a row that says `retained` has its image whole; a row that was reported and not stored is
reported again; no image lies there of which no row tells. The archive promises: what was confirmed is there, byte for
byte; no file is half; the next pass goes on and the folder verifies.
"""

import hashlib
import importlib.util
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import power_worker
from power_trace import Event, command

from daemon.evidence_file import ImageDamaged, image_file, image_files, read_image
from daemon.ledger_file import LEDGER, LedgerUnreadable, reading
from daemon.records import EvidenceRow, Kept
from daemon.units import Verdict
from daemon.uplink.archive import ArchiveError
from daemon.uplink.stores import StoreConflict, StoreError
from daemon.vision import keep
from daemon.vision.keep import Keeper
from tests.contract.archive_world import Device
from tests.contract.recorder_box import ROOT
from tests.unit.evidence_world import Book, running, told

LIMIT_S = 60.0


class Said(msgspec.Struct):
    """One line of the worker, from line `at` of the log on. `life` 1: of the one that went on for real."""

    at: int = 0
    life: int = 0
    reported: EvidenceRow | None = None
    stored: int = 0
    archived: int = 0
    written: dict[str, str] = {}


_said = msgspec.json.Decoder(Said)


def promises(found: Sequence[Event]) -> list[Said]:
    """Return what the worker said in a log."""
    made = []
    for event in found:
        if event.kind == "say" and event.path == "stdout":
            said = _said.decode(event.data)
            said.at = event.begin
            made.append(said)
    return made


class WorkerLife:
    """A life of power_worker.py over a prepared folder."""

    name = ""
    module = "power_worker"
    part = ""
    short = disk = True
    unavailable = ""
    promises = staticmethod(promises)

    def live(self, folder: Path, log: Path, cut: tuple[str, int] | None) -> None:
        done = self._run(folder, lambda run: command(log, run, cut))
        if cut is None and done.returncode:
            raise RuntimeError(done.stderr)

    def finish(self, folder: Path, held: None) -> tuple[list[str], list[Said]]:
        """The same again, for real; return what was wrong and what it promised."""
        done = self._run(folder, lambda run: run)
        said = [msgspec.structs.replace(_said.decode(line), life=1) for line in done.stdout.splitlines()]
        return [f"does not go on: {done.stderr}"] if done.returncode else [], said

    def close(self) -> None:
        """Nothing stays open."""

    def _run(self, folder, traced):
        found = f"import sys; sys.path[:0] = {[str(ROOT), str(ROOT / 'tests/proof'), str(ROOT / 'tests/unit')]!r}"
        code = f"{found}; import runpy; runpy.run_module({self.module!r}, run_name='__main__')"
        run = traced([sys.executable, "-I", "-W", "error", "-c", code, self.part, str(folder)])
        with subprocess.Popen(
            run, env={"PATH": os.environ["PATH"]}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            out, text = process.communicate(timeout=LIMIT_S)
        return subprocess.CompletedProcess(run, process.returncode, out, text)


class EvidenceLife(WorkerLife):
    """The keeper with images of an archived batch, which make room for new ones."""

    name = "evidence store"
    part = "keep"

    def prepare(self, folder: Path) -> None:
        book = Book(folder)
        keeper = Keeper(folder, power_worker.QUOTA)
        with running(keeper):
            for number in range(1, power_worker.BEFORE + 1):
                keeper.offer(power_worker.picture(number))
        for row in told(keeper):
            book.judge(row, Verdict.REJECT if row.unit.number % 2 else Verdict.ACCEPT)
            book.store(row)
        book.close_batch()
        book.archive()
        (folder / "evidence" / "pending.jsonl").unlink()

    def judge(self, folder: Path, promised: Sequence[Said]) -> list[str]:
        reported = [said.reported for said in promised if said.reported]
        wrong = _images(folder, reported)
        again = _next_life(folder)
        for life in (0, 1):
            mine = [said for said in promised if said.life == life]
            stored = max((said.stored for said in mine), default=0)
            later = [*(said.reported for said in promised if said.reported and said.life > life), *again]
            owed = [said.reported for said in mine if said.reported][stored:]
            wrong += [f"lost: the report {row}" for row in owed if not any(_same(row, one) for one in later)]
        wrong += _images(folder, [*reported, *again])
        named = {row.digest for row in (*reported, *again)} | _on_record(folder)
        wrong += [f"no row tells of {path.name}" for path in image_files(folder) if path.stem not in named]
        return wrong


def _images(folder: Path, rows: Sequence[EvidenceRow]) -> list[str]:
    """Is every image whole that is to be there?"""
    wrong, last = [], {row.digest: row.state for row in rows}
    there = {path.stem for path in image_files(folder)}
    for digest in there | {digest for digest, state in last.items() if state is Kept.RETAINED}:
        try:
            read_image(image_file(folder, digest))
        except ImageDamaged as error:
            wrong.append(f"lost: {error}" if digest in last else f"half a file: {error}")
    return wrong


def _same(row: EvidenceRow, again: EvidenceRow) -> bool:
    return (row.unit, row.view, row.digest, row.state) == (again.unit, again.view, again.digest, again.state)


def _next_life(folder: Path) -> list[EvidenceRow]:
    keep.IDLE_S = 0.002
    logging.getLogger(keep.__name__).setLevel(logging.CRITICAL)
    keeper = Keeper(folder, power_worker.QUOTA)
    keeper.stop()
    thread = threading.Thread(target=keeper.run)
    thread.start()
    thread.join()
    return told(keeper)


def _on_record(folder: Path) -> set[str]:
    with reading(folder / LEDGER) as db:
        return {digest for (digest,) in db.execute("SELECT digest FROM evidence WHERE state = 'retained'")}


class ArchiveLife(WorkerLife):
    """Three passes of shipping into a folder, with more on record each time."""

    name = "archive in a folder"
    part = "archive"

    def prepare(self, folder: Path) -> None:
        (folder / "archive").mkdir()
        with closing(Device(folder / "state")) as device:
            device.open_batch()
            device.inspect(6, images=3)
            device.checkpoint()

    def judge(self, folder: Path, promised: Sequence[Said]) -> list[str]:
        there = folder / "archive"
        written = {path: sha256 for said in promised for path, sha256 in said.written.items()}
        wrong = [f"lost: {path}" for path, sha256 in written.items() if _digest(there / path) != sha256]
        try:
            confirmed = power_worker.one_pass(folder)
            told = _verifier().Records(there).verify([], [])
        except (ArchiveError, StoreConflict, StoreError, LedgerUnreadable, _verifier().Altered) as error:
            return [*wrong, f"unverifiable: {type(error).__name__}: {error}"]
        size = max((said.archived for said in promised), default=0)
        if confirmed < size or told["end"] < size:
            wrong.append(f"{size} entries were confirmed, {confirmed} and {told['end']} are there")
        return wrong


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _verifier():
    if "verify_records" not in sys.modules:
        spec = importlib.util.spec_from_file_location("verify_records", ROOT / "docs/interfaces/verify_records.py")
        sys.modules["verify_records"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["verify_records"])
    return sys.modules["verify_records"]
