"""Evidence rows that the recorder has not acknowledged, on disk before their images are: evidence/pending.jsonl.

A row is written here, durable, before its image is; so after a crash every image that was to be kept is reported as
what the disk then says: retained, or dropped. Lines are rows as JSON; one that cannot be read was cut off.
"""

import os
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import msgspec

from daemon.evidence_file import EVIDENCE
from daemon.records import EvidenceRow
from signing.durable import sync_directory, write_durably

CAPACITY = 4096
LONGEST_BYTES = 32 << 20


class Pending:
    """Owned by thread `keep`. Rows leave in the order in which they were reported."""

    def __init__(self, state: Path) -> None:
        self._path = state / EVIDENCE / "pending.jsonl"
        self._waiting: deque[EvidenceRow] = deque()
        self._settled = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def holds(self, digest: str) -> bool:
        """True if a row about this image is not acknowledged yet."""
        return any(row.digest == digest for row in self._waiting)

    def load(self) -> list[EvidenceRow]:
        """Return the rows that an earlier life left, oldest first."""
        try:
            lines = self._path.read_bytes().splitlines()
        except OSError:
            return []
        rows = []
        for line in lines:
            try:
                rows.append(msgspec.json.decode(line, type=EvidenceRow))
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue
        return rows

    def intend(self, rows: Iterable[EvidenceRow]) -> None:
        """Write down what is about to be done; durable when it returns.

        Raises:
            OSError: it is not; then it must not be done.
        """
        text = b"".join(b"\n" + msgspec.json.encode(row) for row in rows) + b"\n"
        fresh = not self._path.exists()
        with self._path.open("ab") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if fresh:
            sync_directory(self._path.parent)

    def reported(self, row: EvidenceRow) -> None:
        """The row is on its way to the recorder."""
        self._waiting.append(row)

    def settle(self, acknowledged: int) -> None:
        """The first `acknowledged` rows reported in this life are in the ledger; forget them.

        Raises:
            OSError: they are still in the file, and would be reported once more after a restart.
        """
        while self._settled < acknowledged and self._waiting:
            self._waiting.popleft()
            self._settled += 1
        size = self._path.stat().st_size if self._path.exists() else 0
        if size and not self._waiting:
            os.truncate(self._path, 0)
        elif size > LONGEST_BYTES:
            write_durably(self._path, b"".join(msgspec.json.encode(row) + b"\n" for row in self._waiting))
