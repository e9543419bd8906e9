"""Builds bundles, recipes, trust stores and development keys. A folder is whole or not there at all."""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)

from fleet.errors import NotSigned
from signing.durable import SECRET, sync_directory, write_durably
from signing.key_file import MARK, private_pem
from signing.keyring import DEVELOPMENT_MARK, STORE_DOCUMENT, read_trust
from signing.manifest import BUNDLE_DOCUMENT, RECIPE_DOCUMENT, read_bundle_manifest, strict_json
from signing.trust import Algorithm, Role, key_id_of, public_pem

COPY_BYTES = 4 << 20
DEVELOPERS = {Role.QA: "Anna Berg", Role.RELEASE: "Jonas Weber"}


def build_bundle(description: Mapping[str, object], sources: Mapping[str, bytes | Path], out: Path) -> str:
    """Write an unsigned bundle into the new directory `out` and return its digest (sha256 of bundle.json).

    Args:
        description: bundle.json without `document`, `format` and `files`.
        sources: file name -> content, or the file to copy, of every file of the bundle.

    Raises:
        DocumentInvalid: the description is not acceptable in format 1.
        NotSigned: `out` exists already.
        OSError: a source cannot be read, or `out` not be written.
    """
    with _new_folder(out) as folder:
        files = {name: _put(folder / name, source) for name, source in sources.items()}
        raw = document({"document": "bundle", "format": 1, **description, "files": files})
        read_bundle_manifest(raw, BUNDLE_DOCUMENT)
        write_durably(folder / BUNDLE_DOCUMENT, raw)
    return hashlib.sha256(raw).hexdigest()


def build_recipe(description: Mapping[str, object], out: Path) -> str:
    """Write an unsigned recipe into the new directory `out` and return its digest (sha256 of recipe.json).

    Args:
        description: recipe.json without `document` and `format`.

    Raises:
        DocumentInvalid: the description is not acceptable in format 1.
        NotSigned: `out` exists already.
        OSError: `out` cannot be written.
    """
    from daemon.recipe import Recipe  # noqa: PLC0415 - brings onnx along, which no other command needs

    raw = document({"document": "recipe", "format": 1, **description})
    strict_json(raw, Recipe, RECIPE_DOCUMENT)
    with _new_folder(out) as folder:
        write_durably(folder / RECIPE_DOCUMENT, raw)
    return hashlib.sha256(raw).hexdigest()


def trust_document(
    people: Iterable[tuple[str, EllipticCurvePublicKey]],
    roles: Mapping[Role, Collection[str]],
    *,
    development: bool,
) -> bytes:
    """Return a trust.json.

    Args:
        people: printed name and public key; a person whose key was replaced is there with both.
        roles: the printed names of each role; all keys of a name have it.
        development: mark the keys and the store.

    Raises:
        TrustStoreError: the device would refuse it.
    """
    mark = f"{DEVELOPMENT_MARK}\n" if development else ""
    listed = {key_id_of(key): (name, public_pem(key).decode()) for name, key in people}
    raw = document(
        {
            "document": "trust",
            "format": 1,
            "development": development,
            "people": {
                key_id: {"name": name, "algorithm": Algorithm.ECDSA_P256, "public": mark + pem}
                for key_id, (name, pem) in listed.items()
            },
            "roles": {
                role: [key_id for key_id, (name, _) in listed.items() if name in names] for role, names in roles.items()
            },
        }
    )
    read_trust(raw, STORE_DOCUMENT, production=False)
    return raw


def make_development_keys(directory: Path) -> dict[Role, EllipticCurvePrivateKey]:
    """Make a trust store with one person and fresh key for each role, marked as development, and return the keys.

    `directory` receives trust.json; `directory`/private (0700) the private keys (0600), one file a role.

    Raises:
        NotSigned: `directory` exists already.
        OSError: it cannot be written.
    """
    keys = {role: generate_private_key(SECP256R1()) for role in Role}
    people = [(DEVELOPERS[role], key.public_key()) for role, key in keys.items()]
    with _new_folder(directory) as folder:
        private = folder / "private"
        private.mkdir(mode=0o700)
        for role, key in keys.items():
            write_durably(private / f"{role}.pem", MARK + private_pem(key), SECRET)
        roles = {role: (name,) for role, name in DEVELOPERS.items()}
        write_durably(folder / STORE_DOCUMENT, trust_document(people, roles, development=True))
    return keys


def document(content: Mapping[str, object]) -> bytes:
    """Return a document as it is written: two spaces, UTF-8, a line feed at its end."""
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _put(path: Path, source: bytes | Path) -> dict[str, object]:
    """Write one file of a folder that is not there yet, and return its entry."""
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as content, path.open("xb") as file:
        shutil.copyfileobj(content, file, COPY_BYTES)
        file.flush()
        os.fsync(file.fileno())
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": path.stat().st_size}


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Give a folder that becomes `out` when the block ends, and is gone when it fails."""
    if out.exists():
        raise NotSigned(f"{out}: exists already; remove it or name another directory")
    folder = out.with_name(f".{out.name}.new")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o755, parents=True)
    try:
        yield folder
        sync_directory(folder)
        folder.rename(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    sync_directory(out.parent)
