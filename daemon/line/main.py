"""The line process: reads as a bill of materials."""

import functools
import gc
import signal
import sys
from pathlib import Path

from daemon import config, notify
from daemon.line.loop import Line
from daemon.line.wiring import open_link, settings
from drivers.plc_link import Plc
from drivers.registers import load_map

EX_CONFIG = 78


def build(path: Path, runtime: Path) -> Line:
    """Put the parts together."""
    station, digest = config.load(path), config.digest(path)
    registers = load_map()

    @functools.cache
    def pinned(bundle: str, recipe: str, plan: str) -> str:
        return config.configuration_digest(digest, bundle, recipe, registers.digest, config.release(), plan)

    return Line(station, runtime, Plc(open_link(station, path), registers, settings(station)), registers, pinned)


def main(path: Path) -> int:
    """Run until SIGTERM. Returns EX_CONFIG with one line on stderr when the station document is wrong."""
    try:
        line = build(path, config.runtime_dir())
    except config.ConfigError as error:
        print(f"line: {error}", file=sys.stderr)
        return EX_CONFIG
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stop.append(number))
    signal.signal(signal.SIGINT, lambda number, _frame: stop.append(number))
    _settle()
    notify.ready("running")
    while not stop:
        line.turn()
    notify.stopping("heartbeat stops, the PLC rejects")
    line.close()
    return 0


def _settle() -> None:
    """No collection while vials pass."""
    gc.collect()
    gc.freeze()
    gc.disable()
