"""The fleet side: make keys, build bundles and recipes, sign them. Nothing on the device imports this module.

Every write is durable before it is visible: temporary name, fsync, rename, fsync of the directory.
"""

import hashlib
import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from signing.durable import SECRET, sync_directory, write_durably
from signing.errors import DirectoryRefused, TrustStoreError
from signing.keyring import DEVELOPMENT_MARK, STORE_DOCUMENT
from signing.manifest import BUNDLE_DOCUMENT, read_bundle_manifest
from signing.sealed import SIGNATURES
from signing.trust import Role
from signing.verify import RECIPE_DOCUMENT


def build_bundle(description: dict[str, object], sources: dict[str, bytes], out: Path) -> str:
    """Write an unsigned bundle into the new directory `out` and return its digest (sha256 of bundle.json).

    Args:
        description: bundle.json without `document`, `format` and `files`.
        sources: file name -> content of every file of the bundle.

    Raises:
        DocumentInvalid: the description is not acceptable in format 0.
        DirectoryRefused: `out` exists already.
    """
    files = {name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in sources.items()}
    raw = _document({"document": "bundle", "format": 0, **description, "files": files})
    read_bundle_manifest(raw, BUNDLE_DOCUMENT)
    _make_directory(out)
    for name, data in sources.items():
        write_durably(out / name, data)
    write_durably(out / BUNDLE_DOCUMENT, raw)
    return hashlib.sha256(raw).hexdigest()


def build_recipe(description: dict[str, object], out: Path) -> str:
    """Write an unsigned recipe into the new directory `out` and return its digest (sha256 of recipe.json).

    Raises:
        DirectoryRefused: `out` exists already.
    """
    raw = _document({"document": "recipe", "format": 0, **description})
    _make_directory(out)
    write_durably(out / RECIPE_DOCUMENT, raw)
    return hashlib.sha256(raw).hexdigest()


def sign(directory: Path, role: Role, key: EllipticCurvePrivateKey) -> None:
    """Add `role`'s signature over the raw bytes of the directory's document.

    Raises:
        DirectoryRefused: the directory holds neither a bundle nor a recipe.
    """
    document = next(
        (directory / name for name in (BUNDLE_DOCUMENT, RECIPE_DOCUMENT) if (directory / name).exists()), None
    )
    if document is None:
        raise DirectoryRefused(f"{directory}: holds neither {BUNDLE_DOCUMENT} nor {RECIPE_DOCUMENT}; build it first")
    signatures = directory / SIGNATURES
    signatures.mkdir(mode=0o755, exist_ok=True)
    write_durably(signatures / f"{role}.sig", key.sign(document.read_bytes(), ECDSA(SHA256())))
    sync_directory(directory)


def make_development_keys(directory: Path) -> dict[Role, EllipticCurvePrivateKey]:
    """Make a trust store with one fresh key per role, marked as development keys, and return the private keys.

    `directory` receives trust.json and the public keys; `directory`/private (0700) the private ones (0600).

    Raises:
        DirectoryRefused: `directory` exists already.
    """
    _make_directory(directory)
    private = directory / "private"
    private.mkdir(mode=0o700)
    keys = {role: generate_private_key(SECP256R1()) for role in Role}
    mark = f"{DEVELOPMENT_MARK}\n".encode()
    for role, key in keys.items():
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_durably(private / f"{role}.pem", mark + secret, SECRET)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        write_durably(directory / f"{role}.pub.pem", mark + public)
    store = {"format": 0, "development": True, "keys": {role: [f"{role}.pub.pem"] for role in Role}}
    write_durably(directory / STORE_DOCUMENT, _document(store))
    return keys


def load_private_key(path: Path) -> EllipticCurvePrivateKey:
    """Read an unencrypted PEM private key.

    Raises:
        TrustStoreError: the file is missing or holds no ECDSA key.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise TrustStoreError(f"{path}: {error.strerror}; make the keys first") from error
    except (ValueError, TypeError) as error:
        raise TrustStoreError(f"{path}: not an unencrypted PEM private key; make the keys again") from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise TrustStoreError(f"{path}: not an elliptic-curve key; make the keys again")
    return key


def _document(content: dict[str, object]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o755, parents=True)
    except FileExistsError as error:
        raise DirectoryRefused(f"{path}: exists already; remove it or name another directory") from error
    sync_directory(path.parent)
