"""What was built on this device of its bundles: of what, by what, how far off, and who lets it inspect."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from daemon import config
from daemon.config import Station
from engines.backends import PLAIN
from engines.errors import EngineError
from engines.plan_file import EVIDENCE, Evidence
from engines.plan_shelf import PLANS, Shelf, lying, shelf_of
from provisioning.errors import CommandFailed
from provisioning.plan_request import PlanRequest, worst
from signing.errors import SigningError
from signing.index import Kind
from signing.keyring import load_trust
from signing.plan_approval import PlanApproval
from signing.sealed import open_directory
from signing.store import TRUST, TRUSTS, place_of, read_state
from signing.store_state import StoreState, entry_of, named
from signing.trust import Trust
from signing.verify import VerifiedBundle, verify

SHORT = 12


class PlansUnknown(CommandFailed):
    """What is built cannot be said, or not be asked for; the text says why and what to do."""


class PlanRow(msgspec.Struct, frozen=True):
    """One plan, or one that is missing (`plan` ""). `text`: why vision would not load it, "" if it would.

    golden, equivalence: the worst difference, absolute; seconds: of the build.
    """

    bundle: str
    bundle_name: str
    model: str
    backend: str
    plan: str
    built: str = ""
    seconds: float = 0.0
    device: str = ""
    golden: float = 0.0
    equivalence: float = 0.0
    approved_by: str = ""
    approved_why: str = ""
    approved_utc: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Store:
    """The store of one station, opened to be read."""

    folder: Path
    station: Station
    state: StoreState

    def trust(self, digest: str) -> Trust:
        return load_trust(self.folder / TRUSTS / digest / TRUST, production=self.station.production)

    def bundle(self, digest: str) -> VerifiedBundle:
        """Verify an installed bundle."""
        with open_directory(place_of(self.folder, Kind.BUNDLE, digest)) as fd:
            return verify(fd, self.trust(entry_of(self.state, digest).trust))

    def shelf(self, digest: str) -> Shelf:
        """Return the shelf with the trust that vision would use for a bundle: its generation's, else the newest."""
        numbers = [number for number in (self.state.active, self.state.staged) if number]
        found = [one.trust for one in map(self.state.generations.__getitem__, numbers) if one.bundle == digest]
        backend = self.station.vision.backend
        shelf = shelf_of(self.folder, self.station.name, backend, self.trust((*found, self.state.trust)[0]))
        if shelf is None:
            raise PlansUnknown(
                f"this station's back end is {backend}: it runs the graphs themselves, there are no plans"
            )
        return shelf


def open_view(folder: Path, station_path: Path) -> Store:
    """Open a store to be read.

    Raises:
        SigningError, ConfigError: there is none, or the station file does not do.
    """
    return Store(folder, config.load(station_path), read_state(folder))


def rows(store: Store) -> list[PlanRow]:
    """Return every plan of every installed bundle, then what lies there for another runtime or device.

    Raises:
        CommandFailed: the station's back end cannot be asked.
        SigningError: an installed bundle does not hold.
    """
    plain = store.station.vision.backend == PLAIN
    try:
        found = [row for digest in _bundles(store.state) if not plain for row in _of_bundle(store, digest)]
    except EngineError as error:
        raise PlansUnknown(str(error)) from error
    shown = {row.plan for row in found}
    return found + [_other(one) for one in lying(store.folder / PLANS) if one.plan_sha256 not in shown]


def request(store: Store, which: str) -> PlanRequest:
    """Return what QA is asked to sign: all plans of a bundle, by default of the one that is active.

    Raises:
        CommandFailed, SigningError: there is no such bundle, or a plan of it is missing.
    """
    digest = _named(store.state, which)
    bundle, shelf = store.bundle(digest), store.shelf(digest)
    try:
        sources = {name: shelf.sound(bundle, name).evidence.source for name in bundle.manifest.models}
        plans = {name: (shelf.root / source.key / EVIDENCE).read_text("utf-8") for name, source in sources.items()}
    except EngineError as error:
        raise PlansUnknown(str(error)) from error
    return PlanRequest(1, store.station.name, shelf.maker.name, digest, plans)


def text(row: PlanRow) -> str:
    """Return a plan as a person reads it."""
    lines = [f"{row.bundle_name or 'no installed bundle'}  model {row.model or 'unknown'}  {row.backend}"]
    if row.plan:
        lines += [
            f"  plan {row.plan[:SHORT]}, built {row.built} in {row.seconds:g} s for {row.device}",
            f"  off by at most {row.golden:.3g} on the golden set, {row.equivalence:.3g} against onnxruntime",
        ]
    if row.approved_by:
        lines.append(f"  approved by {row.approved_by}, {row.approved_utc}: {row.approved_why}")
    return "\n".join([*lines, f"  not to be loaded: {row.text}"] if row.text else lines)


def document(row: PlanRow) -> dict[str, Any]:
    """Return a plan for --json."""
    shown: dict[str, Any] = msgspec.to_builtins(row)
    return shown


def _bundles(state: StoreState) -> list[str]:
    installed = [(one.order, digest) for digest, one in state.installed.items() if one.kind is Kind.BUNDLE]
    return [digest for _, digest in sorted(installed)]


def _of_bundle(store: Store, digest: str) -> Iterator[PlanRow]:
    bundle, shelf = store.bundle(digest), store.shelf(digest)
    title = f"{bundle.manifest.name} {bundle.manifest.version}"
    for model in bundle.manifest.models:
        try:
            cleared = shelf.approved(bundle, model)
            yield _row(digest, title, model, cleared.checked.evidence, cleared.approval)
        except (EngineError, SigningError) as error:
            yield _unloadable(shelf, bundle, model, str(error))


def _unloadable(shelf: Shelf, bundle: VerifiedBundle, model: str, why: str) -> PlanRow:
    title = f"{bundle.manifest.name} {bundle.manifest.version}"
    try:
        return _row(bundle.digest, title, model, shelf.sound(bundle, model).evidence, None, why)
    except EngineError:
        return PlanRow(bundle.digest, title, model, shelf.maker.name, "", text=why)


def _row(
    digest: str, title: str, model: str, evidence: Evidence, approval: PlanApproval | None, why: str = ""
) -> PlanRow:
    source = evidence.source
    said = approval.said if approval else None
    return PlanRow(
        bundle=digest,
        bundle_name=title,
        model=model,
        backend=source.runtime,
        plan=evidence.plan_sha256,
        built=evidence.built_utc,
        seconds=evidence.seconds,
        device=f"{source.version} on {source.device} ({source.capability}, driver {source.driver})",
        golden=worst(evidence.golden),
        equivalence=worst(evidence.equivalence),
        approved_by=said.printed_name if said else "",
        approved_why=said.reason if said else "",
        approved_utc=said.utc if said else "",
        text=why,
    )


def _other(one: Evidence) -> PlanRow:
    return _row("", "", "", one, None, "for another runtime, device or graph than there is now; `collect` removes it")


def _named(state: StoreState, which: str) -> str:
    if which:
        digest = named(state, which)
        return entry_of(state, digest).bundle or digest
    if not state.active:
        raise PlansUnknown("no bundle is active: name one, `linewarden bundle list` shows what is installed")
    return state.generations[state.active].bundle
