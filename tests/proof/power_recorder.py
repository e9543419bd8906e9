"""The recorder under a power cut: a real process, peers that survive it, and the lives that are cut."""

import os
import selectors
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from power_ledger import Promise, image_row, judge, promises, spoken, station_file
from power_trace import command

from daemon import wire
from daemon.messages import PROTO, Act, AlarmRow, Answer, Arm, Ask, Hello, Stored
from daemon.recorder.schema import schema_path
from daemon.wire import WireError
from tests.contract.recorder_box import LOADED, ROOT, SESSIONS, RecorderProcess, act, permit, totals, unit

LIMIT_S = 20.0
LONG = 90
LINE_SESSION, VISION_SESSION = 11, SESSIONS["vision"] + 1


class Gone(Exception):
    """The recorder died under a peer, as it should have."""


class TracedRecorder(RecorderProcess):
    """A recorder under strace, killed at the cut."""

    def __init__(self, folder: Path, log: Path | None = None, cut: tuple[str, int] | None = None) -> None:
        station = folder / "station.toml"
        own = station.read_text() if station.exists() else ""
        super().__init__(folder)
        if own:
            station.write_text(own)
        self._log = log
        self._cut = cut

    def start(self) -> None:
        found = f"import sys; sys.path.insert(0, {str(ROOT)!r})"
        code = f"{found}; from daemon.__main__ import main as run; sys.exit(run(sys.argv[1:]))"
        run = [sys.executable, "-I", "-W", "error", "-c", code, "recorder", str(self.station)]
        folder = str(self.ledger.parent)
        self._process = subprocess.Popen(
            command(self._log, run, self._cut) if self._log else run,
            env={"PATH": os.environ["PATH"], "RUNTIME_DIRECTORY": folder, "STATE_DIRECTORY": folder},
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None


class Party:
    """One peer that ends with Gone when the recorder does."""

    def __init__(self, box: TracedRecorder, process: str, session: int = 1) -> None:
        self._box = box
        self._process = process
        self.seq = 0
        self.unstored: dict[int, object] = {}
        self._connect(process, session)
        try:
            self.expect(Hello)
        except BaseException:
            self.close()
            raise

    def _connect(self, process: str, session: int) -> None:
        end = time.monotonic() + LIMIT_S
        while (peer := wire.connect(self._box.socket, Hello(PROTO, process, process, session))) is None:
            if not self._box.alive or time.monotonic() > end:
                raise Gone
            time.sleep(0.004)
        self.peer = peer

    def expect(self, kind: type) -> object:
        """Return the next message of that kind; Stored are noted on the way."""
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            message = self._next(end)
            if isinstance(message, Stored):
                for seq in [seq for seq in self.unstored if seq <= message.seq]:
                    del self.unstored[seq]
            if isinstance(message, kind):
                return message
        raise TimeoutError(f"no {kind.__name__} came")

    def _next(self, end: float) -> object:
        with selectors.DefaultSelector() as selector:
            selector.register(self.peer, selectors.EVENT_READ)
            try:
                while (message := self.peer.receive()) is None and time.monotonic() < end:
                    selector.select(0.2)
            except WireError as error:
                raise Gone from error
        return message

    def send(self, *rows: object) -> None:
        """Send numbered rows."""
        for row in rows:
            self.seq += 1
            self.unstored[self.seq] = msgspec.structs.replace(row, seq=self.seq)
            self.give(self.unstored[self.seq])

    def go_on(self, held: "Held") -> None:
        """Go on with what an earlier connection of this life left, and leave one's own."""
        earlier, held[self._process] = held.get(self._process), self
        if earlier:
            self.seq, self.unstored = earlier.seq, earlier.unstored
            for row in list(self.unstored.values()):
                self.give(row)

    def settle(self) -> None:
        while self.unstored:
            self.expect(Stored)

    def ask(self, message: Act | Ask) -> Answer:
        self.give(message)
        return self.expect(Answer)

    def give(self, message: object) -> None:
        try:
            self.peer.send(message)
        except WireError as error:
            raise Gone from error

    def close(self) -> None:
        self.peer.close()


Held = dict[str, Party]


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch to inspect: its units are numbered from `first`."""

    name: str
    epoch: int
    first: int


FIRST = Batch("B-1", 1, 1)


def inspect(box: TracedRecorder, units: int, held: Held, batch: "Batch", *, close: bool = True) -> None:
    """A batch as its peers see it. `held` has, at any time, what nobody was told to be stored."""
    with closing(Party(box, "vision", VISION_SESSION)) as vision, closing(Party(box, "cli")) as cli:
        vision.go_on(held)
        vision.give(LOADED)
        if not _opened(cli, batch.name):
            return
        with closing(Party(box, "line", LINE_SESSION)) as line:
            arm = line.expect(Arm)
            line.go_on(held)
            _rows(line, vision, arm, batch, units)
            if close and not (answer := cli.ask(act("batch-close", batch.name))).ok:
                raise RuntimeError(answer.text)


def _opened(cli: Party, batch: str) -> bool:
    """Open the batch, or go on with it; False if it is closed already."""
    end = time.monotonic() + LIMIT_S
    while not (answer := cli.ask(act("batch-open", batch))).ok and f"{batch} is open" not in answer.text:
        if "already on record" in answer.text:
            return False
        if time.monotonic() > end:
            raise TimeoutError(answer.text)
        time.sleep(0.004)
    return True


def _rows(line: Party, vision: Party, arm: Arm, batch: "Batch", units: int) -> None:
    """Every unit's rows, each time until they are stored; those that are on record are sent again."""
    last = batch.first + units - 1
    for number in range(batch.first, last + 1):
        line.send(permit(number, arm, batch.epoch), unit(number, arm, batch.epoch))
        vision.send(image_row(number))
        if number % 3 == 0:
            line.send(spoken(number), AlarmRow(0, number, "FRAME_LOST", "a frame was lost", "execute", None))
        if number == last:
            counts = totals(units, units, batch.epoch)
            line.send(msgspec.structs.replace(counts, first=batch.first, last=last))
        line.settle()
        vision.settle()


def prepare_fresh(folder: Path) -> None:
    """An empty state folder."""
    station_file(folder)


def prepare_open(folder: Path) -> None:
    """A recorder that was killed with a batch open."""
    box = TracedRecorder(folder)
    with _running(box):
        inspect(box, 4, {}, FIRST, close=False)
        box.kill()


def prepare_older(folder: Path) -> None:
    """A ledger of schema 2 with a closed batch in it."""
    prepare_fresh(folder)
    scratch = folder / "made"
    scratch.mkdir()
    box = TracedRecorder(scratch)
    with _running(box):
        inspect(box, 4, {}, Batch("B-0", 1, 1))
    with closing(sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)) as db:
        for version in (1, 2):
            db.executescript(schema_path(version).read_text(encoding="utf-8"))
        db.execute("ATTACH ? AS made", (str(scratch / "ledger.sqlite"),))
        for table in ("batch", "permit", "unit", "unit_view", "alarm", "plc_totals", "session"):
            names = ", ".join(row[1] for row in db.execute(f"PRAGMA main.table_info({table})"))
            db.execute(f"INSERT INTO main.{table} ({names}) SELECT {names} FROM made.{table}")
        db.execute("UPDATE session SET session = session + 1000")
        db.execute("PRAGMA journal_mode = WAL")
    shutil.rmtree(scratch)


@contextmanager
def _running(box: TracedRecorder):
    box.start()
    try:
        yield
    finally:
        box.stop()


@dataclass(frozen=True, slots=True)
class RecorderLife:
    """One life of the recorder over a prepared folder: `live` it, cut or not, then `finish` for real."""

    name: str
    prepare: Callable[[Path], None]
    batch: Batch = FIRST
    units: int = 6

    def live(self, folder: Path, log: Path, cut: tuple[str, int] | None) -> Held:
        """Return what the peers still hold."""
        box, held = TracedRecorder(folder, log, cut), {}
        box.start()
        try:
            inspect(box, self.units, held, self.batch)
        except Gone:
            if cut is None:
                raise
        finally:
            status, text = box.stop()
        if cut is None and status:
            raise RuntimeError(text)
        return held

    def finish(self, folder: Path, held: Held) -> tuple[list[str], list[Promise]]:
        """Start a real recorder again; the peers send what was not stored and the batch is closed."""
        box = TracedRecorder(folder)
        box.start()
        try:
            inspect(box, self.units, held, self.batch)
        except (Gone, TimeoutError, RuntimeError) as error:
            return [f"does not go on: {type(error).__name__} {error}; {box.stop()}"], []
        status, text = box.stop()
        return [f"ended with {status}: {text}"] if status else [], []

    @property
    def disk(self) -> bool:
        """Whether its disk is cut too."""
        return True

    @property
    def unavailable(self) -> str:
        """Why it cannot be lived here."""
        return ""

    def close(self) -> None:
        """Nothing stays open."""

    @property
    def short(self) -> bool:
        """Whether it can be lived again for every single cut."""
        return self.units < LONG

    promises = staticmethod(promises)
    judge = staticmethod(judge)


LIVES = (
    RecorderLife("recorder, from nothing", prepare_fresh),
    RecorderLife("recorder, restarted in a batch", prepare_open),
    RecorderLife("recorder, schema 2 to 3", prepare_older, Batch("B-1", 2, 101)),
    RecorderLife("recorder, long enough for the WAL to begin anew", prepare_fresh, FIRST, LONG),
)
