"""The recorder process: takes rows from line, answers acts, arms batches. One loop, the only writer of the ledger."""

import contextlib
import secrets
import selectors
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from daemon import config, ledger_file, notify
from daemon.config import ConfigError, Station
from daemon.ledger_file import LEDGER, LedgerUnreadable
from daemon.messages import (
    PROTO,
    Act,
    AlarmRow,
    Answer,
    Ask,
    GapRow,
    Hello,
    Loaded,
    PermitRow,
    PlcTotals,
    Resume,
    Staged,
    Stored,
    UnitRow,
)
from daemon.recorder.desk import Desk, Pins
from daemon.recorder.gather import Gather, Trouble
from daemon.recorder.heads import Heads
from daemon.recorder.ledger import Ledger
from daemon.recorder.notary import Notary
from daemon.recorder.opening import device_key, open_trail
from daemon.recorder.papers import Papers
from daemon.recorder.rows import Received
from daemon.recorder.schema import LedgerBusy, LedgerError
from daemon.recorder.swap import among
from daemon.recorder.verify import TrailBroken
from daemon.recorder.wall import WallClock
from daemon.records import ArchivedRow, AuditRow, EvidenceRow, LineRow
from daemon.wire import Listener, Message, Peer, PeerGone, WireError, encode
from drivers.registers import load_map
from signing.chain import origin
from signing.errors import KeyFailed, SigningError

# EX_CONFIG is for a person, EX_TEMPFAIL for the next start.
EXIT_CONFIG, EXIT_AGAIN = 78, 75
SOCKET = "recorder.sock"
TICK_S = 0.1
REVOCATIONS_NS = 1_000_000_000
BURST = 128
LARGEST_SESSION = 0xFFFFFFFF
ASKERS = ("cli", "gateway")
# Who may send which rows; all of them are numbered, sent again until stored, and never answered otherwise.
ROWS = {
    "line": (UnitRow, PermitRow, GapRow, AlarmRow, PlcTotals, AuditRow),
    "vision": (EvidenceRow,),
    "uplink": (ArchivedRow,),
    "slots": (AuditRow,),
}
SentRow = LineRow | AuditRow | EvidenceRow | ArchivedRow


@dataclass(slots=True, eq=False)
class Connection:
    """One peer; `process` is empty until its Hello."""

    peer: Peer
    process: str = ""
    session: int = 0
    paused: bool = False


class Recorder:
    """The loop. Sockets in, ledger out; everything it decides is in desk.py, gather.py and batch.py."""

    def __init__(
        self, station: Station, papers: Papers, ledger: Ledger, pins: Pins, listener: Listener, heads: Heads
    ) -> None:
        clock = WallClock()
        self._session = secrets.randbits(32)
        self._hello = Hello(PROTO, "recorder", station.name, self._session)
        self._ledger = ledger
        self._gather = Gather(ledger, clock, self._session, int(station.recorder.group_ms * 1e6))
        self._desk = Desk(station, papers, pins, ledger, self._gather, clock)
        self._notary = Notary(ledger, self._gather, clock, heads)
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, None)
        self._connections: list[Connection] = []
        self._failure = ""
        self._next_look_ns = 0
        self._odd_batches: set[str] = set()
        self._watchdog = notify.Watchdog()
        self._desk.advanced = self._watchdog.advanced
        ledger.while_busy(self._watchdog.advanced)

    def run(self, stop: int) -> None:
        """Serve until `stop` (a file descriptor) becomes readable, then write what is gathered."""
        self._selector.register(stop, selectors.EVENT_READ, stop)
        stopping = False
        self._notary.opened(self._desk.arm.batch)
        while not stopping:
            for key, _ in self._selector.select(self._timeout_s()):
                stopping |= key.data == stop
                self._serve(key.data)
            self._commit_when_due()
            self._watchdog.advanced()
        self._notary.closed(self._desk.arm.batch)
        self._acknowledge(self._gather.flush(time.monotonic_ns()))
        self._notary.close(self._desk.arm.batch)
        if self._gather.unstored:
            _say(f"{self._gather.unstored} rows are not stored and not acknowledged: line sends them again")

    def close(self) -> None:
        for connection in self._connections:
            connection.peer.close()
        self._selector.close()

    def _timeout_s(self) -> float:
        wait_ns = self._gather.wait_ns(time.monotonic_ns())
        return TICK_S if wait_ns is None else min(TICK_S, wait_ns / 1e9)

    def _serve(self, served: Connection | int | None) -> None:
        if isinstance(served, Connection):
            self._read(served)
        elif served is None and (peer := self._listener.accept()):
            connection = Connection(peer)
            self._connections.append(connection)
            self._selector.register(peer, selectors.EVENT_READ, connection)

    def _read(self, connection: Connection) -> None:
        for _ in range(BURST):
            if connection not in self._connections or (connection.process in ROWS and self._gather.full):
                return
            try:
                message = connection.peer.receive()
            except WireError as error:
                self._drop(connection, error)
                return
            if message is None:
                return
            self._take(connection, message)

    def _take(self, connection: Connection, message: Message) -> None:
        try:
            if isinstance(message, Hello):
                self._greet(connection, message)
            elif isinstance(message, SentRow):
                self._row(connection, message)
            elif isinstance(message, Loaded | Staged):
                self._remember(connection, message)
            elif isinstance(message, Act | Ask):
                self._answer(connection, message)
            else:
                raise WireError(f"{type(message).__name__} is not for the recorder")
        except WireError as error:
            self._drop(connection, error)
        except LedgerError as error:
            self._drop(connection, WireError(str(error)))

    def _greet(self, connection: Connection, hello: Hello) -> None:
        if hello.proto != PROTO:
            raise WireError(
                f"{hello.process} speaks protocol {hello.proto}, not {PROTO}: install one release everywhere"
            )
        if connection.process or not 0 <= hello.session <= LARGEST_SESSION:
            raise WireError(f"a second Hello, or session {hello.session} out of range")
        if hello.process in ROWS and hello.session in self._others(hello.process):
            raise WireError(f"session {hello.session} is another process's: restart {hello.process}")
        for older in [c for c in self._connections if c.process == hello.process and c.process not in ASKERS]:
            self._drop(older, PeerGone(f"a newer {hello.process} connected"))
        connection.process, connection.session = hello.process, hello.session
        connection.peer.process, connection.peer.name = hello.process, hello.name
        connection.peer.send(self._hello)
        if hello.process in ROWS:
            self._acknowledge(self._gather.flush(time.monotonic_ns()))
            self._gather.begin(connection.session)
        if hello.process == "line":
            self._resume(connection)
        elif hello.process == "vision":
            connection.peer.send(self._desk.arm)

    def _others(self, process: str) -> set[int]:
        """Sessions of the other processes that send rows: a mark must be of one of them alone."""
        return {c.session for c in self._connections if c.process in ROWS and c.process != process}

    def _resume(self, connection: Connection) -> None:
        connection.peer.send(_fitting(self._ledger.resume()))
        connection.peer.send(self._desk.arm)
        self._desk.line_present = True

    def _row(self, connection: Connection, row: SentRow) -> None:
        if not isinstance(row, ROWS.get(connection.process, ())):
            raise WireError(
                f"{connection.process or 'a peer without Hello'} sent {type(row).__name__}: not its to send"
            )
        batch = self._desk.arm.batch
        if isinstance(row, UnitRow) and row.batch != batch and row.batch not in self._odd_batches:
            self._odd_batches.add(row.batch)
            self._alarm(Trouble.OTHER_BATCH, f"unit {row.unit} is of batch {row.batch!r}, open is {batch!r}")
        self._gather.add(Received(connection.session, row, batch, connection.process))

    def _remember(self, connection: Connection, loaded: Loaded | Staged) -> None:
        _expect(connection, "vision", loaded)
        if isinstance(loaded, Staged):
            self._desk.staged = loaded.warm
            return
        self._desk.loaded = loaded
        arm = self._desk.arm
        if arm.batch and not among(self._desk.warm, arm.bundle, arm.recipe):
            text = (
                f"vision loaded bundle {loaded.bundle[:12]} recipe {loaded.recipe[:12]}, batch {arm.batch} needs others"
            )
            self._alarm(Trouble.OTHER_BUNDLE, text)

    def _answer(self, connection: Connection, message: Act | Ask) -> None:
        if not connection.process:
            raise WireError("a question before Hello")
        if isinstance(message, Ask):
            known = message.what == "report"
            connection.peer.send(self._desk.report() if known else Answer(False, f"ask line for {message.what!r}"))
            return
        armed = self._desk.arm
        self._acknowledge(self._gather.flush(time.monotonic_ns()))
        answer, told = self._desk.act(message)
        if told:
            self._gather.audit(told, armed.batch)
            self._acknowledge(self._gather.flush(time.monotonic_ns()))
            if self._gather.unstored:
                answer = Answer(False, f"{answer.text}; not on record yet: {self._gather.failure}")
        if self._desk.arm != armed:
            self._notary.witness(time.monotonic_ns())
            self._arm()
        connection.peer.send(answer)

    def _arm(self) -> None:
        for connection in [c for c in self._connections if c.process in ("line", "vision")]:
            with self._dropping(connection):
                connection.peer.send(self._desk.arm)

    def _commit_when_due(self) -> None:
        now = time.monotonic_ns()
        if self._gather.wait_ns(now) == 0:
            self._acknowledge(self._gather.commit(now))
        self._hold_or_read()
        if now >= self._next_look_ns:
            self._next_look_ns = now + REVOCATIONS_NS
            if self._desk.look_for_revocations():
                self._arm()
        self._notary.tick(now, self._desk.arm.batch)
        if self._gather.failure != self._failure:
            self._failure = self._gather.failure
            _say(self._failure or "the ledger is written again")
            notify.status(self._failure or "recording")

    def _acknowledge(self, acknowledged: Mapping[int, int]) -> None:
        for connection in [c for c in self._connections if c.process in ROWS]:
            if mark := acknowledged.get(connection.session):
                with self._dropping(connection):
                    connection.peer.send(Stored(mark))

    def _hold_or_read(self) -> None:
        for connection in [c for c in self._connections if c.process in ROWS and c.paused != self._gather.full]:
            connection.paused = self._gather.full
            if connection.paused:
                self._selector.unregister(connection.peer)
            else:
                self._selector.register(connection.peer, selectors.EVENT_READ, connection)

    @contextmanager
    def _dropping(self, connection: Connection) -> Iterator[None]:
        try:
            yield
        except WireError as error:
            self._drop(connection, error)

    def _drop(self, connection: Connection, error: WireError) -> None:
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        if not connection.paused:
            self._selector.unregister(connection.peer)
        connection.peer.close()
        if connection.process == "line":
            self._desk.line_present = False
        elif connection.process == "vision":
            self._desk.vision_lost()
        if not isinstance(error, PeerGone):
            self._alarm(Trouble.PEER_DROPPED, f"{connection.process or 'a peer'} was dropped: {error}")

    def _alarm(self, code: Trouble, text: str) -> None:
        _say(f"{code.value}: {text}")
        self._gather.alarm(code, text, self._desk.arm.batch)


def main(station_path: Path) -> int:
    """Run the recorder of a station until SIGTERM; return the exit status (78: a person has to look, 75: try again)."""
    with contextlib.ExitStack() as opened:
        try:
            recorder = _open(station_path, opened)
        except (LedgerBusy, KeyFailed, OSError) as error:
            _say(str(error))
            return EXIT_AGAIN
        except (ConfigError, LedgerError, TrailBroken, LedgerUnreadable, SigningError) as error:
            _say(str(error))
            return EXIT_CONFIG
        with notify.stop_signal() as stop:
            notify.ready("recording")
            recorder.run(stop)
            notify.stopping("stopped")
    return 0


def _open(station_path: Path, opened: contextlib.ExitStack) -> Recorder:
    """Check everything that the recorder stands on, the trail last, and listen."""
    station, state = config.load(station_path), config.state_dir()
    registers = load_map()
    pins = Pins(config.digest(station_path), registers.digest, config.release(), registers.flags["permitted"])
    key = device_key(station, state)
    failed = opened.enter_context(contextlib.ExitStack())
    failed.callback(key.close)
    ledger = opened.enter_context(contextlib.closing(Ledger(state / LEDGER, advanced=notify.starting)))
    try:
        open_trail(ledger, state, station, key)
    except TrailBroken as error:
        raise TrailBroken(f"{state / LEDGER}: {error}; keep the file, see `linewarden audit verify`") from error
    try:
        listener = Listener(config.runtime_dir() / SOCKET)
    except OSError as error:
        raise ConfigError(f"{SOCKET}: {error}; check the runtime directory") from error
    opened.enter_context(contextlib.closing(listener))
    heads = Heads(key, origin(station.name, station.identity), ledger_file.signed(ledger.database))
    failed.pop_all()  # from now on the thread that uses the key closes it
    recorder = Recorder(station, Papers(station_path, station, state), ledger, pins, listener, heads)
    opened.enter_context(contextlib.closing(recorder))
    return recorder


def _fitting(resume: Resume) -> Resume:
    """Return Resume with the newest permits that fit into one message; older ones keep the batch open."""
    while resume.permitted:
        try:
            encode(resume)
        except WireError:
            half = (len(resume.permitted) + 1) // 2
            resume = msgspec.structs.replace(resume, permitted=resume.permitted[half:])
        else:
            break
    return resume


def _expect(connection: Connection, process: str, message: Message) -> None:
    if connection.process != process:
        name = type(message).__name__
        raise WireError(f"{name} came from {connection.process or 'a peer without Hello'}, only {process} sends it")


def _say(text: str) -> None:
    print(f"recorder: {text}", file=sys.stderr, flush=True)
