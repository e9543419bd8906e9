"""What a person writes to have a bundle or recipe built: a TOML file beside its sources.

The keys are those of bundle.json or recipe.json (docs/interfaces/bundle-format-1.md) without `document`, `format` and
`files`. A bundle has a table [files] (name in the bundle = path, relative to this file). A value `"@PATH"` at the top
is read from that JSON file: training runs, golden sets and measured limits come from programs.
"""

import json
import tomllib
from pathlib import Path
from typing import Any

from fleet.errors import NotSigned

FROM_FILE = "@"
NEEDED = {
    "training": "a training-run record (code commit, seed, dataset, metrics, environment)",
    "golden": "a golden set",
    "sbom": "an SBOM",
}


def read_spec(path: Path) -> dict[str, Any]:
    """Read a TOML file and what it brings in.

    Raises:
        NotSigned: not there, not TOML, or what it names is not JSON.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotSigned(f"{path}: {_said(error)}; correct the file") from error
    return {key: _brought(path, value) for key, value in found.items()}


def bundle_spec(path: Path) -> tuple[dict[str, Any], dict[str, Path]]:
    """Return description and sources of a bundle.

    Raises:
        NotSigned: see `read_spec`; also without training-run record, golden set or SBOM.
    """
    found = read_spec(path)
    for key, what in NEEDED.items():
        if not found.get(key):
            raise NotSigned(f"{path}: no '{key}': without {what} no bundle is built; add it")
    files = found.pop("files", None)
    if not isinstance(files, dict) or not all(isinstance(value, str) for value in files.values()):
        raise NotSigned(f"{path}: no table [files] with name = path; add it")
    return found, {name: path.parent / place for name, place in files.items()}


def _brought(path: Path, value: object) -> object:
    if not isinstance(value, str) or not value.startswith(FROM_FILE):
        return value
    place = path.parent / value.removeprefix(FROM_FILE)
    try:
        return json.loads(place.read_bytes())
    except (OSError, ValueError) as error:
        raise NotSigned(f"{place}: {_said(error)}; correct what {path} brings in") from error


def _said(error: Exception) -> str:
    return str(error.strerror) if isinstance(error, OSError) else " ".join(str(error).split())
