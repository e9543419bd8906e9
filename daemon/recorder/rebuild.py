"""Builds a ledger again from its entries alone, as an archive holds them (docs/interfaces/records-v1.md)."""

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from daemon.recorder.ledger import Ledger
from daemon.recorder.rows import Received
from daemon.recorder.schema import LedgerError
from daemon.records import Genesis, decode_body
from signing.chain import parse_note
from signing.durable import sync_directory

GROUP = 2048


def rebuild(path: Path, records: Iterable[tuple[bytes, bytes]], notes: Sequence[str]) -> None:
    """Write a new ledger at `path` whose entries are `records`, and whose checkpoints are `notes`.

    Args:
        path: of a file that is not there yet.
        records: (body, chain) of every entry from 0 on, verified by the caller.

    Raises:
        LedgerError: the file exists, or an entry does not give the row and the hash that it gave when it was written.
    """
    if path.exists():
        raise LedgerError(f"{path}: is there already; restore into an empty folder")
    rest = iter(records)
    first = next(rest, None)
    if first is None:
        raise LedgerError("the archive holds no entry: nothing to restore")
    ledger = Ledger(path, genesis=first[0])
    try:
        _compare(ledger, 0, first[1])
        while group := list(islice(rest, GROUP)):
            with ledger.restoring():
                for body, chain in group:
                    _restore(ledger, body, chain)
        for note in notes:
            ledger.add_checkpoint(parse_note(note).size, note)
    finally:
        ledger.close()
    _settled(path)


def _restore(ledger: Ledger, body: bytes, chain: bytes) -> None:
    number = ledger.head.size
    try:
        record = decode_body(body)
    except msgspec.MsgspecError as error:
        raise LedgerError(f"entry {number} cannot be read by this release: {error}") from error
    if isinstance(record.row, Genesis):
        raise LedgerError(f"entry {number} is a second beginning of the trail")
    received = Received(record.session, record.row, record.batch, record.origin)
    if not ledger.restore(body, received, (record.at, record.clock)):
        raise LedgerError(f"entry {number} says what an earlier one said already")
    _compare(ledger, number, chain)


def _compare(ledger: Ledger, number: int, chain: bytes) -> None:
    if ledger.chain != chain:
        raise LedgerError(f"entry {number} does not give the hash that it was archived with")


def _settled(path: Path) -> None:
    """The lock file is of no use to anybody, the folder's entry is durable."""
    path.with_suffix(".lock").unlink(missing_ok=True)
    sync_directory(path.parent)
