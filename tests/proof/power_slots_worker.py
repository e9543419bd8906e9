"""The process that is cut off in power_slots: slots over a whole life of a store, request after request.

Every line on stdout is something that others may rely on from then on: which step was answered, which row was stored.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon.slots import main
from daemon.store_requests import What
from tests.unit.store_world import Device, Paper

STEPS = (
    (What.INSTALL, "bundle-2", 1),
    (What.INSTALL, "recipe-2", 1),
    (What.ACTIVATE, "recipe-2", 2),
    (What.ROLLBACK, "", 1),
    (What.PIN, "bundle-1", 1),
    (What.UNPIN, "bundle-1", 1),
    (What.ACTIVATE, "recipe-2", 2),
    (What.INSTALL, "bundle-3", 2),
    (What.INSTALL, "recipe-3", 2),
    (What.ACTIVATE, "recipe-3", 3),
    (What.COLLECT, "", 3),
)
"""What is asked for, of what, and which bundle is active afterwards."""
FIRST, MADE = 1, (1, 2, 3)


class Aloud(Paper):
    """A recorder that says what it has stored."""

    def stores(self, session, rows) -> bool:
        known = set(self.rows)
        super().stores(session, rows)
        for row in rows:
            if (session, row.seq) not in known:
                say(stored=row.what)
        return True


class Again(Device):
    """The device in a folder where one was prepared."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, folder / "state"
        self.station = folder / "station.toml"
        self.recorder = Aloud()
        self.digests = json.loads((folder / "digests.json").read_text())

    def do(self, step: int) -> bool:
        """Ask for a step; True if slots did it."""
        what, name, _ = STEPS[step]
        installs = what is What.INSTALL
        subject = str(self.source(name)) if installs else self.digests[name] if name else ""
        return self.ask(what, subject).ok


def say(**what: object) -> None:
    if __name__ == "__main__":
        sys.stdout.buffer.write(json.dumps(what).encode() + b"\n")
        sys.stdout.buffer.flush()


@contextmanager
def silent() -> Iterator[None]:
    """Let slots say nothing meanwhile."""
    said, main.say = main.say, lambda text: None
    try:
        yield
    finally:
        main.say = said


def prepare(folder: Path) -> None:
    """Make a device with bundle 1 active, and the folders of the others."""
    device = Device(folder)
    with silent():
        device.install(FIRST)
        device.activate(FIRST)
    for number in MADE[1:]:
        device.make(number)
    (folder / "digests.json").write_text(json.dumps(device.digests))


def run(folder: Path) -> None:
    """Ask for every step, from the first that was not done."""
    device = Again(folder)
    done = folder / "done"
    for step in range(len(STEPS)):
        if not device.do(step):
            sys.exit(f"step {step} was refused")
        say(step=step)
    done.touch()


if __name__ == "__main__":
    run(Path(sys.argv[2]))
