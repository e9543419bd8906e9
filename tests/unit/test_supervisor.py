"""The supervisor against real processes: small scripts that behave well, hang, crash, refuse or fork."""

import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provisioning.supervisor import Event, Kind, Phase, Places, Supervisor
from provisioning.unitfile import Unit

MS = 1_000_000
LIMIT_S = 20.0

PREAMBLE = """
import os, signal, socket, sys, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
name = os.environ["NOTIFY_SOCKET"]
s.connect("\\0" + name[1:] if name[0] == "@" else name)
def say(text): s.send(text.encode())
"""
PINGS = PREAMBLE + "say('READY=1\\nSTATUS=fine')\nwhile True:\n    say('WATCHDOG=1')\n    time.sleep(0.02)\n"
HANGS = PREAMBLE + "say('READY=1')\ntime.sleep(600)\n"
STUBBORN = (
    "import signal\nsignal.signal(signal.SIGABRT, signal.SIG_IGN)\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
)
REFUSES = "import sys\nprint('line 1', file=sys.stderr)\nprint('x: key y is wrong', file=sys.stderr)\nsys.exit(78)\n"
CRASHES = PREAMBLE + "say('READY=1')\nsys.exit(3)\n"
FORKS = PREAMBLE + (
    "import subprocess\nchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "open(os.environ['RUNTIME_DIRECTORY'] + '/child', 'w').write(str(child.pid))\n"
    "say('READY=1')\nwhile True:\n    say('WATCHDOG=1')\n    time.sleep(0.02)\n"
)
TELLS = PREAMBLE + (
    "import json\nout = {k: os.environ.get(k) for k in ('RUNTIME_DIRECTORY', 'STATE_DIRECTORY', 'WATCHDOG_USEC', 'A',"
    " 'HOME')}\nout['cwd'] = os.getcwd()\n"
    "open(os.environ['RUNTIME_DIRECTORY'] + '/seen', 'w').write(json.dumps(out))\nsay('READY=1')\ntime.sleep(600)\n"
)


class Bench:
    """A supervisor with its loop, driven until something happened."""

    def __init__(self, folder: Path) -> None:
        for name in ("run", "state", "log"):
            (folder / name).mkdir()
        self.places = Places(folder / "run", folder / "state", folder / "log")
        self.selector = selectors.DefaultSelector()
        self.supervisor = Supervisor(self.places, self.selector)
        self.events: list[Event] = []

    def add(self, script: str, **rules: object) -> None:
        self.supervisor.add(_unit(**rules), [sys.executable, "-I", "-c", script])

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < end, f"waited {LIMIT_S} s; saw {self.events}"
            self.selector.select(min(0.05, self.supervisor.wait_s()))
            self.events += self.supervisor.tick()

    def kinds(self) -> list[Kind]:
        return [event.kind for event in self.events if event.kind is not Kind.NOTE]

    @property
    def only(self) -> Phase:
        return self.supervisor.services[0].phase


def _unit(**rules: object) -> Unit:
    defaults: dict[str, object] = {
        "name": "x",
        "command": (),
        "environment": {},
        "watchdog_ns": 5000 * MS,
        "restart": True,
        "restart_ns": 20 * MS,
        "keep_down": frozenset({78}),
        "start_timeout_ns": 10_000 * MS,
        "stop_timeout_ns": 3000 * MS,
        "abort_timeout_ns": 200 * MS,
        "fifo": 0,
        "lock_memory": False,
        "state": False,
    }
    return Unit(**(defaults | rules))  # type: ignore[arg-type]  # rules are named by each test


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.supervisor.close()
    bench.selector.close()


def test_a_process_is_ready_when_it_says_so_and_stops_on_sigterm(bench: Bench) -> None:
    bench.add(PINGS)
    bench.supervisor.start()
    assert not bench.supervisor.ready
    bench.until(lambda: bench.supervisor.ready)
    assert bench.supervisor.services[0].status == "fine"
    pid = bench.supervisor.services[0].pid
    bench.supervisor.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert bench.only is Phase.DOWN


def test_a_killed_process_comes_back_and_is_counted(bench: Bench) -> None:
    bench.add(PINGS)
    bench.supervisor.start()
    bench.until(lambda: bench.supervisor.ready)
    for restarts in (1, 2):
        assert bench.supervisor.signal("x", signal.SIGKILL)
        bench.until(lambda wanted=restarts: bench.supervisor.services[0].restarts == wanted and bench.supervisor.ready)
    assert bench.kinds() == [Kind.READY, *[Kind.EXITED, Kind.RESTARTED, Kind.READY] * 2]
    assert "SIGKILL" in bench.events[1].text


def test_a_power_cut_ends_every_process_at_once_and_they_come_back_with_the_power(bench: Bench) -> None:
    for name in ("x", "y"):
        bench.add(PINGS, name=name)
    bench.supervisor.start()
    bench.until(lambda: bench.supervisor.ready)
    before = time.monotonic_ns()
    bench.supervisor.power_off(400 * MS)
    bench.until(lambda: all(s.restarts == 1 for s in bench.supervisor.services) and bench.supervisor.ready)
    assert time.monotonic_ns() - before >= 400 * MS
    assert [event.text for event in bench.events if event.kind is Kind.EXITED] == ["killed by SIGKILL"] * 2


@pytest.mark.parametrize("script", [HANGS, STUBBORN + HANGS], ids=["dies of SIGABRT", "needs SIGKILL"])
def test_a_process_that_does_not_ping_is_aborted_and_restarted(bench: Bench, script: str) -> None:
    bench.add(script, watchdog_ns=150 * MS)
    bench.supervisor.start()
    bench.until(lambda: Kind.RESTARTED in bench.kinds())
    assert bench.kinds()[:4] == [Kind.READY, Kind.WATCHDOG, Kind.EXITED, Kind.RESTARTED]


def test_a_stopped_process_is_found_by_its_watchdog(bench: Bench) -> None:
    bench.add(PINGS, watchdog_ns=300 * MS)
    bench.supervisor.start()
    bench.until(lambda: bench.supervisor.ready)
    bench.supervisor.signal("x", signal.SIGSTOP)
    bench.until(lambda: bench.supervisor.services[0].restarts == 1 and bench.supervisor.ready)
    assert "SIGABRT" in next(event.text for event in bench.events if event.kind is Kind.EXITED)


def test_a_process_that_never_gets_ready_is_ended(bench: Bench) -> None:
    bench.add("import time\ntime.sleep(600)\n", start_timeout_ns=100 * MS)
    bench.supervisor.start()
    bench.until(lambda: Kind.EXITED in bench.kinds())
    assert bench.events[0].text == "start took too long"


def test_wrong_configuration_is_not_restarted_and_its_line_is_told(bench: Bench) -> None:
    bench.add(REFUSES)
    bench.supervisor.start()
    bench.until(lambda: bench.supervisor.refused() is not None)
    assert bench.events[-1].text == "x: key y is wrong"
    assert bench.supervisor.services[0].restarts == 0
    assert bench.supervisor.last_lines("x") == ["line 1", "x: key y is wrong"]


def test_a_crash_loop_goes_on_at_the_pace_of_restart_sec(bench: Bench) -> None:
    bench.add(CRASHES)
    bench.supervisor.start()
    bench.until(lambda: bench.supervisor.services[0].restarts >= 3)
    assert "exit status 3" in next(event.text for event in bench.events if event.kind is Kind.EXITED)
    starts = [event.at_ns for event in bench.events if event.kind in (Kind.EXITED, Kind.RESTARTED)]
    assert all(after - before >= 20 * MS for before, after in zip(starts[::2], starts[1::2], strict=False))


def test_no_restart_leaves_it_down(bench: Bench) -> None:
    bench.add(CRASHES, restart=False)
    bench.supervisor.start()
    bench.until(lambda: bench.only is Phase.DOWN and bool(bench.events))
    assert bench.kinds()[-1] is Kind.EXITED


def test_children_end_with_their_process(bench: Bench) -> None:
    bench.add(FORKS)
    bench.supervisor.start()
    bench.until(lambda: bench.supervisor.ready)
    child = int((bench.places.runtime / "child").read_text())
    bench.supervisor.stop()
    end = time.monotonic() + LIMIT_S
    while _alive(child):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_process_deaf_to_sigterm_is_killed(bench: Bench) -> None:
    bench.add(STUBBORN + HANGS, stop_timeout_ns=100 * MS)
    bench.supervisor.start()
    bench.until(lambda: bench.supervisor.ready)
    bench.supervisor.stop()
    assert bench.only is Phase.DOWN


def test_a_process_sees_what_systemd_would_show_it(bench: Bench) -> None:
    bench.add(TELLS, environment={"A": "1"}, state=True)
    bench.supervisor.start()
    bench.until(lambda: bench.supervisor.ready)
    seen = (bench.places.runtime / "seen").read_text()
    for expected in (str(bench.places.runtime), str(bench.places.state), '"5000000"', '"A": "1"', '"cwd": "/"'):
        assert expected in seen
    assert '"HOME": null' in seen


def test_real_time_priority_is_given_or_noted_once(bench: Bench) -> None:
    bench.add(PINGS, fifo=5)
    bench.supervisor.start()
    bench.until(lambda: bench.supervisor.ready)
    pid = bench.supervisor.services[0].pid
    policy = os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK
    bench.supervisor.signal("x", signal.SIGKILL)
    bench.until(lambda: bench.supervisor.services[0].restarts == 1 and bench.supervisor.ready)
    notes = [event for event in bench.events if event.kind is Kind.NOTE]
    assert (policy == os.SCHED_FIFO and not notes) or (policy == os.SCHED_OTHER and len(notes) == 1)


def _alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
