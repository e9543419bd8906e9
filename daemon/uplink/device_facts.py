"""What a device says of itself to its fleet, gathered from its store and its records. Reads only; writes no word."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec

from daemon.config import Station, release
from daemon.ledger_file import LEDGER, LedgerUnreadable, confirmed, entries, reading
from daemon.records import decode_body
from daemon.store_requests import STORE
from daemon.uplink.shipping import is_news
from signing.device_status import MOST_PAIRS, DeviceStatus, Failed, Held, Running
from signing.permission import Pair
from signing.store import read_state
from signing.store_state import Health, StoreError, StoreState

NEWEST = """SELECT plan, configuration FROM (SELECT entry, plan, configuration FROM batch
UNION ALL SELECT entry, plan, configuration FROM sublot) ORDER BY entry DESC LIMIT 1"""
LOOKED_AT = 64
LONGEST = 200


@dataclass(frozen=True, slots=True)
class Recorded:
    """From the ledger: digests of the newest batch or sub-lot; `oldest_ns`: wall time of the first unarchived entry."""

    plan: str = ""
    configuration: str = ""
    oldest_ns: int = 0


def gather(station: Station, state: Path, wall_ns: int, wanted: Collection[Pair], why: str) -> DeviceStatus:
    """Return the status of this moment; `utc` and `number` are the sender's to fill in.

    Args:
        wanted: pairs that this line may have; `why`: what `slots` refused of the last request, "" for nothing.
    """
    updates = station.updates
    assert updates is not None
    recorded, store = _recorded(state), _store(state)
    installed = store.installed if store else {}
    late = [pair for pair in wanted if not set(pair) <= installed.keys()]
    spool_s = max(0.0, (wall_ns - recorded.oldest_ns) / 1e9) if recorded.oldest_ns else 0.0
    status = DeviceStatus(
        format=1,
        device=updates.device,
        line=updates.line,
        utc="1970-01-01T00:00:00Z",
        number=0,
        software=release(),
        plan=recorded.plan,
        configuration=recorded.configuration,
        mode=str(station.mode),
        spool_s=round(spool_s, 1) if station.archive else None,
        failed=tuple(Failed(*pair, why[:LONGEST]) for pair in late)[:MOST_PAIRS] if why else (),
        floor="none" if store is None else "tpm" if updates.identity == "tpm" else "file",
        development=not station.production,
    )
    return status if store is None else _with_store(status, store)


def _with_store(status: DeviceStatus, store: StoreState) -> DeviceStatus:
    active = store.generations.get(store.active)
    bad = [one for one in store.generations.values() if one.health is Health.REFUSED]
    held = [(one.bundle, digest) for digest, one in store.installed.items() if one.bundle in store.installed]
    return msgspec.structs.replace(
        status,
        bundle=_running(store, active.bundle) if active else None,
        recipe=_running(store, active.recipe) if active else None,
        installed=tuple(Held(*pair) for pair in sorted(held))[:MOST_PAIRS],
        failed=(*status.failed, *(Failed(one.bundle, one.recipe, one.text[:LONGEST]) for one in bad))[:MOST_PAIRS],
        pinned=bool(store.pins),
        generation=store.active,
        timestamp=store.listing.versions[1] if store.listing else 0,
        signed_at=store.listing.signed_at if store.listing else "",
    )


def _running(store: StoreState, digest: str) -> Running:
    entry = store.installed.get(digest)
    return Running(digest, entry.name[:LONGEST], entry.version[:LONGEST]) if entry else Running(digest)


def _store(state: Path) -> StoreState | None:
    try:
        return read_state(state / STORE)
    except StoreError:
        return None


def _recorded(state: Path) -> Recorded:
    """Return what the ledger says; nothing where it cannot be read: the recorder is the one to complain."""
    try:
        with reading(state / LEDGER) as db:
            plan, configuration = db.execute(NEWEST).fetchone() or ("", "")
            new = (one.body for one in islice(entries(db, confirmed(db)), LOOKED_AT))
            body = next(filter(is_news, new), None)
            return Recorded(plan, configuration, decode_body(body).at if body else 0)
    except (LedgerUnreadable, msgspec.MsgspecError):
        return Recorded()
