"""What slots takes from the fleet: the mirror in `incoming/`, or a stick, judged by TUF against this device's floor.

One path for network and stick. The trust, the revocations and the allow-list of the newest metadata hold from then on,
whether anything is installed or not; expiry stops an update, never what is installed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from cryptography import x509
from msgspec import structs

from daemon import revocations
from daemon.config import Station
from daemon.config_updates import Updates
from daemon.messages import Act
from daemon.revocations import Revoked
from daemon.slots import facts
from daemon.slots.intake import settle
from daemon.slots.shop import Shop, Versions, installed, require_signers, stamp, to_activate
from daemon.store_requests import INCOMING, STORE, Request, Response
from engines.errors import EngineError
from signing.certificates import subject_of
from signing.durable import write_durably
from signing.enrolled import CERTIFICATE, FOLDER
from signing.errors import SigningError
from signing.fetchers import FileFetcher
from signing.floor import FileFloor, Floor
from signing.freshness import Place, Repository, open_repository
from signing.index import Kind
from signing.keyring import read_trust
from signing.permission import (
    LARGEST_BYTES,
    TRUST_PATH,
    Activation,
    Decision,
    Documents,
    Pair,
    decide,
    parts,
    read_documents,
)
from signing.store import BLOBS, REVOKED, put_trust
from signing.store_state import Listing, Said, StoreRefused, StoreState
from signing.trusted_time import trusted_now
from signing.update_errors import FetchFailed

PLACE, FLOOR_FILE = "tuf", "floor.json"
UNLISTED = "the newest metadata does not list it any more"
Done = tuple[StoreState, str, str]


@dataclass(frozen=True, slots=True)
class Opened:
    """The newest trusted repository and what it says about this line."""

    repository: Repository
    documents: Documents
    decision: Decision
    source: str

    @property
    def versions(self) -> Versions:
        return structs.astuple(self.repository.versions)


def check(shop: Shop, request: Request) -> Done:
    """Read the newest metadata and say what an update would do; nothing is installed.

    Raises:
        SigningError, OSError: it was refused, or cannot be read.
    """
    opened = read(shop, request)
    return shop.book.state, f"{_metadata(opened)}: {opened.decision.why}", _metadata(opened)


def apply(shop: Shop, request: Request, said: Said) -> Done:
    """Install what this line is to have and activate what its allow-list says; each is an act of its own on record.

    Raises:
        SigningError, OSError: something of it was refused; what was done before stays.
    """
    opened = read(shop, request)
    done = [_metadata(opened)]
    wrong = [f"{one.pair.bundle[:12]}: {one.why}" for one in opened.decision.refused]
    steps = [partial(_install, shop, opened, said, one) for one in _missing(shop, opened.decision)]
    order = opened.decision.activate
    if order and _named(order) != shop.book.state.ordered and not _is_active(shop.book.state, order.pair):
        steps.append(partial(_activate, shop, order, said))
    for step in steps:
        try:
            done.append(step())
        except (SigningError, EngineError) as error:
            wrong.append(str(error))
    if wrong:
        raise StoreRefused("; ".join([*done, *(f"refused: {one}" for one in wrong)]))
    return shop.book.state, "; ".join(done if steps else [*done, "nothing is new"]), ""


def read(shop: Shop, request: Request) -> Opened:
    """Open the repository and take over what it says of trust, revocations and permission.

    Raises:
        SigningError, OSError: refused or unreadable; what held before holds.
    """
    updates = _updates(shop.station)
    folder = Path(request.subject) if request.subject else shop.state / INCOMING
    now = trusted_now(datetime.now(UTC), None, facts.last_record(shop.state)).now
    place = Place(shop.state / STORE / PLACE)
    repository = open_repository(place, FileFetcher(folder), floor_of(shop.station, shop.state), now)
    repository.check_floor()
    documents = read_documents(repository.document, updates.line)
    wish = None if request.wish is None else [Pair(*pair) for pair in request.wish]
    decision = decide(device_id(shop), updates.line, documents, wish)
    opened = Opened(repository, documents, decision, str(folder))
    _take_over(shop, opened)
    return opened


def floor_of(station: Station, state: Path) -> Floor:
    """Return where this device's version floor is kept: in its TPM, or in a file where it has none."""
    updates = station.updates
    if updates is not None and updates.identity == "tpm":
        from signing.tpm_floor import TpmFloor  # noqa: PLC0415 - the extra `tpm` is not everywhere

        return TpmFloor(updates.tpm)
    return FileFloor(state / STORE / FLOOR_FILE)


def device_id(shop: Shop) -> str:
    """Return the id under which the fleet knows this device; in development the name, where there is no certificate.

    Raises:
        SigningError: it is not enrolled.
    """
    path = shop.state / FOLDER / CERTIFICATE
    try:
        return subject_of(x509.load_pem_x509_certificate(path.read_bytes()).subject).id
    except (OSError, ValueError) as error:
        if shop.station.production:
            raise StoreRefused(f"{path}: this device has no certificate that can be read: enrol it") from error
    return _updates(shop.station).device


def _updates(station: Station) -> Updates:
    if station.updates is None:
        raise StoreRefused("the station file has no [updates]: write its line and device there, then update")
    return station.updates


def _take_over(shop: Shop, opened: Opened) -> None:
    """Let trust, revocations and permission of the newest metadata hold; revocations first."""
    book, repository = shop.book, opened.repository
    entries = tuple(_revoked(shop, opened))
    write_durably(book.folder / REVOKED, revocations.encode(entries))
    trust, raw = book.state.trust, repository.document(TRUST_PATH, LARGEST_BYTES)
    if raw is not None:
        read_trust(raw, f"{opened.source}: {TRUST_PATH}", production=shop.station.production)
        trust = put_trust(book.folder, raw)
    allowed = opened.documents.allowlist
    signed_at = repository.signed_at.isoformat() if repository.signed_at else ""
    bundles, recipes = (allowed.bundles, allowed.recipes) if allowed else ((), ())
    book.commit(structs.replace(book.state, trust=trust, listing=Listing(bundles, recipes, opened.versions, signed_at)))


def _revoked(shop: Shop, opened: Opened) -> Iterator[Revoked]:
    """Yield what the fleet revoked, and of what is installed what it does not list or a revoked key signed."""
    listed = opened.documents.revoked
    if listed is not None:
        named = [Revoked(one.what.value, one.id, one.reason, one.by, one.utc) for one in listed.entries]
    else:
        named = [one for one in shop.revocations().entries if one.by]
    yield from named
    keys = {one.id: one.reason for one in named if one.what == "key"}
    known, before = {one.id for one in named}, _unlisted(shop)
    for digest, entry in shop.book.state.installed.items():
        signers = [key for key in entry.signers if key in keys]
        if digest in known:
            continue
        if signers:
            yield Revoked(
                entry.kind.value, digest, f"key {signers[0][:12]} is revoked: {keys[signers[0]]}", "", stamp()
            )
        elif not _is_listed(opened.repository, entry.kind, digest, unknown=digest not in before):
            yield Revoked(entry.kind.value, digest, UNLISTED, "", stamp())


def _unlisted(shop: Shop) -> set[str]:
    """Return what earlier metadata did not list any more."""
    try:
        return {one.id for one in shop.revocations().entries if one.reason == UNLISTED}
    except StoreRefused:
        return set()


def _is_listed(repository: Repository, kind: Kind, digest: str, *, unknown: bool) -> bool:
    """Return whether a digest is listed; `unknown` where a stick lacks the file that says so."""
    try:
        return repository.index(kind, digest) is not None
    except FetchFailed:
        return unknown


def _missing(shop: Shop, decision: Decision) -> Iterator[tuple[Kind, str]]:
    """Yield what of the pairs to have is not installed, bundles before their recipes."""
    yield from (one for one in parts(decision.download) if one[1] not in shop.book.state.installed)


def _install(shop: Shop, opened: Opened, said: Said, one: tuple[Kind, str]) -> str:
    kind, digest = one
    index = opened.repository.index(kind, digest)
    if index is None:
        raise StoreRefused(f"{kind} {digest[:12]} is allowed and not published: have it published")
    opened.repository.fetch(index, shop.book.folder / BLOBS, lambda _done, _total: None)
    files = {name: blob.sha256 for name, blob in index.files.items()}
    trust = shop.trust(shop.book.state.trust)
    arrived = settle(shop.book.folder, kind, digest, files, trust, shop.tried)
    require_signers(shop, arrived)
    text = f"installed {kind} {arrived.name} {arrived.version} {digest}"
    state = installed(shop.book.state, arrived, opened.source, opened.versions)
    shop.book.commit(state, Act("bundle-install", said.who, said.role, said.why, "", ""), Response(True, text), text)
    return text


def _activate(shop: Shop, order: Activation, said: Said) -> str:
    if order.recipe in shop.book.state.installed and shop.book.state.installed[order.recipe].bundle != order.bundle:
        raise StoreRefused(f"recipe {order.recipe[:12]} is not for bundle {order.bundle[:12]}: correct the allow-list")
    why = f"{order.change_control} by {order.printed_name}: {order.reason}"
    state, text = to_activate(shop, order.recipe, structs.replace(said, why=why))
    state = structs.replace(state, ordered=_named(order))
    shop.book.commit(state, Act("bundle-activate", said.who, said.role, why, "", ""), Response(True, text))
    return text


def _named(order: Activation) -> str:
    """Return what tells one order of an allow-list from another."""
    return f"{order.change_control} {order.utc} {order.bundle} {order.recipe}"


def _is_active(state: StoreState, pair: Pair) -> bool:
    found = [state.generations[number] for number in (state.active, state.staged) if number]
    return any((one.bundle, one.recipe) == pair for one in found)


def _metadata(opened: Opened) -> str:
    return f"metadata {opened.repository.versions.text()} of {opened.source}"
