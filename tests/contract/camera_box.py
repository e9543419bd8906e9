"""The box of the camera contract suite, in a process of its own: genicam holds the GIL while it waits for the box."""

import multiprocessing
import os
import subprocess
from multiprocessing.connection import Connection, wait
from pathlib import Path
from time import monotonic_ns

import numpy as np

from drivers.sim.camera_feed import CameraFault, CameraFeed, CameraSpec

SIMLINE = Path(__file__).parents[2] / "drivers/sim/simline"
LINE = 1
LEAD_NS = 2_000_000
LOOK_NS = 200_000

Fault = tuple[CameraFault, int, int] | None


def build_producer() -> Path:
    """simline.cti, built as `make` builds it; quick when nothing changed. $LINEWARDEN_SIMLINE names another build."""
    if given := os.environ.get("LINEWARDEN_SIMLINE"):
        return Path(given)
    subprocess.run(["make", "-s", "-C", SIMLINE], check=True)
    return SIMLINE / "build/simline.cti"


class _Server:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.feeds: dict[str, CameraFeed] = {}

    def offer(self, spec: CameraSpec, pictures: np.ndarray) -> None:
        self.feeds[spec.serial] = CameraFeed(self.folder, spec, pictures)

    def withdraw(self, serial: str) -> None:
        self.feeds.pop(serial).close()

    def call(self, serial: str, name: str, args: tuple, options: dict) -> object:
        return getattr(self.feeds[serial], name)(*args, **options)

    def look(self, serial: str, name: str) -> object:
        self.feeds[serial].service()
        return getattr(self.feeds[serial], name)

    def fire(self, serial: str, shots: list[tuple[int, int]], encoder: int, fault: Fault) -> list[int]:
        """One scene and one edge per (picture, offset in ns), LEAD_NS from now; returns the due times."""
        feed, first = self.feeds[serial], monotonic_ns() + LEAD_NS
        due = [first + offset for _, offset in shots]
        if fault:
            kind, argument, strikes = fault
            feed.fault(kind, argument, due[strikes] - LOOK_NS)
        for i, (at, (picture, _)) in enumerate(zip(due, shots, strict=True)):
            feed.scene(at - LOOK_NS, at + LOOK_NS, picture)
            feed.edge(LINE, at, encoder + 100 * i, 1 << LINE)
        return due


def serve(pipe: Connection, folder: Path) -> None:
    server = _Server(folder)
    while True:
        ready = wait([pipe, *server.feeds.values()])
        for feed in server.feeds.values():
            feed.service()
        if pipe not in ready:
            continue
        name, args = pipe.recv()
        if name == "quit":
            for feed in server.feeds.values():
                feed.close()
            return
        pipe.send(getattr(server, name)(*args))


class Box:
    """Handle of the server in the test process."""

    def __init__(self, folder: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.folder = folder
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, folder), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, name: str, *args: object) -> object:
        self._pipe.send((name, args))
        return self._pipe.recv()

    def close(self) -> None:
        self._pipe.send(("quit", ()))
        self._process.join(5)
        self._pipe.close()
        self._process.close()


class Head:
    """One simulated camera of the box."""

    def __init__(self, box: Box, spec: CameraSpec, pictures: np.ndarray) -> None:
        self.spec = spec
        self.pictures = pictures
        self._box = box
        box.ask("offer", spec, pictures)

    def fire(
        self,
        *pictures: int,
        offsets_ns: tuple[int, ...] = (),
        encoder: int = 1000,
        fault: CameraFault | None = None,
        argument: int = 0,
        strikes: int = 0,
    ) -> list[int]:
        """Fire one edge per picture, by default 5 ms apart; `fault` strikes at edge number `strikes`."""
        offsets = offsets_ns or tuple(i * 5_000_000 for i in range(len(pictures)))
        order = (fault, argument, strikes) if fault else None
        return self._box.ask("fire", self.spec.serial, list(zip(pictures, offsets, strict=True)), encoder, order)

    def look(self, name: str) -> object:
        return self._box.ask("look", self.spec.serial, name)

    def withdraw(self) -> None:
        self._box.ask("withdraw", self.spec.serial)

    def __getattr__(self, name: str) -> object:
        return lambda *args, **options: self._box.ask("call", self.spec.serial, name, args, options)
