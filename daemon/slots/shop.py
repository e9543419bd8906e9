"""What acts of slots work with, and the two steps that asking and updating share: into the store, and active."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from daemon import revocations
from daemon.config import Station
from daemon.revocations import Revocations, RevocationsUnreadable
from daemon.slots import facts
from daemon.slots.book import Book, Recorder
from daemon.slots.intake import Arrived, Golden, fits
from daemon.units import ViewKey
from daemon.views import views_of
from signing.errors import SigningError
from signing.keyring import load_trust
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


def _common_trust(shop: Shop, bundle: str, recipe: str) -> str:
    """Return the trust document against which both hold: that of their installation, or the newest."""
    state = shop.book.state
    refusal = SigningError()
    for trust in dict.fromkeys((entry_of(state, recipe).trust, entry_of(state, bundle).trust, state.trust)):
        try:
            fits(shop.book.folder, bundle, recipe, shop.trust(trust), shop.views)
            return trust
        except SigningError as error:
            refusal = error
    raise StoreRefused(str(refusal))


def stamp() -> str:
    """Return the time as documents write it: UTC, whole seconds."""
    return utc_text(datetime.now(UTC))
