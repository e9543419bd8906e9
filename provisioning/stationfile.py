"""Changes single values in a station file and leaves every other character of it as it was.

The new file is read back before it takes the old one's place; the old one stays beside it.
"""

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from daemon import config
from provisioning.teaching import Change, TeachError
from signing.durable import sync_directory

HEADER = re.compile(r"^\s*(\[\[?)\s*([A-Za-z0-9_.\-]+)\s*\]\]?")
BACKUP = ".before-teach"


def rewrite(text: str, changes: Sequence[Change]) -> str:
    """Return the text with the changed values in it.

    Raises:
        TeachError: a value is not written on a line of its own; the text names it.
    """
    lines = text.splitlines(keepends=True)
    for change in changes:
        rows = _block(lines, change.table)
        pattern = re.compile(rf"^(\s*{change.key}\s*=\s*)([-+0-9_.eE]+)")
        hits = [row for row in rows if pattern.match(lines[row])]
        if len(hits) != 1:
            raise TeachError(
                f"{change.table}.{change.key} does not stand on a line of its own: write {change.new} there"
            )
        lines[hits[0]] = pattern.sub(rf"\g<1>{float(change.new)!r}", lines[hits[0]])
    return "".join(lines)


def _block(lines: Sequence[str], table: str) -> range:
    """Return the rows of [geometry], or of the [[cameras]] entry of that name."""
    starts = [row for row, line in enumerate(lines) if HEADER.match(line)]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        found = HEADER.match(lines[start])
        name = found.group(2) if found else ""
        named = re.compile(rf"""^\s*name\s*=\s*["']{re.escape(table)}["']""")
        if name == table or (name == "cameras" and any(named.match(line) for line in lines[start:end])):
            return range(start, end)
    return range(0)


def write(path: Path, changes: Sequence[Change]) -> Path:
    """Put the changes into the station file, durably and at once; return where the old one is kept.

    Raises:
        TeachError: a value cannot be placed, or the file would not be read as meant.
        OSError: the folder cannot be written.
    """
    path = path.resolve()
    before = path.read_bytes()
    after = rewrite(before.decode("utf-8"), changes)
    backup = path.with_name(path.name + BACKUP)
    _durable(backup, before, path)
    fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(fd)
    try:
        _durable(Path(name), after.encode("utf-8"), path)
        _read_back(Path(name), changes)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
    return backup


def _read_back(path: Path, changes: Sequence[Change]) -> None:
    try:
        station = config.load(path)
    except config.ConfigError as error:
        raise TeachError(f"the station would not load with the new values: {str(error).partition(': ')[2]}") from error
    cameras = {camera.name: camera for camera in station.cameras}
    for change in changes:
        owner = station.geometry if change.table == "geometry" else cameras.get(change.table)
        if getattr(owner, change.key, None) != change.new:
            raise TeachError(f"{change.table}.{change.key} is not read back as {change.new}: write it by hand")


def _durable(path: Path, data: bytes, like: Path) -> None:
    with path.open("wb") as file:
        os.fchmod(file.fileno(), like.stat().st_mode & 0o777)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
