"""The recorder as a real process, and the peers it talks to: a line that re-sends until acknowledged, vision, a CLI."""

import os
import selectors
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from daemon import messages, wire
from daemon.messages import Act, Arm, Ask, Hello, Loaded, PermitRow, PlcTotals, Resume, Stored, UnitRow
from daemon.units import Channel, FrameKey, JudgedView, Outcome, Reason, Stages, UnitId, Verdict, ViewKey

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 20.0
# No two processes are given the same session.
SESSIONS = {"vision": 1_000_000, "uplink": 2_000_000}
LOADED = Loaded("b" * 64, "e" * 64, "vials", "2R", [ViewKey("side")], 120.0, 10.0, 20.0, 200.0)

STATION = """
name = "box"
identity = 1
plc_identity = 2
production = false
simulated = {simulated}
mode = "automatic"
[wiring]
kind = "modbus-client"
[geometry]
counts_per_mm = 10.0
gate_mm = 600.0
chute_eye_mm = 650.0
pass_eye_mm = 660.0
[[cameras]]
name = "side"
serial = "S1"
producer = "simline.cti"
station = 0
position_mm = 200.0
width = 1280
height = 1024
[vision]
bundle = "bundle"
recipe = "recipe"
trust = "trust"
[recorder]
key = "development"
"""


class RecorderProcess:
    """One station on disk and the recorder that is started, killed and started again over its ledger."""

    def __init__(self, folder: Path, simulated: bool = True) -> None:
        self.station = folder / "station.toml"
        self.station.write_text(STATION.format(simulated=str(simulated).lower()))
        self.ledger = folder / "ledger.sqlite"
        self.socket = folder / "recorder.sock"
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        found = f"import sys; sys.path.insert(0, {str(ROOT)!r})"
        code = f"{found}; from daemon.__main__ import main as run; sys.exit(run(sys.argv[1:]))"
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-W", "error", "-c", code, "recorder", str(self.station)],
            env={
                "PATH": os.environ["PATH"],
                "RUNTIME_DIRECTORY": str(self._folder),
                "STATE_DIRECTORY": str(self._folder),
            },
            stderr=subprocess.PIPE,
            text=True,
        )

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """End the process; return its exit status and what it wrote to stderr."""
        process, self._process = self._process, None
        if process is None:
            return 0, ""
        process.send_signal(number)
        return self._ended(process)

    def refused(self) -> tuple[int, str]:
        """Wait for a process that ends by itself."""
        process, self._process = self._process, None
        return self._ended(process)

    @staticmethod
    def _ended(process) -> tuple[int, str]:
        _, text = process.communicate(timeout=LIMIT_S)
        return process.returncode, text

    def look(self, sql: str) -> list[tuple]:
        with closing(sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True)) as db:
            return db.execute(sql).fetchall()


class Talker:
    """A peer of the recorder. `replies` keeps what came besides what is waited for."""

    def __init__(self, path: Path, process: str, session: int = 1) -> None:
        hello = Hello(messages.PROTO, process, process, session + SESSIONS.get(process, 0))
        found: list[wire.Peer | None] = [None]
        until(lambda: found.append(wire.connect(path, hello)) or found[-1] is not None, "the recorder does not listen")
        self.peer = found[-1]
        self.hello = self.await_one(Hello)

    def await_one(self, kind):
        """Return the next message, which must be of that kind."""
        message = self.next()
        if not isinstance(message, kind):
            raise TypeError(f"{message} came instead of {kind}")
        return message

    def next(self, limit_s: float = LIMIT_S):
        """Return the next message."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.peer, selectors.EVENT_READ)
            while (message := self.peer.receive()) is None:
                if not selector.select(limit_s):
                    raise TimeoutError("no message came")
        return message

    def ask(self, message):
        self.peer.send(message)
        return self.next()

    def close(self) -> None:
        self.peer.close()


class Line(Talker):
    """Line as law 4 has it: numbers its rows from 1, keeps them until Stored, sends them again in order."""

    def __init__(self, path: Path, session: int = 1, kept: "Line | None" = None) -> None:
        super().__init__(path, "line", session)
        self.resume = self.await_one(Resume)
        self.arm = self.await_one(Arm)
        self.unacknowledged: dict[int, object] = dict(kept.unacknowledged) if kept else {}
        self.acknowledged: int = kept.acknowledged if kept else 0
        self.seq: int = kept.seq if kept else 0
        for row in list(self.unacknowledged.values()):
            self.peer.send(row)

    def send(self, row) -> None:
        self.seq += 1
        row = msgspec.structs.replace(row, seq=self.seq)
        self.unacknowledged[self.seq] = row
        self.peer.send(row)

    def note(self, message) -> None:
        """Take one Stored."""
        if not isinstance(message, Stored):
            raise TypeError(f"{message} came instead of Stored")
        self.acknowledged = max(self.acknowledged, message.seq)
        self.unacknowledged = {seq: row for seq, row in self.unacknowledged.items() if seq > self.acknowledged}

    def settle(self) -> None:
        """Wait until everything is acknowledged."""
        while self.unacknowledged:
            self.note(self.next())


@contextmanager
def talking(path: Path, process: str) -> Iterator[Talker]:
    with closing(Talker(path, process)) as talker:
        yield talker


def open_batch(box: RecorderProcess, name: str = "B-1", loaded: Loaded = LOADED) -> Talker:
    """Let vision load and a person open a batch; return vision, still connected."""
    vision = Talker(box.socket, "vision")
    vision.await_one(Arm)
    vision.peer.send(loaded)
    with talking(box.socket, "cli") as cli:
        until(lambda: cli.ask(act("batch-open", name)).ok, "the batch does not open")
    return vision


def until(met: Callable[[], bool], what: str) -> None:
    """Wait until something is so."""
    end = time.monotonic() + LIMIT_S
    while not met():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.005)


def act(kind: str, new: str, reason: str = "test") -> Act:
    return Act(kind, "a.person", "operator", reason, "", new)


def report_of(box: RecorderProcess) -> dict:
    with talking(box.socket, "cli") as cli:
        return msgspec.json.decode(cli.ask(Ask("report")).document)


def permit(number: int, arm: Arm, epoch: int = 1) -> PermitRow:
    unit = UnitId(epoch, 0, number)
    return PermitRow(0, unit, arm.batch, arm.configuration, Verdict.ACCEPT, _views(number), arm.bundle, _stages(number))


def unit(number: int, arm: Arm, epoch: int = 1, accepted: bool = True) -> UnitRow:
    return UnitRow(
        seq=0,
        unit=UnitId(epoch, 0, number),
        batch=arm.batch,
        configuration=arm.configuration,
        outcome=Outcome.ACCEPTED if accepted else Outcome.REJECTED,
        verdict=Verdict.ACCEPT if accepted else Verdict.REJECT,
        reason=Reason.NONE if accepted else Reason.DEFECT,
        channel=Channel.NONE if accepted else Channel.CRITICAL,
        defect="" if accepted else "crack",
        source="line",
        views=_views(number),
        bundle=arm.bundle,
        plc_flags=9 if accepted else 6,
        encoder=4000 * number,
        stages=_stages(number),
    )


def totals(created: int, passed: int, epoch: int = 1) -> PlcTotals:
    return PlcTotals(0, epoch, 0, created, passed, created - passed, 1 if created else 0, created)


def _views(number: int) -> list[JudgedView]:
    names = ("side", "crimp")
    return [JudgedView(ViewKey(n), FrameKey(n, 9, number), number, f"{number:064x}", {"good": 0.9}) for n in names]


def _stages(number: int) -> Stages:
    start = number * 100_000_000 + 1
    return Stages(start, start + 10_000_000, start + 12_000_000, 1, 1, start + 15_000_000, start + 16_000_000, 1)
