"""`linewarden sim --swap-bundle DIR@UNIT`: another pair, staged while the line runs, and QA's order for it.

The order is signed here with the development key of QA; for a real line it comes from QA's own token.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from daemon.messages import Act
from daemon.store_requests import STORE
from provisioning.places import PlaceError, pair_at
from signing.errors import SigningError
from signing.index import Kind
from signing.keyring import load_trust
from signing.manifest import BUNDLE_DOCUMENT, RECIPE_DOCUMENT
from signing.order import SWAP_ORDER, SwapPredicate
from signing.statement import envelope, statement
from signing.store import GENERATIONS, STAGED, place_of
from signing.trust import key_id_of
from signing.utc import utc_text

KEY = Path("private") / "qa.pem"
REASON = "linewarden sim --swap-bundle"
GENERATION = "2"


@dataclass(frozen=True, slots=True)
class Swap:
    """The pair that takes over once `unit` vials came in."""

    bundle: Path
    recipe: Path
    unit: int


def planned(text: str, units: int) -> Swap:
    """Return what `DIR@UNIT` says: DIR is a bundle with its recipe beside it, or a folder with `bundle` and `recipe`.

    Raises:
        PlaceError: it says something else, or there is no such pair.
    """
    name, _, number = text.rpartition("@")
    if not name or not number.isdecimal() or not 1 <= int(number) < units:
        raise PlaceError(f"--swap-bundle {text!r}: give DIR@UNIT, the unit from 1 to {units - 1}")
    return Swap(*pair_at(Path(name)), int(number))


def stage(swap: Swap, trust: Path, state: Path) -> None:
    """Put the pair where vision finds what is staged, as the device's store has it."""
    store = state / STORE
    generation = store / GENERATIONS / GENERATION
    generation.mkdir(parents=True)
    for name, target in ((Kind.BUNDLE, swap.bundle), (Kind.RECIPE, swap.recipe), ("trust", trust.resolve())):
        (generation / name).symlink_to(target)
    bundle, recipe = digests(swap)
    for kind, digest, target in ((Kind.BUNDLE, bundle, swap.bundle), (Kind.RECIPE, recipe, swap.recipe)):
        place = place_of(store, kind, digest)
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(target)
    (store / STAGED).symlink_to(generation.relative_to(store))


def digests(swap: Swap) -> tuple[str, str]:
    """Return the digests of bundle and recipe."""
    paths = (swap.bundle / BUNDLE_DOCUMENT, swap.recipe / RECIPE_DOCUMENT)
    bundle, recipe = (hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    return bundle, recipe


def ordered(batch: str, pair: tuple[str, str], trust: Path, actor: str) -> Act:
    """Return the act that swaps, with an order signed now by the development key of QA.

    Raises:
        PlaceError: there is no such key beside the trust store, or it is nobody's.
    """
    key = _key(trust / KEY)
    try:
        person = load_trust(trust, production=False).people.get(key_id_of(key.public_key()))
    except SigningError as error:
        raise PlaceError(str(error)) from error
    if person is None:
        raise PlaceError(f"{trust / KEY}: nobody's key in the trust store beside it: run `make setup`")
    said = SwapPredicate(batch, person.name, REASON, utc_text(datetime.now(UTC)))
    subjects = dict(zip((BUNDLE_DOCUMENT, RECIPE_DOCUMENT), pair, strict=True))
    payload = statement(subjects, SWAP_ORDER, said)
    order = envelope(payload, person.key_id, lambda message: key.sign(message, ECDSA(SHA256())))
    return Act("swap", actor, "operator", REASON, "", " ".join(pair), msgspec.json.encode(order).decode())


def _key(path: Path) -> EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise PlaceError(f"{path}: no development key of QA to sign with ({error}): run `make setup`") from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise PlaceError(f"{path}: not an elliptic-curve key: run `make setup`")
    return key
