"""Plans of installed bundles in the store: a person's leave beside each, and what is swept away."""

import hashlib
import shutil
from pathlib import Path

from daemon.slots.plan_bench import SHORT, say
from daemon.slots.shop import Shop
from engines.errors import EngineError
from engines.plan_file import EVIDENCE, Evidence
from engines.plan_shelf import KEY_FILE, PLANS, Shelf, lying
from signing.durable import write_durably
from signing.index import Kind
from signing.plan_approval import PlanApproval
from signing.sealed import open_directory
from signing.store import place_of
from signing.store_keep import blobs_of
from signing.store_state import StoreRefused, StoreState, entry_of
from signing.verify import VerifiedBundle, verify


def take_in(shop: Shop, approval: PlanApproval, raw: bytes) -> str:
    """Put an approval beside each plan that it names, and say what it is.

    Raises:
        SigningError, EngineError: it is not for what lies here. OSError: the disk.
    """
    entry = entry_of(shop.book.state, approval.bundle)
    shelf = shop.shelf(shop.book.state.trust)
    if shelf is None:
        raise StoreRefused(f"this station's back end is {shop.station.vision.backend}: it runs no plans, sign none")
    bundle = opened(shop, approval.bundle)
    places = [_approved_place(shelf, approval, bundle, name) for name in approval.said.plans]
    for place in places:
        write_durably(place, raw)
    models = ", ".join(approval.said.plans)
    what = f"bundle {entry.name} {entry.version}, back end {shelf.maker.name}, models {models}"
    return f"plans approved by {approval.said.printed_name}: {what}: {approval.said.reason}"


def opened(shop: Shop, digest: str) -> VerifiedBundle:
    """Return an installed bundle, verified against the trust of its installation.

    Raises:
        SigningError: it does not hold, or is none.
    """
    entry = entry_of(shop.book.state, digest)
    if entry.kind is not Kind.BUNDLE:
        raise StoreRefused(f"{digest[:SHORT]} is a {entry.kind}; name a bundle")
    with open_directory(place_of(shop.book.folder, Kind.BUNDLE, digest)) as fd:
        return verify(fd, shop.trust(entry.trust))


def tidy(store: Path, state: StoreState) -> None:
    """Remove what belongs to no installed graph, or was not built to its end."""
    graphs = blobs_of(state)
    wanted = {found.source.key for found in lying(store / PLANS) if found.source.onnx_sha256 in graphs}
    _keep_only(store / PLANS, wanted)


def collected(shop: Shop, after: StoreState) -> str:
    """Remove the plans that neither the bundles of a state nor this device as it is now need; say which and why."""
    root, graphs = shop.book.folder / PLANS, blobs_of(after)
    found = lying(root)
    if not found:
        return ""
    why = {one.source.key: _unneeded(shop, one, graphs) for one in found}
    _keep_only(root, {key for key, reason in why.items() if not reason})
    gone = "; ".join(f"plan {key[:SHORT]}: {reason}" for key, reason in why.items() if reason)
    return f"; plans removed: {gone or 'none'}"


def _approved_place(shelf: Shelf, approval: PlanApproval, bundle: VerifiedBundle, name: str) -> Path:
    if name not in bundle.manifest.models:
        raise StoreRefused(f"plan approval: bundle {bundle.manifest.name} has no model '{name}'; have it signed again")
    evidence = shelf.sound(bundle, name).evidence
    shelf.require(approval, bundle, name, evidence)
    place = shelf.place(evidence.source, bundle.digest)
    raw = (place.parent / EVIDENCE).read_bytes()
    if hashlib.sha256(raw).hexdigest() != approval.said.plans[name].evidence:
        raise StoreRefused(
            f"model '{name}': {approval.said.printed_name} was shown other evidence of this plan than lies here; "
            "take it anew with `linewarden bundle plans --request FILE`"
        )
    return place


def _unneeded(shop: Shop, one: Evidence, graphs: set[str]) -> str:
    """Return why a plan may go, "" if it is needed or nobody can tell."""
    if one.source.onnx_sha256 not in graphs:
        return "no installed bundle has its graph"
    try:
        shelf = shop.shelf(shop.book.state.trust)
        if shelf is None:
            return f"the station's back end is {shop.station.vision.backend}"
        now = shelf.maker.source(one.source.onnx_sha256)
    except EngineError as error:
        say(f"plan {one.source.key[:SHORT]} stays: {error}")
        return ""
    return "" if now == one.source else "it was built for another runtime or device than there is now"


def _keep_only(root: Path, wanted: set[str]) -> None:
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        if path.name in wanted and path.is_dir():
            for leaving in path.glob(".*"):
                leaving.unlink()
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != KEY_FILE:
            path.unlink()
