"""What one simulated vial is, apart from any picture of it: its pose, its light, its contents and its defects.

A `VialSpec` is plain data. Both cameras draw the same spec, so a cap is crooked by the same angle in both views.
How hard the defects are comes from docs/interfaces/defects.toml alone.
"""

import hashlib
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec

Range = tuple[float, float]
Point = tuple[float, float]


class RenderError(Exception):
    """Root of what the renderer raises; the text says what to do."""


class DefectCode(StrEnum):
    """Codes a verdict may name. The order is the order of the renderer's own tables, not of any model's outputs."""

    PARTICLE = "particle"
    FIBRE = "fibre"
    CRACK = "crack"
    LOW_FILL = "low_fill"
    HIGH_FILL = "high_fill"
    MISSING_STOPPER = "missing_stopper"
    CROOKED_CAP = "crooked_cap"
    MISSING_CAP = "missing_cap"
    SCRATCHED_CRIMP = "scratched_crimp"


class View(StrEnum):
    BODY = "body"
    CRIMP = "crimp"


class Camera(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Picture size in pixels and scale of one view."""

    width: int
    height: int
    px_per_mm: float


class Good(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ranges of what a good part may show."""

    x_mm: Range
    y_mm: Range
    tilt_deg: Range
    fill_mm: Range
    cap_tilt_deg: Range
    light: Range
    gradient: Range
    noise_grey: Range
    blur_px: Range
    bubbles: tuple[int, int]
    bubble_px: Range
    droplets: tuple[int, int]
    droplet_px: Range
    glints: tuple[int, int]
    glint_grey: Range


class Particle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    count: tuple[int, int]
    diameter_px: Range
    contrast: Range
    u: Range


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fibre or a crack."""

    length_px: Range
    width_px: Range
    contrast: Range
    u: Range


class Fill(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    low_off_mm: Range
    high_off_mm: Range
    nominal_mm: float


class CrookedCap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tilt_deg: Range


class Scratch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    count: tuple[int, int]
    length_px: Range
    width_px: Range
    contrast: Range
    angle_deg: Range


class Defects(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    particle: Particle
    fibre: Line
    crack: Line
    fill: Fill
    crooked_cap: CrookedCap
    scratched_crimp: Scratch


class Difficulty(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """defects.toml, read."""

    version: int
    views: dict[View, Camera]
    good: Good
    defect: Defects


@dataclass(frozen=True, slots=True)
class Region:
    """Box in full-resolution pixels of one view; x, y is the top left corner."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Blob:
    """A particle: dark closed outline (pixels of the body view), `contrast` relative to the grey level behind it."""

    outline: tuple[Point, ...]
    contrast: float


@dataclass(frozen=True, slots=True)
class Stroke:
    """A thin line along `points` (pixels of its view). `shine` is the contrast of the bright edge beside it."""

    points: tuple[Point, ...]
    width_px: float
    contrast: float
    shine: float = 0.0


@dataclass(frozen=True, slots=True)
class Ring:
    """A bubble or droplet: dark rim, bright core (pixels of the body view)."""

    centre: Point
    radius_px: float
    strength: float


@dataclass(frozen=True, slots=True)
class Glint:
    """Mirror image of the front light on the glass: vertical soft streak at `u` between two heights above the base."""

    u: float
    low_mm: float
    high_mm: float
    width_mm: float
    grey: float


@dataclass(frozen=True, slots=True)
class Light:
    """One view's lamp, lens and sensor."""

    gain: float
    gradient: float
    noise_grey: float
    blur_px: float
    noise_at: Point


@dataclass(frozen=True, slots=True)
class Defect:
    """Ground truth: code, and the box that shows it in each view (None = not visible there).

    `track` holds points along a local defect in pixels of the view that shows it; empty for defects of the whole part.
    """

    code: DefectCode
    body: Region | None
    crimp: Region | None
    track: tuple[Point, ...] = ()

    def region(self, view: View) -> Region | None:
        return self.body if view is View.BODY else self.crimp


@dataclass(frozen=True, slots=True)
class VialSpec:
    """One vial before both cameras. Millimetres have their origin at the middle of the base, heights go up."""

    x_mm: float
    y_mm: float
    tilt_deg: float
    fill_mm: float
    wall: float
    stopper: bool
    cap: bool
    cap_tilt_deg: float
    cap_drop_mm: float
    cap_phase: float
    light: dict[View, Light]
    glints: tuple[Glint, ...]
    rings: tuple[Ring, ...]
    blobs: tuple[Blob, ...]
    strokes: tuple[Stroke, ...]
    scratches: tuple[Stroke, ...]
    defects: tuple[Defect, ...]


def difficulty_file() -> Path:
    """defects.toml of the checkout, or of the installed package."""
    here = Path(__file__).resolve().parents[2] / "docs" / "interfaces" / "defects.toml"
    return here if here.exists() else Path(sys.prefix) / "share" / "linewarden" / "interfaces" / "defects.toml"


DIFFICULTY_FILE = difficulty_file()


def load_difficulty(path: Path = DIFFICULTY_FILE) -> Difficulty:
    """Read defects.toml. Raises RenderError that names the file and the key that is wrong."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Difficulty)
    except OSError as error:
        raise RenderError(f"{path}: cannot read the defect ranges ({error.strerror}); restore the file") from error
    except msgspec.MsgspecError as error:
        raise RenderError(f"{path}: {error}; correct that key or restore the file") from error


def difficulty_digest(path: Path = DIFFICULTY_FILE) -> str:
    """sha256 (hex) of the bytes of defects.toml: pools and models say with it what they were made from."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise RenderError(f"{path}: cannot read the defect ranges ({error.strerror}); restore the file") from error
