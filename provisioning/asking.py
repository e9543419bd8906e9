"""The ledger opened for a question: one moment of it for the whole answer, and damage told in one line."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from daemon.ledger_file import LEDGER, LedgerUnreadable, reading


@contextmanager
def asking(state: Path) -> Iterator[sqlite3.Connection]:
    """Open the ledger of a state folder read-only; what the recorder writes meanwhile is not seen.

    Raises:
        LedgerUnreadable: as `reading`, or a row holds a value that no release writes.
    """
    with reading(state / LEDGER) as db:
        db.execute("BEGIN")
        try:
            yield db
        except (msgspec.MsgspecError, ValueError) as error:
            todo = "check it with `linewarden audit verify`"
            raise LedgerUnreadable(
                f"{state / LEDGER}: holds a value that no release writes ({error}): {todo}"
            ) from error
