"""Whether another pair of bundle and recipe may judge the rest of an open batch (law 5), and what goes on record. Pure.

A swap changes who judges and nothing else: product, views, times, spacing, sampling and stop rules are those that the
line runs on, so that the cut needs no moment at which anything stands still, and so that the way back is another swap.
"""

import re
from collections.abc import Sequence

from daemon.messages import Act, Loaded
from daemon.recorder.batch import BatchRecord, SubLot
from daemon.records import SubLotOpened
from signing.order import SwapOrder

PAIR = re.compile(r"([0-9a-f]{64}) ([0-9a-f]{64})")
MOST_SUBLOTS = 16  # with all of them the report still fits into one message
SAME = {
    "product": "product",
    "container": "container",
    "views": "views",
    "max_latency_ms": "latency limit",
    "window_ms": "binding window",
    "min_gap_mm": "least spacing",
    "max_gap_mm": "greatest spacing",
    "sampling_every": "sampling",
    "stops": "stop rules",
}


def wished(act: Act) -> tuple[str, str] | None:
    """Return the digests (bundle, recipe) that a swap asks for, None if it does not say them."""
    found = PAIR.fullmatch(act.new)
    return (found[1], found[2]) if found else None


def among(warm: Sequence[Loaded], bundle: str, recipe: str) -> Loaded | None:
    """Return what vision has warm under these digests."""
    return next((one for one in warm if (one.bundle, one.recipe) == (bundle, recipe)), None)


def misfit(now: Loaded, new: Loaded) -> str:
    """Return what a recipe asks of the line that it does not run on, "" for nothing."""
    for name, words in SAME.items():
        if getattr(now, name) != getattr(new, name):
            return f"recipe {new.recipe_name} has another {words} than the line runs on: swap it between two batches"
    return ""


def misorder(order: SwapOrder, batch: BatchRecord, new: Loaded) -> str:
    """Return why a signed order does not stand for this swap, "" if it does."""
    if len(batch.sublots) >= MOST_SUBLOTS:
        return f"batch {batch.id} has {MOST_SUBLOTS} sub-lots, its report holds no more: close it and open another"
    if order.batch != batch.id:
        return f"the order is for batch {order.batch}, {batch.id} is open: have it signed for this one"
    if (order.bundle, order.recipe) != (new.bundle, new.recipe):
        return f"the order names bundle {order.bundle[:12]} recipe {order.recipe[:12]}: have the right one signed"
    if any((lot.key, lot.signed_utc) == (order.key_id, order.utc) for lot in batch.sublots):
        return f"the order of {order.utc} was carried out in this batch already: have another one signed"
    return ""


def sublot(act: Act, order: SwapOrder, batch: BatchRecord, new: Loaded, configuration: str) -> SubLotOpened:
    """Return the entry that begins a sub-lot."""
    return SubLotOpened(
        seq=0,
        batch=batch.id,
        number=len(batch.sublots) + 1,
        bundle=new.bundle,
        recipe=new.recipe,
        bundle_name=new.bundle_name,
        recipe_name=new.recipe_name,
        plan=new.plan,
        configuration=configuration,
        signer=order.printed_name,
        key=order.key_id,
        signed_utc=order.utc,
        why=order.reason,
        actor=act.actor,
        role=act.role,
        reason=act.reason,
    )


def looks(lot: SubLot | SubLotOpened) -> str:
    """Return what a swap changes, as the trail says it before and after."""
    return f"sub-lot {lot.number}: bundle {lot.bundle} recipe {lot.recipe}"
