"""Is the plan feasible on this machine? Three empty processes, real sockets, real Modbus, a 2 ms sleep for inference.

`python tests/bench/bench_spine.py [--units 3000] [--rate 600] [--json]` plays the PLC program behind its Modbus server,
a bare line (PLC driver, one socket) and a bare vision, once under SCHED_OTHER and once under SCHED_FIFO (PLC 50, line
40), and counts heartbeat trips (80 ms, on either side) and permits that came later than 120 ms after the unit.
"""

import argparse
import gc
import json
import multiprocessing
import os
import select
import socket
import struct
import sys
import time
from multiprocessing.connection import Connection

from drivers.gate.plc_bank import Bank
from drivers.gate.plc_io import Inputs, Latch, PlcSpec, Step
from drivers.gate.plc_logic import Plc as PlcProgram
from drivers.modbus import tcp_link
from drivers.modbus_server import ModbusServer
from drivers.plc_link import Created, LinkUp, Plc, Settings
from drivers.registers import Command, load_map

IDENTITY, PLC_IDENTITY = 1, 2
LATE_MS, COUNTS_PER_UNIT, DECIDE = 120.0, 1200, 11_700
SPEC = PlcSpec(PLC_IDENTITY, IDENTITY, 1, (), DECIDE, 12_400, 14_000, 14_000, 500, 300, 400)


def _schedule(fifo: int) -> None:
    gc.freeze()
    gc.disable()
    if fifo:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(fifo))


def vision(sock: socket.socket) -> None:
    """Answer each unit number after 2 ms."""
    while data := sock.recv(64):
        time.sleep(0.002)
        sock.send(data)


def line(sock: socket.socket, port: int, fifo: int, result: Connection) -> None:
    """Permit every unit as soon as vision answered; count the PLC's heartbeat trips."""
    _schedule(fifo)
    link = tcp_link("127.0.0.1", port, 1, 1_000_000_000)
    plc = Plc(link, load_map(), Settings(IDENTITY, PLC_IDENTITY, 1, (), 4_000_000, 20_000_000, 80_000_000))
    sock.setblocking(False)
    trips, was_alive = 0, False
    while not result.poll():
        select.select([fd for fd in (plc.fileno(), sock.fileno()) if fd >= 0], [], [], 0.002)
        for event in plc.service(time.monotonic_ns()):
            if isinstance(event, LinkUp):
                plc.ask_epoch(1)
                plc.command(Command.RUN, 2, 6)
            if isinstance(event, Created):
                sock.send(struct.pack("I", event.number))
        alive = plc.alive(time.monotonic_ns())
        trips, was_alive = trips + (was_alive and not alive), alive
        try:
            plc.permit(0, struct.unpack("I", sock.recv(64))[0])
        except BlockingIOError:
            continue
    plc.close()
    result.send(trips)


def play(units: int, rate: float, fifo: bool) -> dict[str, object]:
    """Be the PLC for so many units; return the figures."""
    bank = Bank(load_map())
    program = PlcProgram(SPEC, bank)
    program.start(0, retained=False)
    server = ModbusServer(bank, "127.0.0.1", 0)
    server.open()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent, child = multiprocessing.Pipe()
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=vision, args=(theirs,))]
    workers.append(context.Process(target=line, args=(ours, server.port, 40 if fifo else 0, child)))
    for worker in workers:
        worker.start()
    _schedule(50 if fifo else 0)
    figures = _scan(program, server, bank, units, rate)
    parent.send(None)
    figures["line_trips"] = parent.recv()
    for worker in reversed(workers):
        worker.terminate()
        worker.join()
    server.close()
    if fifo:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return {"fifo": fifo, **figures}


def _scan(program: PlcProgram, server: ModbusServer, bank: Bank, units: int, rate: float) -> dict[str, object]:
    period = 60e9 / rate
    start = time.monotonic_ns() + 1_000_000_000
    created: dict[int, int] = {}
    waits: list[float] = []
    made, trips, was_alive, scan_ns, late_scans = 0, 0, False, time.monotonic_ns(), 0
    while len(waits) < units and time.monotonic_ns() < start + (units + 60) * period:
        select.select([server], [], [], max(0.0, (scan_ns - time.monotonic_ns()) / 1e9))
        server.service()
        now = time.monotonic_ns()
        if now < scan_ns:
            continue
        late_scans += now - scan_ns > 10_000_000
        scan_ns = max(scan_ns + 2_000_000, now)
        encoder = max(0, int((now - start) / period * COUNTS_PER_UNIT))
        inputs = Inputs(encoder=encoder)
        if made < units and now >= start + made * period:
            made += 1
            created[made] = now
            inputs.infeed.append(Latch(now // 1000, encoder))
        bank.set("clock_us", now // 1000)
        out = program.scan(now // 1000, inputs)
        waits += [(now - created[e.number]) / 1e6 for e in out.events if e.step is Step.PERMIT_SEEN]
        alive = bool(bank.get("plc_state") & 4)
        trips, was_alive = trips + (was_alive and not alive), alive
    waits.sort()
    late = units - len([wait for wait in waits if wait <= LATE_MS])
    at = {f"p{q}": round(waits[min(len(waits) - 1, int(len(waits) * float(f"0.{q}")))], 2) for q in (50, 99, 999)}
    return {"units": units, "rate": rate, "plc_trips": trips, "late": late, "permit_ms": at, "late_scans": late_scans}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=3000)
    parser.add_argument("--rate", type=float, default=600.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    for fifo in (False, True):
        try:
            rows.append(play(options.units, options.rate, fifo))
        except PermissionError:
            print("SCHED_FIFO needs root or CAP_SYS_NICE: not run", file=sys.stderr)
    for row in rows:
        print(json.dumps(row) if options.json else f"{row}  load {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
