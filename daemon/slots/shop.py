"""What acts of slots work with, and the two steps that asking and updating share: into the store, and active."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from daemon import revocations
from daemon.config import Station
from daemon.revocations import Revocations, RevocationsUnreadable
from daemon.slots import facts
from daemon.slots.book import Book, Recorder
from daemon.slots.intake import Arrived, Golden, fits
from daemon.slots.plan_bench import build_missing
from daemon.units import ViewKey
from daemon.views import views_of
from engines.errors import EngineError
from engines.plan_shelf import Shelf, shelf_of
from signing.errors import SigningError
from signing.keyring import load_trust
from signing.plan_approval import PlanApproval
from signing.store import TRUST, TRUSTS, put_generation
from signing.store_state import (
    Facts,
    Installed,
    Said,
    StoreRefused,
    StoreState,
    activated,
    entry_of,
    with_generation,
    with_installed,
)
from signing.trust import Trust
from signing.utc import utc_text
from signing.verify import VerifiedBundle

UNRECORDED = "the recorder does not answer, and this goes on record before it counts: start it and try again"
Versions = tuple[int, int, int]
FOLDER: Versions = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Shop:
    """`state` is the device's state folder, `golden` runs a bundle over its golden set."""

    station: Station
    state: Path
    book: Book
    recorder: Recorder
    golden: Golden

    def trust(self, digest: str) -> Trust:
        """Return a trust document of the store.

        Raises:
            SigningError: it cannot be used.
        """
        return load_trust(self.book.folder / TRUSTS / digest / TRUST, production=self.station.production)

    def shelf(self, digest: str) -> Shelf | None:
        """Return the plans of this station, signed by people of the trust document `digest`; None: it runs none.

        Raises:
            SigningError: that trust cannot be used. BackendMissing: the station's back end is not installed.
        """
        trust = self.trust(digest)
        return shelf_of(self.book.folder, self.station.name, self.station.vision.backend, trust)

    def tried(self, bundle: VerifiedBundle) -> Sequence[object]:
        """Return what of a bundle's golden set fails here; where nothing does, its plans are there when it returns.

        Raises:
            SigningError, EngineError: a plan is refused or cannot be built. OSError: the store cannot be written.
        """
        wrong, shelf = self.golden(bundle), self.shelf(self.book.state.trust)
        if not wrong and shelf is not None:
            build_missing(shelf, bundle)
        return wrong

    def facts(self) -> Facts:
        """Return what an act is judged by.

        Raises:
            StoreRefused: it cannot be known.
        """
        return Facts(facts.open_batch(self.state), self.revocations().by_digest())

    def revocations(self) -> Revocations:
        """Return what is revoked.

        Raises:
            StoreRefused: it cannot be known.
        """
        try:
            return revocations.read(self.state)
        except RevocationsUnreadable as error:
            raise StoreRefused(str(error)) from error

    @property
    def views(self) -> frozenset[ViewKey]:
        """Every view that this station takes of a unit."""
        lanes = range(self.station.lanes)
        return frozenset(view for lane in lanes for view in views_of(self.station, lane))


def installed(state: StoreState, arrived: Arrived, source: str, versions: Versions) -> StoreState:
    """Return the state with what has arrived in it."""
    entry = Installed(
        kind=arrived.kind,
        name=arrived.name,
        version=arrived.version,
        trust=state.trust,
        utc=stamp(),
        source=source,
        order=0,
        files=dict(arrived.files),
        versions=versions,
        signers=arrived.signers,
        bundle=arrived.bundle,
    )
    return with_installed(state, arrived.digest, entry)


def require_signers(shop: Shop, arrived: Arrived) -> None:
    """Refuse what a revoked key signed: the newest trust document may still name it.

    Raises:
        StoreRefused: it did.
    """
    keys = shop.revocations().keys()
    for key in arrived.signers:
        if key in keys:
            what = f"{arrived.kind} {arrived.digest[:12]}"
            raise StoreRefused(f"{what}: key {key[:12]} that signed it is revoked: {keys[key]}; have it signed anew")


def to_activate(shop: Shop, recipe: str, said: Said) -> tuple[StoreState, str]:
    """Return the store's state with an installed recipe and its bundle active, or staged, and what to answer.

    Raises:
        SigningError: it cannot be activated; the text says why.
        OSError: the store cannot be written.
    """
    if not shop.recorder.there:
        raise StoreRefused(UNRECORDED)
    state = shop.book.state
    bundle = entry_of(state, recipe).bundle
    state, number = with_generation(state, bundle, recipe, _common_trust(shop, bundle, recipe), said.utc)
    after, text = activated(state, number, shop.facts(), said)
    put_generation(shop.book.folder, number, state.generations[number])
    return after, text


def permit(shop: Shop, digest: str) -> None:
    """Refuse what is revoked, and what is not on the allow-list of this line, where there is one.

    Raises:
        StoreRefused: it is.
    """
    revoked, listing = shop.facts().revoked, shop.book.state.listing
    if digest in revoked:
        raise StoreRefused(f"{digest[:12]} is revoked: {revoked[digest]}")
    if listing is not None and not listing.has(digest):
        raise StoreRefused(f"{digest[:12]} is not on the allow-list of this line: have it put there, then update")


def fit_to_run(shop: Shop, bundle: str, recipe: str, trust: str) -> None:
    """See that vision would load an installed pair against one trust; plans that are missing are built first.

    Raises:
        SigningError, EngineError: it would not; the text says why.
        OSError: the store cannot be written.
    """
    whole = fits(shop.book.folder, bundle, recipe, shop.trust(trust), shop.views)
    shelf = shop.shelf(trust)
    if shelf is not None:
        build_missing(shelf, whole)
        for name in whole.manifest.models:
            require_approver(shop, shelf.approved(whole, name).approval)


def require_approver(shop: Shop, approval: PlanApproval) -> None:
    """Refuse a plan approval that a revoked key signed: the trust document may still name it.

    Raises:
        StoreRefused: it did.
    """
    if why := shop.revocations().keys().get(approval.key_id):
        raise StoreRefused(
            f"plan approval by {approval.said.printed_name}: key {approval.key_id[:12]} is revoked: {why}; "
            "have the plans signed anew"
        )


def _common_trust(shop: Shop, bundle: str, recipe: str) -> str:
    """Return the trust document against which both and the plans hold: that of their installation, or the newest."""
    state = shop.book.state
    refusals: list[Exception] = []
    for trust in dict.fromkeys((entry_of(state, recipe).trust, entry_of(state, bundle).trust, state.trust)):
        try:
            fit_to_run(shop, bundle, recipe, trust)
            return trust
        except (SigningError, EngineError) as error:
            refusals.append(error)
    plans = [refusal for refusal in refusals if isinstance(refusal, EngineError)]
    raise StoreRefused(str((plans or refusals)[-1]))


def stamp() -> str:
    """Return the time as documents write it: UTC, whole seconds."""
    return utc_text(datetime.now(UTC))
