"""Plays systemd for `linewarden sim`: starts, watches, restarts and stops processes by their unit files.

One owner, no thread: the caller's loop calls `tick()` whenever `selector` wakes it and at least every `wait_s()`.
A stopped supervisor leaves nothing behind: every process has its own group, and the group is killed.
"""

import enum
import os
import resource
import selectors
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from provisioning.unitfile import Unit

DATAGRAM = 4096
LONGEST_WAIT_NS = 500_000_000


class Phase(enum.StrEnum):
    """Where one process is in its life."""

    STARTING = "starting"
    READY = "ready"
    ABORTING = "aborting"
    WAITING = "waiting"
    STOPPING = "stopping"
    DOWN = "down"
    REFUSED = "refused"


class Kind(enum.StrEnum):
    """What happened to a process."""

    READY = "ready"
    EXITED = "exited"
    WATCHDOG = "watchdog"
    RESTARTED = "restarted"
    REFUSED = "refused"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, for the caller's view and report."""

    at_ns: int
    name: str
    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Places:
    """Folders handed to the processes as systemd does: $RUNTIME_DIRECTORY, $STATE_DIRECTORY, and where stderr goes."""

    runtime: Path
    state: Path
    log: Path


@dataclass(slots=True)
class Service:
    """One supervised process. Owned by the Supervisor."""

    unit: Unit
    command: tuple[str, ...]
    environment: dict[str, str]
    notify: socket.socket
    phase: Phase = Phase.DOWN
    status: str = ""
    restarts: int = 0
    log_start: int = 0
    due_ns: int = 0
    fed_ns: int = 0
    process: "subprocess.Popen[bytes] | None" = None
    pidfd: int = -1

    @property
    def name(self) -> str:
        return self.unit.name

    @property
    def pid(self) -> int:
        """Process id, 0 while it is down."""
        return self.process.pid if self.process else 0


class Supervisor:
    """Owned by: the loop of `linewarden sim`."""

    def __init__(
        self, places: Places, selector: selectors.BaseSelector, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._places = places
        self._selector = selector
        self._clock = clock
        self._services: dict[str, Service] = {}
        self._events: list[Event] = []
        self._noted: set[str] = set()
        self._dark_until_ns = 0

    def add(self, unit: Unit, command: Sequence[str]) -> None:
        """Take a process under supervision; `command` is its ExecStart with the paths of this machine."""
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.setblocking(False)
        notify.bind(f"\0linewarden/{os.getpid()}/{id(self):x}/{unit.name}")
        self._selector.register(notify, selectors.EVENT_READ)
        self._services[unit.name] = Service(unit, tuple(command), self._environment(unit, notify), notify)

    def start(self) -> None:
        """Start every process that is not running."""
        for service in self._services.values():
            if service.process is None:
                self._spawn(service)

    @property
    def services(self) -> tuple[Service, ...]:
        return tuple(self._services.values())

    @property
    def ready(self) -> bool:
        """True while every process has said READY=1."""
        return all(service.phase is Phase.READY for service in self._services.values())

    def refused(self) -> Service | None:
        """Return a process that will not be started again, if there is one."""
        return next((s for s in self._services.values() if s.phase is Phase.REFUSED), None)

    def wait_s(self) -> float:
        """Return how long the caller may sleep before the next `tick`."""
        now = self._clock()
        due = min((s.due_ns for s in self._services.values() if s.due_ns), default=now + LONGEST_WAIT_NS)
        return max(0, min(due - now, LONGEST_WAIT_NS)) / 1e9

    def tick(self) -> list[Event]:
        """Handle exits, notifications and timers; return what happened since the last call."""
        for service in self._services.values():
            self._hear(service)
            self._reap(service)
            if service.due_ns and self._clock() >= service.due_ns:
                self._expire(service)
        events, self._events = self._events, []
        return events

    def signal(self, name: str, number: signal.Signals) -> bool:
        """Send a signal to one process; False when it is down at this moment.

        Raises:
            KeyError: no such process.
        """
        service = self._services[name]
        if service.process is None or service.process.poll() is not None:
            return False
        service.process.send_signal(number)
        return True

    def power_off(self, off_ns: int) -> None:
        """The computer loses power for `off_ns`: every process ends at once, and starts again with the power."""
        self._dark_until_ns = self._clock() + off_ns
        for service in self._services.values():
            if service.process is not None:
                _kill_group(service.pid)

    def last_lines(self, name: str, count: int = 5) -> list[str]:
        """Return the last stderr lines of the process's latest life."""
        service = self._services[name]
        path = self._places.log / f"{name}.log"
        if not path.exists():
            return []
        with path.open("rb") as file:
            file.seek(service.log_start)
            text = file.read().decode("utf-8", "replace")
        return [line for line in text.splitlines() if line.strip()][-count:]

    def stop(self) -> None:
        """SIGTERM to all, SIGKILL to what outlives its TimeoutStopSec, and wait for every one. Idempotent."""
        for service in self._services.values():
            if service.process is not None:
                service.phase = Phase.STOPPING
                service.process.send_signal(signal.SIGTERM)
                service.process.send_signal(signal.SIGCONT)
                service.due_ns = self._clock() + service.unit.stop_timeout_ns
            else:
                service.phase, service.due_ns = Phase.DOWN, 0
        for service in self._services.values():
            self._await_end(service)

    def close(self) -> None:
        """Stop everything and give the sockets back; what `services` says stays readable. Idempotent."""
        self.stop()
        for service in self._services.values():
            if service.notify.fileno() >= 0:
                self._selector.unregister(service.notify)
                service.notify.close()

    def _environment(self, unit: Unit, notify: socket.socket) -> dict[str, str]:
        environment = {key: os.environ[key] for key in ("PATH", "LANG", "TZ") if key in os.environ}
        environment |= unit.environment
        environment["NOTIFY_SOCKET"] = "@" + notify.getsockname()[1:].decode()
        environment["RUNTIME_DIRECTORY"] = str(self._places.runtime)
        if unit.state:
            environment["STATE_DIRECTORY"] = str(self._places.state)
        if unit.watchdog_ns:
            environment["WATCHDOG_USEC"] = str(unit.watchdog_ns // 1000)
        return environment

    def _spawn(self, service: Service) -> None:
        path = self._places.log / f"{service.name}.log"
        with path.open("ab") as log:
            service.log_start = log.tell()
            service.process = subprocess.Popen(
                (*die_with_parent(), *service.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=service.environment,
                cwd="/",
                start_new_session=True,
            )
        service.pidfd = os.pidfd_open(service.process.pid)
        self._selector.register(service.pidfd, selectors.EVENT_READ)
        service.phase = Phase.STARTING
        service.due_ns = self._clock() + service.unit.start_timeout_ns
        self._raise_privileges(service)

    def _raise_privileges(self, service: Service) -> None:
        if service.unit.fifo:
            policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
            try:
                os.sched_setscheduler(service.pid, policy, os.sched_param(service.unit.fifo))
            except OSError as error:
                self._note(service, f"runs without real-time priority ({error.strerror})")
        if service.unit.lock_memory:
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            try:
                resource.prlimit(service.pid, resource.RLIMIT_MEMLOCK, unlimited)
            except (OSError, ValueError):
                self._note(service, "cannot lock all its memory (not permitted here)")

    def _hear(self, service: Service) -> None:
        while True:
            try:
                text = service.notify.recv(DATAGRAM).decode("utf-8", "replace")
            except BlockingIOError:
                return
            for line in text.splitlines():
                self._heard(service, *line.split("=", 1))

    def _heard(self, service: Service, key: str, value: str = "") -> None:
        if key == "STATUS":
            service.status = value
        elif key == "READY" and service.phase is Phase.STARTING:
            service.phase = Phase.READY
            self._tell(service, Kind.READY, service.status)
            self._feed(service)
        elif key == "WATCHDOG" and service.phase is Phase.READY:
            self._feed(service)

    def _feed(self, service: Service) -> None:
        service.fed_ns = self._clock()
        service.due_ns = service.fed_ns + service.unit.watchdog_ns if service.unit.watchdog_ns else 0

    def _reap(self, service: Service) -> None:
        if service.process is None or service.process.poll() is None:
            return
        code, phase = service.process.returncode, service.phase
        self._forget(service)
        self._tell(service, Kind.EXITED, ": ".join([_describe(code), *self._last_words(service, code)]))
        if phase is Phase.STOPPING or not service.unit.restart:
            service.phase, service.due_ns = Phase.DOWN, 0
        elif code in service.unit.keep_down:
            service.phase, service.due_ns = Phase.REFUSED, 0
            self._tell(service, Kind.REFUSED, " ".join(self.last_lines(service.name, 1)) or _describe(code))
        else:
            service.phase = Phase.WAITING
            service.due_ns = max(self._clock() + service.unit.restart_ns, self._dark_until_ns)

    def _last_words(self, service: Service, code: int) -> list[str]:
        """Return the line that ends a traceback; what a signal leaves behind is a stack, for the log alone."""
        return self.last_lines(service.name, 1) if code > 0 else []

    def _expire(self, service: Service) -> None:
        if service.phase is Phase.WAITING:
            service.restarts += 1
            self._spawn(service)
            self._tell(service, Kind.RESTARTED, f"restart {service.restarts}")
        elif service.phase in (Phase.READY, Phase.STARTING):
            self._tell(
                service, Kind.WATCHDOG, "no ping in time" if service.phase is Phase.READY else "start took too long"
            )
            self._abort(service)
        elif service.process is not None:
            service.due_ns = 0
            _kill_group(service.pid)

    def _abort(self, service: Service) -> None:
        assert service.process is not None
        service.phase = Phase.ABORTING
        service.due_ns = self._clock() + service.unit.abort_timeout_ns
        service.process.send_signal(signal.SIGABRT)
        service.process.send_signal(signal.SIGCONT)

    def _await_end(self, service: Service) -> None:
        if service.process is None:
            return
        try:
            service.process.wait(max(0, service.due_ns - self._clock()) / 1e9)
        except subprocess.TimeoutExpired:
            _kill_group(service.pid)
            service.process.wait()
        self._forget(service)
        service.phase, service.due_ns = Phase.DOWN, 0

    def _forget(self, service: Service) -> None:
        _kill_group(service.pid)
        self._selector.unregister(service.pidfd)
        os.close(service.pidfd)
        service.process, service.pidfd = None, -1

    def _tell(self, service: Service, kind: Kind, text: str) -> None:
        self._events.append(Event(self._clock(), service.name, kind, text))

    def _note(self, service: Service, text: str) -> None:
        if (service.name + text) not in self._noted:
            self._noted.add(service.name + text)
            self._tell(service, Kind.NOTE, text)


def die_with_parent() -> tuple[str, ...]:
    """Return the command prefix that ends a process when its starter dies, empty where util-linux is missing."""
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", "KILL", "--") if setpriv else ()


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _describe(code: int) -> str:
    return f"exit status {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
