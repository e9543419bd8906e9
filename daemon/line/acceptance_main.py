"""`python -m daemon acceptance STATION CASES`: the process of the site acceptance test. It takes the place of `line` at
the PLC, so it is the one that drives outputs while it lasts; `linewarden qualify sat` starts it and reads its words.
"""

import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from daemon import config
from daemon.acceptance import Case, Finished, Result, Word, line
from daemon.line.acceptance import Acceptance
from daemon.line.wiring import open_link, settings
from daemon.messages import PROTO, Hello
from daemon.wire import connect
from drivers.registers import load_map

TURN_S = 0.001
FAILED = 1


def main(path: Path, cases: str) -> int:
    """Play the cases (names with commas between) and say what happened on standard output, one JSON object a line.

    Returns:
        0 every unit went where it should; 1 one did not, or the test was refused or stopped; EX_CONFIG with one line on
        stderr when the station document is wrong or `line` runs.
    """
    try:
        test = build(path, [Case(name) for name in cases.split(",")])
    except (config.ConfigError, ValueError) as error:
        print(f"acceptance: {error}", file=sys.stderr)
        return os.EX_CONFIG
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stop.append(number))
    signal.signal(signal.SIGINT, lambda number, _frame: stop.append(number))
    words: list[Word] = []
    try:
        while not (stop or test.over):
            words += turn(test)
    except BrokenPipeError:
        return FAILED
    finally:
        test.close()
    good = all(word.ok for word in words if isinstance(word, Result))
    return 0 if good and any(isinstance(word, Finished) for word in words) else FAILED


def build(path: Path, cases: Sequence[Case]) -> Acceptance:
    """Put the parts together.

    Raises:
        ConfigError: the station is wired to no PLC, or its line runs.
    """
    station = config.load(path)
    if not isinstance(station.wiring, config.ModbusClient | config.ModbusRtu):
        raise config.ConfigError(f"{path}: the test needs wiring.kind modbus-client or modbus-rtu: a PLC that answers")
    if _line_runs():
        raise config.ConfigError("the line runs: stop linewarden-line.service first, then start the test again")
    registers = load_map()
    return Acceptance(station, open_link(station, path), registers, settings(station), time.monotonic_ns, cases)


def turn(test: Acceptance) -> list[Word]:
    """Wait for the PLC at most TURN_S, do what is due, say what happened."""
    fd = test.fileno()
    select.select([fd] if fd >= 0 else [], [], [], TURN_S)
    test.turn(time.monotonic_ns())
    words, test.words = test.words, []
    for word in words:
        sys.stdout.buffer.write(line(word))
        sys.stdout.buffer.flush()
    return words


def _line_runs() -> bool:
    """Whether a line listens in $RUNTIME_DIRECTORY; without one, the PLC's own word counts (register plc_state)."""
    runtime = os.environ.get("RUNTIME_DIRECTORY")
    peer = connect(Path(runtime) / "line.sock", Hello(PROTO, "cli", "acceptance", 0)) if runtime else None
    if peer is None:
        return False
    peer.close()
    return True
