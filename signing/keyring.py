"""The trust store on disk: a directory with `trust.json` and the public keys it names.

`trust.json` is `{"format": 0, "development": bool, "keys": {"qa": ["qa.pub.pem"], "release": ["release.pub.pem"]}}`.
A key file that carries the development mark makes the whole store a development store, whatever `trust.json` says.
"""

from pathlib import Path
from typing import Annotated, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from msgspec import Meta, Struct

from signing.errors import DevelopmentKeyRefused, DocumentInvalid, TrustStoreError
from signing.manifest import strict_json
from signing.trust import Role, Trust

STORE_DOCUMENT = "trust.json"
DEVELOPMENT_MARK = "LINEWARDEN DEVELOPMENT KEY, NEVER FOR PRODUCTION"

_KeyFile = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\.pem$")]
_KeyFiles = Annotated[tuple[_KeyFile, ...], Meta(min_length=1, max_length=16)]


class _Keys(Struct, frozen=True, forbid_unknown_fields=True):
    qa: _KeyFiles
    release: _KeyFiles


class _Store(Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal[0]
    development: bool
    keys: _Keys


def load_trust(directory: Path, *, production: bool) -> Trust:
    """Read the trust store in `directory`.

    Called by: every process that opens a bundle or recipe, once at start, and by `linewarden bundle verify`.

    Raises:
        TrustStoreError: a file is missing or is not an ECDSA P-256 public key.
        DevelopmentKeyRefused: `production` is set and the store holds development keys.
    """
    try:
        store = strict_json(_read(directory / STORE_DOCUMENT), _Store, str(directory / STORE_DOCUMENT))
    except DocumentInvalid as error:
        raise TrustStoreError(str(error)) from error
    pems = {
        role: tuple(_read(directory / name) for name in names)
        for role, names in ((Role.QA, store.keys.qa), (Role.RELEASE, store.keys.release))
    }
    marked = any(DEVELOPMENT_MARK.encode() in pem for role in Role for pem in pems[role])
    keys = {role: tuple(_public_key(directory, role, pem) for pem in pems[role]) for role in Role}
    trust = Trust(keys, development=store.development or marked)
    if production and trust.development:
        raise DevelopmentKeyRefused(
            f"{directory}: development keys are refused in production mode; install the production trust store"
        )
    return trust


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TrustStoreError(f"{path}: {error.strerror}; install the trust store again") from error


def _public_key(directory: Path, role: Role, pem: bytes) -> EllipticCurvePublicKey:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TrustStoreError(f"{directory}: a '{role}' key is not a PEM public key; install it again") from error
    if not isinstance(key, EllipticCurvePublicKey):
        raise TrustStoreError(f"{directory}: a '{role}' key is not an elliptic-curve key; install a P-256 key")
    return key
