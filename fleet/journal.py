"""What was done to the fleet, by whom and why: `journal.jsonl` in the fleet's folder, one JSON object a line.

Lines are only ever appended. Each begins an act or ends it ("done", or what went wrong), so an act that a power cut
ended is one without an end. `before` is the sha256 of the line before it: a line taken out or changed is seen. The
journal is an account for people; what devices believe is the signed repository alone.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fleet.errors import JournalUnreadable
from signing.durable import sync_directory
from signing.utc import utc_text

FILE = "journal.jsonl"
BEGUN, DONE = "begun", "done"
_START = "0" * 64


@dataclass(frozen=True, slots=True)
class Act:
    """One thing a person does: the command's words, what it changes, the digest of what it works on ("" if none)."""

    person: str
    command: str
    changes: tuple[str, ...]
    digest: str = ""
    reason: str = ""


@contextmanager
def recorded(folder: Path, act: Act) -> Iterator[None]:
    """Write that an act begins, and afterwards how it ended.

    Raises:
        JournalUnreadable: the journal cannot be written; nothing was done.
    """
    _append(folder, act, BEGUN)
    try:
        yield
    except BaseException as error:
        _append(folder, act, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'stopped'}")
        raise
    _append(folder, act, DONE)


def entries(folder: Path) -> list[dict[str, Any]]:
    """Return all entries, oldest first; [] before the first.

    Raises:
        JournalUnreadable: a line is no entry, or not the one that the line after it was written behind.
    """
    found, before = [], _START
    for number, line in enumerate(_lines(folder / FILE), start=1):
        try:
            entry = json.loads(line)
            follows = entry["before"]
        except (ValueError, KeyError, TypeError) as error:
            raise JournalUnreadable(f"{folder / FILE}: line {number} is no entry; restore the file") from error
        if follows != before:
            raise JournalUnreadable(f"{folder / FILE}: line {number} does not follow the one above; restore the file")
        found.append(entry)
        before = _digest(line)
    return found


def _append(folder: Path, act: Act, outcome: str) -> None:
    path = folder / FILE
    new = not path.exists()
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            _write(fd, act, outcome)
        finally:
            os.close(fd)
        if new:
            sync_directory(folder)
    except OSError as error:
        raise JournalUnreadable(f"{path}: {error.strerror}; nothing is done that the journal cannot hold") from error


def _write(fd: int, act: Act, outcome: str) -> None:
    """Append durably. What a power cut left of an entry is taken off first: it was never acknowledged."""
    whole = os.pread(fd, os.fstat(fd).st_size, 0)
    lines = whole.split(b"\n")[:-1]
    entry = {
        "utc": utc_text(datetime.now(UTC)),
        "person": act.person,
        "command": act.command,
        "outcome": outcome,
        "digest": act.digest,
        "reason": act.reason,
        "changes": list(act.changes),
        "before": _digest(lines[-1]) if lines else _START,
    }
    os.ftruncate(fd, whole.rfind(b"\n") + 1)
    os.write(fd, json.dumps(entry, ensure_ascii=False).encode() + b"\n")
    os.fsync(fd)


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise JournalUnreadable(f"{path}: {error.strerror}; make the journal readable") from error


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
