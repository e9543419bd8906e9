"""Reads demo/spec.toml and cuts model inputs out of full pictures, exactly as the vision process does."""

from pathlib import Path

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from drivers.sim.render_spec import DefectCode, Region, View

FOLDER = Path(__file__).resolve().parent
SPEC_FILE = FOLDER / "spec.toml"

Pictures = npt.NDArray[np.uint8]


class Size(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    height: int
    width: int


class ViewSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model: its file, what it sees, what it says."""

    file: str
    roi: Region
    input: Size
    classes: tuple[DefectCode, ...]
    thresholds: tuple[float, ...]

    def cut(self, picture: Pictures) -> Pictures:
        """Region of interest of a full picture (rows, columns), resized to the model's input; uint8 in and out."""
        roi = self.roi
        part = picture[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width]
        small = cv2.resize(part, (self.input.width, self.input.height), interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.uint8)


class DemoSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    views: dict[View, ViewSpec]
    channels: dict[DefectCode, str]


def load_spec(file: Path = SPEC_FILE) -> DemoSpec:
    """Read spec.toml. Raises SystemExit with one line that names the wrong key (developer scripts only)."""
    try:
        return msgspec.toml.decode(file.read_bytes(), type=DemoSpec)
    except (OSError, msgspec.MsgspecError) as error:
        raise SystemExit(f"{file}: {error}; correct that key or restore the file") from error
