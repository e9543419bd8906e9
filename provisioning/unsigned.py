"""Bundles and recipes as they are before anybody signs them. A folder is whole or not there at all.

What the publishers' tool builds from a description, and what a fit on this device proposes, is made here alike.
"""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from signing.durable import sync_directory, write_durably
from signing.errors import SigningError
from signing.manifest import BUNDLE_DOCUMENT, RECIPE_DOCUMENT, read_bundle_manifest, strict_json

COPY_BYTES = 4 << 20


class NotBuilt(SigningError):
    """A folder is not made because something stands in its place; the text names it."""


def build_bundle(description: Mapping[str, object], sources: Mapping[str, bytes | Path], out: Path) -> str:
    """Write an unsigned bundle into the new directory `out` and return its digest (sha256 of bundle.json).

    Args:
        description: bundle.json without `document`, `format` and `files`.
        sources: file name -> content, or the file to copy, of every file of the bundle.

    Raises:
        DocumentInvalid: the description is not acceptable in format 1.
        NotBuilt: `out` exists already.
        OSError: a source cannot be read, or `out` not be written.
    """
    with new_folder(out) as folder:
        files = {name: _put(folder / name, source) for name, source in sources.items()}
        raw = document({"document": "bundle", "format": 1, **description, "files": files})
        read_bundle_manifest(raw, BUNDLE_DOCUMENT)
        write_durably(folder / BUNDLE_DOCUMENT, raw)
    return hashlib.sha256(raw).hexdigest()


def build_recipe(description: Mapping[str, object], out: Path) -> str:
    """Write an unsigned recipe into the new directory `out` and return its digest (sha256 of recipe.json).

    Args:
        description: recipe.json without `document` and `format`.

    Raises:
        DocumentInvalid: the description is not acceptable in format 1.
        NotBuilt: `out` exists already.
        OSError: `out` cannot be written.
    """
    from daemon.recipe import Recipe  # noqa: PLC0415 - brings onnx along, which no other command needs

    raw = document({"document": "recipe", "format": 1, **description})
    strict_json(raw, Recipe, RECIPE_DOCUMENT)
    with new_folder(out) as folder:
        write_durably(folder / RECIPE_DOCUMENT, raw)
    return hashlib.sha256(raw).hexdigest()


def document(content: Mapping[str, object]) -> bytes:
    """Return a document as it is written: two spaces, UTF-8, a line feed at its end."""
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a folder that becomes `out` when the block ends, and is gone when it fails.

    Raises:
        NotBuilt: `out` exists already.
        OSError: it cannot be written.
    """
    if out.exists():
        raise NotBuilt(f"{out}: exists already; remove it or name another directory")
    folder = out.with_name(f".{out.name}.new")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o755, parents=True)
    try:
        yield folder
        sync_directory(folder)
        folder.rename(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    sync_directory(out.parent)


def _put(path: Path, source: bytes | Path) -> dict[str, object]:
    """Write one file of a folder that is not there yet, and return its entry."""
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as content, path.open("xb") as file:
        shutil.copyfileobj(content, file, COPY_BYTES)
        file.flush()
        os.fsync(file.fileno())
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": path.stat().st_size}
