"""What the records say that an act on the store depends on: the open batch, and which documents they still need."""

from datetime import UTC, datetime
from pathlib import Path

from daemon.ledger_file import LEDGER, LedgerUnreadable, confirmed, reading
from signing.store_state import Batch, StoreRefused

# The pair of a batch is that of its newest sub-lot, its own where nothing was swapped.
OPEN = """SELECT b.id, coalesce(s.bundle, b.bundle), coalesce(s.recipe, b.recipe)
FROM batch AS b LEFT JOIN sublot AS s ON s.batch = b.id
WHERE b.state = 'open' ORDER BY s.number DESC LIMIT 1"""
LATE = "(b.closed_entry >= :confirmed OR b.entry >= :confirmed OR b.state = 'open')"
USED = f"""SELECT b.id, b.state, b.bundle, b.recipe FROM batch AS b WHERE {LATE}
UNION ALL SELECT b.id, b.state, s.bundle, s.recipe FROM batch AS b JOIN sublot AS s ON s.batch = b.id WHERE {LATE}"""
# A clock that nobody set right may have been years ahead: of its records the newest alone counts.
NEWEST = """SELECT max(
  coalesce((SELECT max(recorded_wall_ns) FROM audit WHERE clock = 'ntp'), 0),
  coalesce((SELECT recorded_wall_ns FROM audit ORDER BY entry DESC LIMIT 1), 0))"""


def open_batch(state: Path) -> Batch | None:
    """Return the open batch; None where no batch was ever opened, too.

    Raises:
        StoreRefused: the ledger cannot be read, so nobody knows.
    """
    if not (state / LEDGER).exists():
        return None
    try:
        with reading(state / LEDGER) as db:
            found = db.execute(OPEN).fetchone()
    except LedgerUnreadable as error:
        raise StoreRefused(f"whether a batch is open is not known: {error}") from error
    return Batch(*found) if found else None


def needed(state: Path) -> dict[str, str]:
    """Return why documents have to stay, by digest: of batches that are open, or that no site archive has confirmed.

    Where there is no archive every batch on record keeps its documents.

    Raises:
        StoreRefused: the ledger cannot be read, so nobody knows.
    """
    if not (state / LEDGER).exists():
        return {}
    try:
        with reading(state / LEDGER) as db:
            found = db.execute(USED, {"confirmed": confirmed(db)}).fetchall()
    except LedgerUnreadable as error:
        raise StoreRefused(f"what the records still need is not known: {error}") from error
    why: dict[str, str] = {}
    for batch, is_open, bundle, recipe in found:
        reason = f"batch {batch} is open" if is_open == "open" else f"no archive has confirmed batch {batch}"
        why |= {digest: why.get(digest, reason) for digest in (bundle, recipe)}
    return why


def last_record(state: Path) -> datetime | None:
    """Return when the newest act went on record, UTC, by the clock of then; None where there is none to read.

    Whatever was recorded under a synchronised clock counts for ever.
    """
    try:
        with reading(state / LEDGER) as db:
            (newest,) = db.execute(NEWEST).fetchone()
    except LedgerUnreadable:
        return None
    return datetime.fromtimestamp(newest / 1e9, UTC) if newest else None
