"""`python -m drivers.sim.box STATION.toml`: the line in a box, one process beside the device as a plant's line is.

One loop: belt and PLC every 2 ms, a real Modbus TCP server, the wires into the simulated cameras. It says on standard
output, in JSON lines, what its supervisor must know, and writes the truth log when it is asked to quit.
"""

import argparse
import gc
import os
import signal
import sys
import time
from pathlib import Path

from daemon.config import ConfigError, load
from drivers.gate.plc_bank import Bank
from drivers.gate.plc_io import Key
from drivers.registers import load_map
from drivers.sim.box_fronts import open_ends
from drivers.sim.box_loop import BoxLoop, Parts
from drivers.sim.box_setup import RunSpec, SetupError, belt_specs, open_cameras, open_pool
from drivers.sim.box_talk import Listener, Speaker
from drivers.sim.faults import FaultError, Schedule, parse
from drivers.sim.lanes import Lanes
from drivers.sim.machine import Machine
from drivers.sim.truth import write

FIFO = 50


def main(arguments: list[str]) -> int:
    """Run until asked to quit; returns the exit status."""
    options = _options(arguments)
    try:
        return _run(options)
    except (ConfigError, SetupError, FaultError, OSError) as error:
        print(f"box: {error}", file=sys.stderr)
        return os.EX_CONFIG


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="drivers.sim.box", description="The line in a box: belt, PLC, cameras.")
    parser.add_argument("station", type=Path, metavar="STATION.toml")
    parser.add_argument("--units", type=int, default=300, help="vials to send, 0 = endless")
    parser.add_argument("--rate", type=float, default=600.0, help="vials a minute")
    parser.add_argument("--seed", type=int, default=1, help="spacing, slip and choice of vials")
    parser.add_argument("--pool", type=Path, required=True, metavar="DIR", help="where rendered pictures are kept")
    parser.add_argument("--pool-units", type=int, default=128, help="different vials in the pool, at most 128")
    parser.add_argument("--pool-seed", type=int, default=1)
    parser.add_argument("--defect-rate", type=float, default=0.15, help="share of defective vials in the pool")
    parser.add_argument("--cameras", type=Path, required=True, metavar="DIR", help="folder of the camera sockets")
    parser.add_argument("--truth", type=Path, required=True, metavar="FILE")
    parser.add_argument("--fault", action="append", default=[], metavar="NAME@UNIT")
    parser.add_argument("--port", type=int, default=None, help="instead of the station's; 0 = any free one")
    parser.add_argument("--authority", choices=[key.name.lower() for key in Key], default="linewarden")
    parser.add_argument("--priority", action="store_true", help="SCHED_FIFO: in a plant the PLC is another machine")
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> int:
    parts = _build(options)
    speaker, listener = Speaker(sys.stdout.fileno()), Listener(sys.stdin.fileno())
    loop = BoxLoop(parts, speaker, listener)
    signal.signal(signal.SIGTERM, lambda *_: loop.stop())
    signal.signal(signal.SIGINT, lambda *_: loop.stop())
    if options.priority and not _raise_priority():
        speaker.say("note", text="SCHED_FIFO is not allowed here; the simulated PLC shares the processor")
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        loop.run()
        write(loop.document(), options.truth)
    finally:
        parts.close()
    return os.EX_OK


def _build(options: argparse.Namespace) -> Parts:
    schedule = Schedule([parse(text) for text in options.fault])
    station = load(options.station)
    run = RunSpec(
        units=options.units,
        rate_per_min=options.rate,
        seed=options.seed,
        pool=options.pool,
        pool_seed=options.pool_seed,
        pool_units=options.pool_units,
        defect_rate=options.defect_rate,
        cameras=options.cameras,
    )
    mechanics = belt_specs(station, run)
    pool = open_pool(run)
    bank = Bank(load_map())
    program, front = open_ends(station, bank, options.port)
    start_ns = time.monotonic_ns()
    belt = Lanes.build(mechanics, start_ns)
    machine = Machine(belt, program, bank, start_ns)
    machine.authority = Key[options.authority.upper()]
    try:
        cameras = open_cameras(station, run, pool, belt)
    except SetupError:
        front.close()
        raise
    defects = [[defect.code.value for defect in unit] for unit in pool.truth]
    inputs = {entry.name: entry.bit for entry in station.inputs}
    return Parts(station.name, run, pool.key, defects, machine, bank, front, cameras, schedule, inputs)


def _raise_priority() -> bool:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(FIFO))
    except PermissionError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
