"""Thread `shadow`: hands every judged unit to the candidate, if the candidate is waiting for one.

Rules of this file:
  1. The candidate runs in a process of its own, under SCHED_IDLE. A thread will not do: whoever has an idle thread's
     interpreter lock waits until the machine is idle, which under load takes seconds.
  2. One unit is with the candidate, at most QUEUED wait, the next one is dropped and counted. Nothing is repeated.
  3. Whatever becomes of the candidate, this thread goes on doing nothing: it never ends before `stop`.
"""

import contextlib
import logging
import os
import queue
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec

from daemon.messages import Judged
from daemon.shadow_file import Phase, tell
from daemon.vision.shadow_turn import Greeting, Missed, Sights, Turn, lay_down

QUEUED = 4
IDLE_S = 0.2
LEAVE_S = 1.0
LOWEST = 19
FIRST_TO_GO = b"1000"
MODULE = "daemon.vision.shadow_main"
NOT_ITS_OWN = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "RUNTIME_DIRECTORY")
NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}

_log = logging.getLogger(__name__)


class _Ended(Exception):
    """The candidate's process is gone, or we have to leave."""


class Shadow:
    """`offer` is for thread `infer`, `run` is the body of thread `shadow`."""

    def __init__(self, station_path: Path, state: Path) -> None:
        self._station_path = station_path
        self._state = state
        self._queue: queue.Queue[tuple[Judged, Sights]] = queue.Queue(QUEUED)
        self._looking = False
        self._stop = threading.Event()
        self._missed: dict[tuple[str, str], int] = {}
        self._told: dict[tuple[str, str], int] = {}

    @property
    def turns(self) -> int:
        """Always another number: inspection does not stand and fall with its candidate."""
        return time.monotonic_ns()

    @property
    def looking(self) -> bool:
        """True while the candidate is loaded and takes units."""
        return self._looking

    def offer(self, judged: Judged, sights: Sights) -> None:
        """Hand over a unit whose verdict was sent; drop it when the candidate is behind. Never blocks."""
        if not self._looking:
            return
        try:
            self._queue.put_nowait((judged, sights))
        except queue.Full:
            self._drop(judged)

    def stop(self) -> None:
        """Ask `run` to see the candidate off and to return, LEAVE_S later at most."""
        self._stop.set()

    def run(self) -> None:
        """Body of thread `shadow`: serve the candidate until `stop`, then or after its end do nothing."""
        self._tell(Phase.LOADING, "the candidate is being verified and loaded")
        try:
            phase, text = self._serve(_Candidate(self._station_path, self._stop))
        except Exception as error:  # whatever it is, inspection does not end with its candidate
            phase, text = Phase.ENDED, f"it cannot be served: {error}"
        if phase is not Phase.REFUSED:
            self._tell(phase, text)
        self._stop.wait()

    def _serve(self, candidate: "_Candidate") -> tuple[Phase, str]:
        """Serve one candidate to its end or ours, and return what became of it."""
        phase = Phase.LOADING
        try:
            phase = self._greeted(candidate)
            while self._looking and not self._stop.is_set():
                self._next(candidate)
        except (_Ended, OSError):
            pass
        finally:
            self._looking = False
            self._drop_all()
            with contextlib.suppress(OSError):
                candidate.say(Turn(None, [], self._untold()))
            status = candidate.close()
        if self._stop.is_set():
            return Phase.STOPPED, "vision was stopped"
        return (phase, "") if phase is Phase.REFUSED else (Phase.ENDED, f"its process ended with status {status}")

    def _greeted(self, candidate: "_Candidate") -> Phase:
        greeting = msgspec.json.decode(candidate.wait(), type=Greeting)
        fence = f" under {candidate.fence}" if greeting.phase is Phase.LOOKING else ""
        self._looking = greeting.phase is Phase.LOOKING
        self._tell(greeting.phase, greeting.text + fence)
        return greeting.phase

    def _next(self, candidate: "_Candidate") -> None:
        try:
            judged, sights = self._queue.get(timeout=IDLE_S)
        except queue.Empty:
            turn = Turn(None, [], self._untold())
            if not turn.missed and candidate.alive:
                return
        else:
            pictures = lay_down(candidate.memory, (image for _, image in sights))
            turn = Turn(_only(judged, sights), pictures, self._untold())
        candidate.say(turn)
        candidate.wait()

    def _drop_all(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._drop(self._queue.get_nowait()[0])

    def _drop(self, judged: Judged) -> None:
        pair = judged.bundle, judged.recipe
        self._missed[pair] = self._missed.get(pair, 0) + 1

    def _untold(self) -> list[Missed]:
        now = dict(self._missed)
        found = [Missed(*pair, n - self._told.get(pair, 0)) for pair, n in now.items() if n != self._told.get(pair)]
        self._told = now
        return found

    def _tell(self, phase: Phase, text: str) -> None:
        """Say in the log and in the status file what became of the candidate."""
        level = logging.ERROR if phase in (Phase.REFUSED, Phase.ENDED) else logging.INFO
        _log.log(level, "candidate %s: %s", phase, text)
        try:
            tell(self._state, phase, text)
        except OSError as error:
            _log.error("the candidate's status cannot be written: %s", error)


class _Candidate:
    """The candidate's process, a pipe each way and the memory for pixels.

    Raises (constructor):
        OSError: it cannot be started.
    """

    def __init__(self, station_path: Path, stop: threading.Event) -> None:
        self._stop = stop
        self.memory = os.memfd_create("shadow", os.MFD_CLOEXEC)
        command = [*_interpreter(), "-m", MODULE, str(station_path), str(self.memory)]
        environment = {name: value for name, value in os.environ.items() if name not in NOT_ITS_OWN}
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                pass_fds=(self.memory,),
                env=environment | NO_GPU,
            )
        except OSError:
            os.close(self.memory)
            raise
        self.fence = _push_back(self._process.pid)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> int:
        """Let it write down what it counted, and see that it is gone; return its exit status."""
        process = self._process
        if process.stdin:
            process.stdin.close()
        try:
            process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            process.kill()
        if process.stdout:
            process.stdout.close()
        os.close(self.memory)
        return process.wait()

    def say(self, turn: Turn) -> None:
        """Give it a unit; it must be waiting for one.

        Raises:
            OSError: it is gone.
        """
        pipe, line = self._process.stdin, memoryview(msgspec.json.encode(turn) + b"\n")
        while pipe is not None and line:
            line = line[pipe.write(line) :]

    def wait(self) -> bytes:
        """Return its answer, one line; waits without a lock.

        Raises:
            _Ended: it is gone, or `stop` was set.
        """
        pipe = self._process.stdout
        while pipe is not None and not self._stop.is_set():
            if select.select([pipe], [], [], IDLE_S)[0]:
                if line := pipe.read(select.PIPE_BUF):
                    return bytes(line)
                break
        raise _Ended


def _push_back(process: int) -> str:
    """Let a process have only what nobody else wants, and go first when memory ends; return under what it runs."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{process}/oom_score_adj").write_bytes(FIRST_TO_GO)
    try:
        os.sched_setscheduler(process, os.SCHED_IDLE, os.sched_param(0))
    except OSError:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process, LOWEST)
        return f"nice {LOWEST} at most"
    return "SCHED_IDLE"


def _only(judged: Judged, sights: Sights) -> Judged:
    """Return the unit with the views whose images are there, in their order."""
    return msgspec.structs.replace(judged, views=[view for view, _ in sights])


def _interpreter() -> list[str]:
    """Return how this very interpreter was started, as far as `-m`."""
    flags = sys.orig_argv[1 : sys.orig_argv.index("-m")] if "-m" in sys.orig_argv else []
    return [sys.executable, *flags]
