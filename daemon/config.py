"""The station document: mechanics, addresses, cameras, wiring. The only reader of TOML on the device.

Unknown keys, wrong types and values out of bounds are errors that name the key. `linewarden config dump` shows every
value and where it came from. There is no key and no threshold in this document (DESIGN section 6).
"""

import enum
import hashlib
import importlib.metadata
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from daemon.config_archive import Archive, unfit
from daemon.config_updates import Updates, unfit_updates
from daemon.contradictions import contradictions
from daemon.fail_closed import fails_open
from daemon.flat import flatten
from daemon.units import LineMode
from daemon.views import misplaced

Mm = Annotated[float, msgspec.Meta(ge=0.0, le=100_000.0)]
PositiveMs = Annotated[float, msgspec.Meta(gt=0.0, le=60_000.0)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
DeviceId = Annotated[int, msgspec.Meta(ge=0, le=255)]
Baud = Annotated[int, msgspec.Meta(ge=9_600, le=4_000_000)]
LineOffset = Annotated[int, msgspec.Meta(ge=0, le=1023)]
Lane = Annotated[int, msgspec.Meta(ge=0, le=3)]
Px = Annotated[int, msgspec.Meta(ge=0, le=16384)]


class WordOrder(enum.StrEnum):
    """Which register of a 32-bit value comes first; within a register the high byte always does."""

    HIGH_FIRST = "high-first"
    LOW_FIRST = "low-first"


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Modbus/TCP Security, both sides with a certificate. `key` names a systemd credential, never a file in here."""

    authority: str
    certificate: str
    key: str


class ModbusClient(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="modbus-client"
):
    """The device asks and writes, the PLC is the Modbus TCP server (register map v1). Times in ms."""

    host: str = "127.0.0.1"
    port: Port = 1502
    unit: DeviceId = 1
    word_order: WordOrder = WordOrder.HIGH_FIRST
    tls: Tls | None = None
    poll_ms: PositiveMs = 4.0
    heartbeat_ms: PositiveMs = 20.0
    timeout_ms: PositiveMs = 80.0


class ModbusServer(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="modbus-server"
):
    """The PLC asks and writes, the device is the Modbus TCP server. `allow`: IPv4 addresses that may connect, empty =
    loopback only."""

    host: str = "127.0.0.1"
    port: Port = 1502
    unit: DeviceId = 1
    word_order: WordOrder = WordOrder.HIGH_FIRST
    tls: Tls | None = None
    allow: list[str] = []
    heartbeat_ms: PositiveMs = 20.0
    timeout_ms: PositiveMs = 80.0


class ModbusRtu(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="modbus-rtu"
):
    """As modbus-client, over a serial line: the device is the only client on it."""

    device: str
    baud: Baud = 921_600
    parity: Literal["none", "even", "odd"] = "even"
    unit: DeviceId = 1
    word_order: WordOrder = WordOrder.HIGH_FIRST
    poll_ms: PositiveMs = 8.0
    heartbeat_ms: PositiveMs = 20.0
    timeout_ms: PositiveMs = 80.0


class SerialBoard(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="serial-board"
):
    """A reject board with its own eyes and timer on a serial line; it ejects what it was not told to spare."""

    device: str
    baud: Baud = 921_600
    heartbeat_ms: PositiveMs = 20.0
    timeout_ms: PositiveMs = 80.0


class Diverter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="diverter"):
    """No PLC: this computer energises a diverter whose rest position rejects, behind a watchdog relay.

    `actuator`, `at_rest` and `watchdog_ms` say what the mechanics do when this computer does nothing; what fails open
    is refused. Line offsets are those of the gpiochip; `encoder` counts rising edges, `counts_per_mm` of the geometry.
    `triggers`: one input for each camera, in their order, on which its trigger is seen; `admit` energised opens the
    infeed; `min_gap_mm`: two bodies nearer than that are both rejected.
    """

    chip: str
    actuator: Literal["diverter", "ejector"]
    at_rest: Literal["reject", "pass"]
    watchdog_ms: Annotated[float, msgspec.Meta(ge=0.0, le=1_000.0)]
    infeed: LineOffset
    encoder: LineOffset
    chute: LineOffset
    passed: LineOffset
    relay_closed: LineOffset
    gate: LineOffset
    watchdog: LineOffset
    run: LineOffset
    sync: LineOffset
    admit: LineOffset
    triggers: list[LineOffset]
    min_gap_mm: Annotated[float, msgspec.Meta(gt=0.0, le=10_000.0)]
    heartbeat_ms: PositiveMs = 20.0
    timeout_ms: PositiveMs = 80.0


Wiring = ModbusClient | ModbusServer | ModbusRtu | SerialBoard | Diverter


class Carrier(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rotary machine: `pockets` on the carrier, `pitch_mm` apart on the pitch circle. Units stand in pockets only."""

    pockets: Annotated[int, msgspec.Meta(ge=2, le=4096)]
    pitch_mm: Annotated[float, msgspec.Meta(gt=0.0, le=10_000.0)]


class ResyncEye(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An eye on the way that corrects a unit's position; a unit not seen within +-`window_mm` is lost."""

    position_mm: Mm
    window_mm: Mm = 12.0


class Geometry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Positions along the belt in mm from the infeed eye, encoder scale in counts per mm."""

    counts_per_mm: Annotated[float, msgspec.Meta(gt=0.0, le=10_000.0)]
    gate_mm: Mm
    ejector_lead_mm: Mm = 15.0
    chute_eye_mm: Mm
    pass_eye_mm: Mm
    confirm_window_mm: Mm = 25.0
    speed_mm_s: Annotated[float, msgspec.Meta(gt=0.0, le=20_000.0)] = 600.0
    actuator_ms: Annotated[float, msgspec.Meta(ge=0.0, le=1_000.0)] = 10.0
    carrier: Carrier | None = None
    eyes: list[ResyncEye] = []


class Region(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of a frame in px that shows a unit of its own: the one of `lane`, `behind` units behind the trigger's."""

    x: Px
    y: Px
    width: Annotated[int, msgspec.Meta(ge=16, le=16384)]
    height: Annotated[int, msgspec.Meta(ge=16, le=16384)]
    lane: Lane = 0
    behind: Annotated[int, msgspec.Meta(ge=0, le=63)] = 0


class Patch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A reference patch in every frame, in px; its mean grey value (0..255) must lie within low..high."""

    x: Px
    y: Px
    width: Annotated[int, msgspec.Meta(ge=4, le=4096)]
    height: Annotated[int, msgspec.Meta(ge=4, le=4096)]
    low: Annotated[float, msgspec.Meta(ge=0.0, le=255.0)]
    high: Annotated[float, msgspec.Meta(ge=0.0, le=255.0)]


class Camera(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One camera: which producer and serial, where it looks, which trigger station of the PLC fires it.

    `view` is the look of the recipe that it takes (its own name where empty); cameras of several lanes share one.
    `shots` are taken `shot_pitch_mm` apart. `regions` only where one frame shows several units.
    `environment` names how the producer finds it; for the simulated producer the folder of camera sockets.
    """

    name: Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_]{0,30}$")]
    serial: str
    producer: str
    station: Annotated[int, msgspec.Meta(ge=0, le=7)]
    position_mm: Mm
    width: Annotated[int, msgspec.Meta(ge=16, le=16384)]
    height: Annotated[int, msgspec.Meta(ge=16, le=16384)]
    view: str = ""
    lane: Lane = 0
    shots: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    shot_pitch_mm: Mm = 0.0
    regions: list[Region] = []
    patch: Patch | None = None
    exposure_us: Annotated[float, msgspec.Meta(gt=0.0, le=1_000_000.0)] = 300.0
    trigger_source: str = "Line1"
    frame_timeout_ms: PositiveMs = 60.0
    ring_slots: Annotated[int, msgspec.Meta(ge=4, le=64)] = 16
    environment: dict[str, str] = {}

    @property
    def look(self) -> str:
        """The view of the recipe that this camera takes."""
        return self.view or self.name


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A digital input of the PLC that the line depends on: bit of register `inputs`, 1 = as it should be.

    `name` is one of the run conditions of daemon/faults.py; `reaction` overrides what that table says.
    """

    name: Annotated[str, msgspec.Meta(pattern="^[a-z][a-z_]{0,30}$")]
    bit: Annotated[int, msgspec.Meta(ge=0, le=15)]
    reaction: Literal["", "alarm", "hold infeed", "reject and run", "abort"] = ""


class Vision(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the signed documents and the trusted keys lie; relative paths are relative to the station file.

    `golden_minutes`: within that time every golden frame is run once more while the line runs.
    `candidate_bundle`, `candidate_recipe`: another signed pair that looks on and decides nothing; both or none.
    `backend`: what runs the graphs; all but the first run plans that are built here (docs/operations/plans.md).
    """

    bundle: str
    recipe: str
    trust: str
    evidence_quota_mb: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 512
    golden_minutes: Annotated[float, msgspec.Meta(gt=0.0, le=1440.0)] = 10.0
    candidate_bundle: str = ""
    candidate_recipe: str = ""
    backend: Literal["onnxruntime", "onnxruntime-plan", "tensorrt", "tensorrt-rtx"] = "onnxruntime"

    def __post_init__(self) -> None:
        if bool(self.candidate_bundle) != bool(self.candidate_recipe):
            raise ValueError("candidate_bundle and candidate_recipe belong together: give both, or none")


class Recorder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Group commit: at most `group_ms` between a row and its fsync. `key` signs the checkpoints; `tpm`: where it is."""

    group_ms: PositiveMs = 10.0
    key: Literal["tpm", "credential", "development"] = "tpm"
    tpm: str = "device:/dev/tpmrm0"


class Station(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole document. `production` refuses development keys and simulated parts.

    `worst_latency_ms`: trigger to permit, p99.99 or maximum of this station's last qualification; 0 = unknown, then the
    recipe's `max_latency_ms` stands in at admission.
    """

    name: str
    identity: Annotated[int, msgspec.Meta(ge=1, le=0xFFFFFFFF)]
    plc_identity: Annotated[int, msgspec.Meta(ge=1, le=0xFFFFFFFF)]
    production: bool = True
    simulated: bool = False
    mode: LineMode = LineMode.SHADOW
    lanes: Annotated[int, msgspec.Meta(ge=1, le=4)] = 1
    wiring: Wiring
    geometry: Geometry
    cameras: list[Camera]
    inputs: list[Input] = []
    plc_scan_ms: PositiveMs = 10.0
    worst_latency_ms: Annotated[float, msgspec.Meta(ge=0.0, le=1_000.0)] = 0.0
    vision: Vision
    recorder: Recorder = Recorder()
    archive: Archive | None = None
    updates: Updates | None = None


class ConfigError(Exception):
    """The station document cannot be used; the text names the file, the key and what to write instead."""


def load(path: Path) -> Station:
    """Read and check the station document.

    Raises:
        ConfigError: unreadable, not TOML, unknown key, wrong value, or a contradiction between keys.
    """
    station = _convert(path, _read(path))
    texts = (*contradictions(station), *misplaced(station), *fails_open(station), *unfit(station.archive))
    for text in (*texts, *unfit_updates(station.updates)):
        raise ConfigError(f"{path}: {text}")
    return station


def digest(path: Path) -> str:
    """Return the sha256 of the document's bytes, part of the configuration digest."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def configuration_digest(station: str, bundle: str, recipe: str, register_map: str, release: str, plan: str) -> str:
    """Return the one digest pinned on every row of a batch (law 5); releases before schema 3 had no plan in it."""
    plans = (f"plan {plan}",) if plan else ()
    lines = (f"station {station}", f"bundle {bundle}", f"recipe {recipe}", *plans, f"map {register_map}", release)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def release() -> str:
    """Return the version of the installed release, `dev` in a bare checkout; part of the configuration digest."""
    try:
        return importlib.metadata.version("linewarden")
    except importlib.metadata.PackageNotFoundError:
        return "dev"


def dump(path: Path) -> list[tuple[str, str, str]]:
    """Return (key, value, origin) of every setting; origin is the file or `default`."""
    written = flatten("", _read(path))
    values = flatten("", msgspec.to_builtins(load(path)))
    return [(key, str(value), str(path) if key in written else "default") for key, value in values.items()]


def runtime_dir() -> Path:
    """$RUNTIME_DIRECTORY as systemd sets it.

    Raises:
        ConfigError: the process was not started by its unit.
    """
    return _directory("RUNTIME_DIRECTORY")


def state_dir() -> Path:
    """$STATE_DIRECTORY as systemd sets it.

    Raises:
        ConfigError: the process was not started by its unit.
    """
    return _directory("STATE_DIRECTORY")


def resolve(path: Path, entry: str) -> Path:
    """Return a path named in the document, relative to the document's own folder."""
    return (path.parent / entry).absolute()


def _directory(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        raise ConfigError(f"{variable} is not set: start this process through its systemd unit or `linewarden sim`")
    return Path(value)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; name an existing station file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def _convert(path: Path, document: dict[str, Any]) -> Station:
    try:
        return msgspec.convert(document, Station)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}") from error
