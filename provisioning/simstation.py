"""The run folder of a simulation: station file, links to the signed documents, folders, free ports.

A run differs from production in the station file only. Sockets live in a short folder of their own, because a
socket's path is limited to 107 bytes and a checkout's path is not.
"""

import os
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from daemon.faults import INPUTS
from provisioning.places import CHECKOUT, PlaceError, current_runtime, new_run, working

PRODUCER = CHECKOUT / "drivers" / "sim" / "simline" / "build" / "simline.cti"
SHORTEST_LEAD_MM = 15.0
LEAD_MM_PER_RATE, DIRECT_LEAD_MM_PER_RATE = 0.011, 0.02
RUNTIME_LINK = "run"
CAMERA_SOCKETS = "cameras"
FINE, COARSE = 20.0, 1.0

STATION = """\
# Written by `linewarden sim`. Production's station file has the same keys; only the values differ.
name = "line-in-a-box"
identity = 1001
plc_identity = 2001
production = false
simulated = true
mode = "automatic"
lanes = {lanes}
plc_scan_ms = 2.0
worst_latency_ms = 40.0

{wiring}
[geometry]
counts_per_mm = {scale}
gate_mm = 600.0
ejector_lead_mm = {lead}
chute_eye_mm = 700.0
pass_eye_mm = 700.0
speed_mm_s = {speed}
actuator_ms = 8.0
{carrier}{cameras}{inputs}
[vision]
bundle = "bundle"
recipe = "recipe"
trust = "trust"
{candidate}
[recorder]
key = "development"

[archive]
kind = "directory"
path = "archive"
every_s = 0.5
"""

CAMERA = """
[[cameras]]
name = "{name}"
serial = "SIM-{serial}"
producer = "{producer}"
station = {station}
position_mm = {position}
width = {width}
height = {height}
view = "{view}"
lane = {lane}
environment = {{ SIMLINE_DIR = "{sockets}" }}
patch = {{ x = 8, y = 8, width = 64, height = 64, low = {low}, high = {high} }}
"""

INPUT = """
[[inputs]]
name = "{name}"
bit = {bit}
"""

CANDIDATE = """\
candidate_bundle = "candidate-bundle"
candidate_recipe = "candidate-recipe"
"""

CARRIER = """
[geometry.carrier]
pockets = 24
pitch_mm = 60.0
"""

WIRINGS = {
    "modbus-client": """\
[wiring]
kind = "modbus-client"
port = {port}
""",
    "modbus-server": """\
[wiring]
kind = "modbus-server"
port = {port}
""",
    "modbus-rtu": """\
[wiring]
kind = "modbus-rtu"
device = "{runtime}/plc.tty"
""",
    "serial-board": """\
[wiring]
kind = "serial-board"
device = "{runtime}/board.tty"
""",
    "diverter": """\
[wiring]
kind = "diverter"
chip = "sim:{runtime}/gpio.sock"
actuator = "diverter"
at_rest = "reject"
watchdog_ms = {watchdog}
infeed = 0
encoder = 1
chute = 2
passed = 3
relay_closed = 4
gate = 5
watchdog = 6
run = 7
sync = 8
admit = 9
triggers = [10, 11]
min_gap_mm = {gap}
""",
}
STATIONS = ("belt", "rotary")
MOST_LANES = 4
FASTEST_RELAY_MS, SLOWEST_RELAY_MS = 20.0, 80.0
MIN_GAP_MM = 54.0
PITCH_MM = 60.0
LOOKS = (("body", 150.0, 1280, 1024), ("crimp", 240.0, 640, 480))
LIGHT = {"body": (110.0, 235.0), "crimp": (14.0, 42.0)}


@dataclass(frozen=True, slots=True)
class Layout:
    """How the simulated line is built: wiring, lanes, and belt or rotary machine."""

    wiring: str = "modbus-client"
    lanes: int = 1
    station: str = "belt"

    @property
    def cameras(self) -> dict[str, str]:
        """Names of the cameras and the look that each takes."""
        lanes = [""] if self.lanes == 1 else [str(lane) for lane in range(self.lanes)]
        return {f"{look}{lane}": look for lane in lanes for look, *_ in LOOKS}


@dataclass(frozen=True, slots=True)
class Documents:
    """The signed documents a run is made with; the other pair is validly signed too, for `wrong-digest`.

    `candidate`: a bundle and its recipe that look on in shadow.
    """

    bundle: Path
    recipe: Path
    trust: Path
    other_bundle: Path
    other_recipe: Path
    candidate: tuple[Path, Path] | None = None

    def links(self) -> dict[str, Path]:
        """Return the documents that the station file names, by the name it gives them."""
        named = {"bundle": self.bundle, "recipe": self.recipe, "trust": self.trust}
        if self.candidate is not None:
            named["candidate-bundle"], named["candidate-recipe"] = self.candidate
        return named


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
    def archive(self) -> Path:
        return self.folder / "archive"

    @property
    def cameras(self) -> Path:
        return self.runtime / CAMERA_SOCKETS

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
    bundle, recipe, trust, other_bundle, other_recipe = (demo / name for name in names)
    for path in (*(demo / name for name in names), PRODUCER):
        if not path.exists():
            raise PlaceError(f"{path} is missing: run `make setup`")
    return Documents(bundle, recipe, trust, other_bundle, other_recipe)


def prepare(documents: Documents, keep: Path | None, rate: float, layout: Layout) -> Run:
    """Make the folders and the station file of a new run at `rate` units per minute.

    Raises:
        PlaceError: the folder is in use.
    """
    run = Run(new_run(keep), Path(tempfile.mkdtemp(prefix="linewarden-")))
    for folder in (run.state, run.log, run.cameras, run.archive):
        folder.mkdir()
    for name, target in documents.links().items():
        (run.folder / name).symlink_to(target.resolve())
    text = station_text(_free_port(), run.runtime, rate, layout, candidate=documents.candidate is not None)
    run.station.write_text(text, encoding="utf-8")
    (run.runtime / "station.toml").symlink_to(run.station)
    (run.folder / RUNTIME_LINK).symlink_to(run.runtime)
    return run


def station_text(port: int, runtime: Path, rate: float, layout: Layout, *, candidate: bool = False) -> str:
    """Return the station file of a run at `rate` units per minute, all lanes together, with a `candidate` in shadow."""
    per_lane, direct = rate / layout.lanes, layout.wiring == "diverter"
    return STATION.format(
        lanes=layout.lanes,
        wiring=WIRINGS[layout.wiring].format(
            port=port, runtime=runtime, watchdog=_watchdog_ms(per_lane), gap=MIN_GAP_MM
        ),
        scale=COARSE if direct else FINE,
        lead=max(SHORTEST_LEAD_MM, per_lane * (DIRECT_LEAD_MM_PER_RATE if direct else LEAD_MM_PER_RATE)),
        speed=per_lane / 60.0 * PITCH_MM,
        carrier=CARRIER if layout.station == "rotary" else "",
        candidate=CANDIDATE if candidate else "",
        cameras="".join(_cameras(layout, runtime / CAMERA_SOCKETS)),
        inputs="" if direct else "".join(INPUT.format(name=name, bit=bit) for bit, name in enumerate(INPUTS)),
    )


def _watchdog_ms(rate: float) -> float:
    """Return the time of a relay that opens before the next vial is at the gate, where there is such a relay."""
    clear_ms = (MIN_GAP_MM - 15.0) / PITCH_MM * 60_000.0 / rate - 20.0
    return round(min(SLOWEST_RELAY_MS, max(FASTEST_RELAY_MS, 0.97 * clear_ms)), 1)


def _cameras(layout: Layout, sockets: Path) -> Iterator[str]:
    names = iter(layout.cameras)
    for lane in range(layout.lanes):
        for index, (look, position, width, height) in enumerate(LOOKS):
            name = next(names)
            yield CAMERA.format(
                name=name,
                serial=name.upper(),
                producer=PRODUCER,
                station=lane * len(LOOKS) + index,
                position=position,
                width=width,
                height=height,
                view=look,
                lane=lane,
                sockets=sockets,
                low=LIGHT[look][0],
                high=LIGHT[look][1],
            )


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
