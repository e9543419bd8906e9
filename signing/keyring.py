"""The trust store on disk: one file `trust.json`, format 1 (docs/interfaces/trust-format-1.md).

A public key that carries the development mark makes the whole store a development store, whatever `development` says.
"""

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from msgspec import Meta, Struct

from signing.errors import DevelopmentKeyRefused, DocumentInvalid, TrustStoreError
from signing.manifest import PrintedName, Sha256Hex, strict_json
from signing.trust import Algorithm, Person, Role, Trust, public_pem

STORE_DOCUMENT = "trust.json"
DEVELOPMENT_MARK = "LINEWARDEN DEVELOPMENT KEY, NEVER FOR PRODUCTION"
MAX_STORE_BYTES = 1024 * 1024
MAX_PEOPLE = 256

_KeyIds = Annotated[tuple[Sha256Hex, ...], Meta(min_length=1, max_length=MAX_PEOPLE)]


class _Person(Struct, frozen=True, forbid_unknown_fields=True):
    name: PrintedName
    algorithm: Annotated[str, Meta(max_length=64)]
    public: Annotated[str, Meta(max_length=4096)]


class _Roles(Struct, frozen=True, forbid_unknown_fields=True):
    qa: _KeyIds
    release: _KeyIds


class _Store(Struct, frozen=True, forbid_unknown_fields=True, tag_field="document", tag="trust"):
    format: Literal[1]
    development: bool
    people: Annotated[dict[Sha256Hex, _Person], Meta(min_length=2, max_length=MAX_PEOPLE)]
    roles: _Roles


def load_trust(place: Path, *, production: bool) -> Trust:
    """Read the trust store at `place`: trust.json, or the folder it lies in.

    Called by: every process that opens a bundle or recipe, once at start, and by `linewarden bundle verify`.

    Raises:
        TrustStoreError: the file is missing or not a trust store.
        DevelopmentKeyRefused: `production` is set and the store holds development keys.
    """
    path = place / STORE_DOCUMENT if place.is_dir() else place
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_STORE_BYTES + 1)
    except OSError as error:
        raise TrustStoreError(f"{path}: {error.strerror}; install the trust store again") from error
    return read_trust(raw, str(path), production=production)


def read_trust(raw: bytes, where: str, *, production: bool) -> Trust:
    """Read the bytes of a trust.json. Who may change it is the caller's matter (TUF role `targets`, or the installer).

    Raises:
        TrustStoreError, DevelopmentKeyRefused: see `load_trust`; the message begins with `where`.
    """
    if len(raw) > MAX_STORE_BYTES:
        raise TrustStoreError(f"{where}: more than {MAX_STORE_BYTES} bytes; install the trust store again")
    try:
        store = strict_json(raw, _Store, where)
    except DocumentInvalid as error:
        raise TrustStoreError(str(error)) from error
    marked = any(DEVELOPMENT_MARK in person.public for person in store.people.values())
    people = {key_id: _person(where, key_id, person) for key_id, person in store.people.items()}
    roles = {Role.QA: frozenset(store.roles.qa), Role.RELEASE: frozenset(store.roles.release)}
    try:
        trust = Trust(people, roles, store.development or marked, hashlib.sha256(raw).hexdigest())
    except TrustStoreError as error:
        raise TrustStoreError(f"{where}: {error}") from error
    if production and trust.development:
        raise DevelopmentKeyRefused(
            f"{where}: development keys are refused in production mode; install the production trust store"
        )
    return trust


def _person(where: str, key_id: str, written: _Person) -> Person:
    try:
        Algorithm(written.algorithm)
    except ValueError as error:
        known = ", ".join(Algorithm)
        raise TrustStoreError(
            f"{where}: algorithm '{written.algorithm}' of {written.name} is not accepted by this release (only {known})"
        ) from error
    return Person(key_id, written.name, _public_key(where, written))


def _public_key(where: str, written: _Person) -> EllipticCurvePublicKey:
    pem = written.public.removeprefix(f"{DEVELOPMENT_MARK}\n").encode()
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TrustStoreError(f"{where}: key of {written.name} is not a PEM public key; install it again") from error
    if not isinstance(key, EllipticCurvePublicKey):
        raise TrustStoreError(f"{where}: key of {written.name} is not an elliptic-curve key; install a P-256 key")
    if public_pem(key) != pem:
        raise TrustStoreError(f"{where}: key of {written.name} has more in it than one PEM block; install it again")
    return key
