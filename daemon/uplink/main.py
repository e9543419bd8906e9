"""The uplink process: ships the records into the site archive. One blocking loop with back-off.

Whatever fails, nothing is lost: the records lie here, and the next pass goes on where the last one was cut off.
"""

import secrets
import select
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Protocol

from daemon import config, notify
from daemon.config import ConfigError, Station
from daemon.ledger_file import LedgerUnreadable
from daemon.uplink.archive import ArchiveError
from daemon.uplink.archivist import Archivist
from daemon.uplink.shipping import Step
from daemon.uplink.stores import StoreConflict, StoreError

EXIT_CONFIG = 78
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
WAKE_S = 1.0
NONE = "no archive: there is no [archive] in the station file"


class Stopping(Exception):
    """SIGTERM came; what was put stays, the next life goes on."""


class Ships(Protocol):
    """What the loop needs of an Archivist."""

    @property
    def told(self) -> bool: ...

    def ship(self, step: Step) -> str: ...

    def close(self) -> None: ...


class Loop:
    """Time, failures and the watchdog. `stop` is a file descriptor that becomes readable at SIGTERM."""

    def __init__(self, archivist: Ships, every_s: float, stop: int) -> None:
        self._archivist = archivist
        self._every_s = every_s
        self._stop = stop
        self._retry_s = FIRST_WAIT_S
        self._said = ""
        self._watchdog = notify.Watchdog()

    def run(self) -> None:
        """Ship until SIGTERM.

        Raises:
            ConfigError: the archive cannot be opened as configured.
        """
        try:
            while True:
                self._rest(self.turn())
        except Stopping:
            pass

    def _rest(self, seconds: float) -> None:
        """Wait, and show that this loop still turns."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._advanced(min(left, WAKE_S))

    def turn(self) -> float:
        """Do one pass and return in how many seconds the next is due."""
        try:
            self._say(self._archivist.ship(lambda _what, _done, _total: self._advanced()))
        except (StoreError, OSError) as error:
            self._archivist.close()
            self._say(f"the archive is out of reach, nothing is lost, trying again: {error}")
            return self._back_off()
        except LedgerUnreadable as error:
            self._say(f"the records cannot be read, trying again: {error}")
            return self._back_off()
        except (ArchiveError, StoreConflict) as error:
            self._say(f"ALARM, not archived: {error}")
            return max(self._every_s, FIRST_WAIT_S)
        self._retry_s = FIRST_WAIT_S
        return self._every_s if self._archivist.told else FIRST_WAIT_S

    def _back_off(self) -> float:
        wait, self._retry_s = self._retry_s, min(2 * self._retry_s, LONGEST_WAIT_S)
        return wait

    def _advanced(self, wait_s: float = 0.0) -> None:
        self._watchdog.advanced()
        if select.select([self._stop], [], [], wait_s)[0]:
            raise Stopping

    def _say(self, text: str) -> None:
        """Say what is new: to the journal once, to systemd's status."""
        if text != self._said:
            self._said = text
            say(text)
            notify.status(text)


def main(station_path: Path) -> int:
    """Run the uplink of a station until SIGTERM; return the exit status (78: it cannot run as configured)."""
    with notify.stop_signal() as stop:
        try:
            station = config.load(station_path)
            notify.ready("uplink")
            if station.archive is None:
                return _idle(stop)
            return _serve(station, station.archive.every_s, station_path, stop)
        except ConfigError as error:
            say(str(error))
            return EXIT_CONFIG


def _serve(station: Station, every_s: float, path: Path, stop: int) -> int:
    state, runtime = config.state_dir(), config.runtime_dir()
    with closing(Archivist(station, path, state, runtime, secrets.randbits(32))) as archivist:
        Loop(archivist, every_s, stop).run()
    notify.stopping("stopped")
    return 0


def _idle(stop: int) -> int:
    """Without an archive there is nothing to do, and to end would be taken for a failure."""
    say(NONE)
    notify.status(NONE)
    watchdog = notify.Watchdog()
    while not select.select([stop], [], [], WAKE_S)[0]:
        watchdog.advanced()
    notify.stopping("stopped")
    return 0


def say(text: str) -> None:
    print(f"uplink: {text}", file=sys.stderr, flush=True)
