"""Reads families.toml: one trained model of each family, and how a picture becomes its input."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from demo.spec import Pictures
from drivers.sim.render_spec import DefectCode
from engines.preprocess import Preprocessor
from signing.manifest import Model

FOLDER = Path(__file__).resolve().parent
SPEC_FILE = FOLDER / "families.toml"


class Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model, what it is for, and the defects that its unit-level score is measured on."""

    task: str
    sees: tuple[DefectCode, ...]
    model: Model

    @property
    def path(self) -> Path:
        return FOLDER / self.model.file

    def description(self) -> dict[str, Any]:
        """What bundle.json says under the model's name; fields at their defaults are left out."""
        said: dict[str, Any] = json.loads(msgspec.json.encode(self.model))
        usual = {field.name: field.default for field in msgspec.structs.fields(Model) if not field.required}
        return {name: value for name, value in said.items() if name not in usual or value != usual[name]}

    def cut(self, picture: Pictures) -> Pictures:
        """Input of the graph, (height, width) uint8, from a picture of the body view, by the device's own code."""
        preprocessor = Preprocessor(self.model.preprocessing)
        preprocessor.fill(picture)
        return np.asarray(preprocessor.buffer[0, 0], np.uint8)


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    families: dict[str, Family]


def load_families(file: Path = SPEC_FILE) -> dict[str, Family]:
    """Read families.toml. Raises SystemExit with one line that names the wrong key (developer scripts only)."""
    try:
        return msgspec.toml.decode(file.read_bytes(), type=_Document).families
    except (OSError, msgspec.MsgspecError) as error:
        raise SystemExit(f"{file}: {error}; correct that key or restore the file") from error
