"""The uplink process, the only way out of the device: ships records, mirrors what the fleet publishes, reports."""

import secrets
import select
from contextlib import ExitStack, closing
from pathlib import Path

from daemon import config, notify
from daemon.config import ConfigError, Station
from daemon.uplink.archiving import Archiving
from daemon.uplink.archivist import Archivist
from daemon.uplink.loop import WAKE_S, Duty, Loop, say

EXIT_CONFIG = 78
NO_ARCHIVE = "no archive: there is no [archive] in the station file"


def main(station_path: Path) -> int:
    """Run the uplink of a station until SIGTERM; return the exit status (78: it cannot run as configured)."""
    with notify.stop_signal() as stop:
        try:
            station = config.load(station_path)
            notify.ready("uplink")
            _serve(station, station_path, stop)
        except ConfigError as error:
            say(str(error))
            return EXIT_CONFIG
    notify.stopping("stopped")
    return 0


def _serve(station: Station, path: Path, stop: int) -> None:
    with ExitStack() as opened:
        duties = [*_archiving(station, path, opened), *_updating(station, path, opened)]
        if duties:
            Loop(duties, stop).run()
        else:
            _idle(stop)


def _archiving(station: Station, path: Path, opened: ExitStack) -> list[Duty]:
    if station.archive is None:
        say(NO_ARCHIVE)
        return []
    session = secrets.randbits(32)
    archivist = Archivist(station, path, config.state_dir(), config.runtime_dir(), session)
    return [Archiving(opened.enter_context(closing(archivist)), station.archive.every_s)]


def _updating(station: Station, path: Path, opened: ExitStack) -> list[Duty]:
    """TUF and HTTP are imported only where they are needed: they take half a second."""
    if station.updates is None:
        return []
    from daemon.uplink.updating import open_updating  # noqa: PLC0415

    duty = open_updating(station, station.updates, path, config.state_dir())
    return [opened.enter_context(closing(duty))]


def _idle(stop: int) -> None:
    """Without a duty there is nothing to do, and to end would be taken for a failure."""
    notify.status(NO_ARCHIVE)
    watchdog = notify.Watchdog()
    while not select.select([stop], [], [], WAKE_S)[0]:
        watchdog.advanced()
