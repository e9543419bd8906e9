"""The run folder of a simulation: station file, links to the signed documents, folders, free ports.

A run differs from production in the station file only. Sockets live in a short folder of their own, because a
socket's path is limited to 107 bytes and a checkout's path is not.
"""

import os
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

from provisioning.places import CHECKOUT, PlaceError, current_runtime, new_run, working

PRODUCER = CHECKOUT / "drivers" / "sim" / "simline" / "build" / "simline.cti"
CAMERAS = ("body", "crimp")
SHORTEST_LEAD_MM = 15.0
LEAD_MM_PER_RATE = 0.011
RUNTIME_LINK = "run"

STATION = """\
# Written by `linewarden sim`. Production's station file has the same keys; only the values differ.
name = "line-in-a-box"
identity = 1001
plc_identity = 2001
production = false
simulated = true
mode = "automatic"

[wiring]
kind = "modbus-client"
port = {port}

[geometry]
counts_per_mm = 20.0
gate_mm = 600.0
ejector_lead_mm = {lead}
chute_eye_mm = 700.0
pass_eye_mm = 700.0

[[cameras]]
name = "body"
serial = "SIM-BODY"
producer = "{producer}"
station = 0
position_mm = 150.0
width = 1280
height = 1024
environment = {{ SIMLINE_DIR = "{cameras}" }}

[[cameras]]
name = "crimp"
serial = "SIM-CRIMP"
producer = "{producer}"
station = 1
position_mm = 240.0
width = 640
height = 480
environment = {{ SIMLINE_DIR = "{cameras}" }}

[vision]
bundle = "bundle"
recipe = "recipe"
trust = "trust"
"""


@dataclass(frozen=True, slots=True)
class Documents:
    """The signed documents a run is made with; the other pair is validly signed too, for `wrong-digest`."""

    bundle: Path
    recipe: Path
    trust: Path
    other_bundle: Path
    other_recipe: Path


@dataclass(frozen=True, slots=True)
class Run:
    """The places of one run. `runtime` is short-lived, everything in `folder` stays."""

    folder: Path
    runtime: Path

    @property
    def station(self) -> Path:
        return self.folder / "station.toml"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def cameras(self) -> Path:
        return self.runtime / "cameras"

    @property
    def truth(self) -> Path:
        return self.folder / "truth.json"

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe"


def demo_documents() -> Documents:
    """Return the documents that `make setup` builds.

    Raises:
        PlaceError: they were not built.
    """
    demo = working() / "demo"
    names = ("bundle", "recipe", "trust", "bundle-other", "recipe-other")
    documents = Documents(*(demo / name for name in names))
    for path in (*(demo / name for name in names), PRODUCER):
        if not path.exists():
            raise PlaceError(f"{path} is missing: run `make setup`")
    return documents


def prepare(documents: Documents, keep: Path | None, rate: float) -> Run:
    """Make the folders and the station file of a new run at `rate` units per minute.

    Raises:
        PlaceError: the folder is in use.
    """
    run = Run(new_run(keep), Path(tempfile.mkdtemp(prefix="linewarden-")))
    for folder in (run.state, run.log, run.cameras):
        folder.mkdir()
    for name, target in (("bundle", documents.bundle), ("recipe", documents.recipe), ("trust", documents.trust)):
        (run.folder / name).symlink_to(target.resolve())
    text = station_text(_free_port(), run.cameras, rate)
    run.station.write_text(text, encoding="utf-8")
    (run.runtime / "station.toml").symlink_to(run.station)
    (run.folder / RUNTIME_LINK).symlink_to(run.runtime)
    return run


def station_text(port: int, cameras: Path, rate: float) -> str:
    """Return the station file of a run at `rate` units per minute."""
    lead = max(SHORTEST_LEAD_MM, rate * LEAD_MM_PER_RATE)
    return STATION.format(port=port, producer=PRODUCER, cameras=cameras, lead=lead)


def publish(run: Run) -> None:
    """Let `linewarden status` and `why` find this run."""
    link = current_runtime()
    link.parent.mkdir(parents=True, exist_ok=True)
    repoint(link, run.runtime)


def withdraw(run: Run) -> None:
    """Take the links away, the public one unless a later run has taken it over."""
    (run.folder / RUNTIME_LINK).unlink(missing_ok=True)
    link = current_runtime()
    if link.is_symlink() and Path(os.readlink(link)) == run.runtime:
        link.unlink()


def repoint(link: Path, target: Path) -> None:
    """Make `link` point to `target` in one step: nobody sees it missing."""
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    os.replace(temporary, link)


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
