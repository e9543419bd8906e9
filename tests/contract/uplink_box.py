"""One station on disk, a real recorder and a real uplink, and an archive folder."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from recorder_box import ROOT, STATION, Line, RecorderProcess, open_batch, until

from daemon.ledger_file import checkpoints, reading
from daemon.messages import AlarmRow

ENTRIES = "SELECT count(*) FROM entry"
KEY = '\n[recorder]\nkey = "development"\n'


class UplinkProcess:
    """The uplink of a station folder, started and ended as often as needed. `said` is everything it wrote."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "uplink.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **environment: str) -> None:
        found = f"import sys; sys.path.insert(0, {str(ROOT)!r})"
        code = f"{found}; from daemon.__main__ import main as run; sys.exit(run(sys.argv[1:]))"
        places = {"RUNTIME_DIRECTORY": str(self._folder), "STATE_DIRECTORY": str(self._folder)}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-W", "error", "-c", code, "uplink", str(self._folder / "station.toml")],
                env={"PATH": os.environ["PATH"]} | places | environment,
                stderr=log,
            )

    @property
    def said(self) -> str:
        return self._log.read_text()

    def awaits(self, text: str, times: int = 1) -> None:
        until(lambda: self.said.count(text) >= times, f"uplink does not say {text!r} but: {self.said}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the process and return its exit status."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(timeout=20)

    def ended(self) -> int:
        """Wait for a process that ends by itself."""
        process, self._process = self._process, None
        return process.wait(timeout=20) if process else 0


def station_text(archive: str) -> str:
    """Return a station file with [archive] as given."""
    return STATION.format(simulated="true") + ("" if "[recorder]" in STATION else KEY) + archive


@contextmanager
def recording(folder: Path, archive: str) -> Iterator[RecorderProcess]:
    """Run a recorder with an open batch over a station with this [archive]."""
    box = RecorderProcess(folder)
    box.station.write_text(station_text(archive))
    box.start()
    try:
        with closing(open_batch(box)):
            until(lambda: box.look("SELECT max(size) FROM checkpoint") == box.look(ENTRIES), "nothing is signed")
            yield box
    finally:
        box.stop()


def alarm(box: RecorderProcess, session: int) -> None:
    """Let line send one row that is recorded."""
    with closing(Line(box.socket, session)) as line:
        line.send(AlarmRow(0, 5, "FRAME_LOST", f"of life {session}", "execute", None))
        line.settle()


def signed_size(folder: Path) -> int:
    """Return the size of the newest checkpoint."""
    with reading(folder / "ledger.sqlite") as db:
        return max((note.size for note in checkpoints(db)), default=0)
