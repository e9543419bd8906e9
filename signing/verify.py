"""The only door between arriving bytes and trusted ones.

`verify` and `verify_recipe` take an open directory and return a proof type that holds the checked bytes themselves.
Each proof type is constructed in this module and nowhere else (tests/unit/test_signing_proof.py walks the code).

Order, and it is the security: signatures over the raw document, then its content, then the list of files,
then size and digest of every file, then the model graphs.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from signing.errors import DigestMismatch, DirectoryRefused
from signing.graph import check_graph
from signing.manifest import BUNDLE_DOCUMENT, BundleManifest, FileEntry, read_bundle_manifest
from signing.sealed import SIGNATURES, open_document, read_file, require_entries
from signing.trust import Trust

RECIPE_DOCUMENT = "recipe.json"
MAX_BUNDLE_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class VerifiedBundle:
    """A bundle both people signed, whole, with acceptable graphs. `digest` is the sha256 (hex) of bundle.json.

    `files` holds the very bytes that were checked; nothing may be read from the directory again.
    """

    digest: str
    manifest: BundleManifest
    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class VerifiedRecipe:
    """A recipe both people signed, not parsed yet (daemon.recipe does). `digest` is the sha256 (hex) of recipe.json."""

    digest: str
    raw: bytes


def verify(dir_fd: int, trust: Trust) -> VerifiedBundle:
    """Return the bundle in the open directory `dir_fd`. The caller keeps and closes the descriptor.

    Called by: `vision` at start, and `linewarden bundle verify`.

    Raises:
        SigningError: a leaf of signing.errors whose message is one line: what, where, what to do.
    """
    document = open_document(dir_fd, BUNDLE_DOCUMENT, trust)
    manifest = read_bundle_manifest(document.raw, BUNDLE_DOCUMENT)
    require_entries(dir_fd, frozenset(manifest.files) | {BUNDLE_DOCUMENT, SIGNATURES})
    _require_affordable(manifest)
    files = {name: _read_checked(dir_fd, name, entry) for name, entry in manifest.files.items()}
    for model in manifest.models.values():
        check_graph(files[model.file], model)
    return VerifiedBundle(_sha256(document.raw), manifest, MappingProxyType(files))


def verify_recipe(dir_fd: int, trust: Trust) -> VerifiedRecipe:
    """Return the recipe in the open directory `dir_fd`. The caller keeps and closes the descriptor.

    Called by: `vision` at start, and `linewarden bundle verify`.

    Raises:
        SigningError: a leaf of signing.errors whose message is one line: what, where, what to do.
    """
    document = open_document(dir_fd, RECIPE_DOCUMENT, trust)
    require_entries(dir_fd, frozenset({RECIPE_DOCUMENT, SIGNATURES}))
    return VerifiedRecipe(_sha256(document.raw), document.raw)


def _require_affordable(manifest: BundleManifest) -> None:
    total = sum(entry.size for entry in manifest.files.values())
    if total > MAX_BUNDLE_BYTES:
        raise DirectoryRefused(
            f"{BUNDLE_DOCUMENT}: files add up to {total} bytes, at most {MAX_BUNDLE_BYTES} are loaded"
        )


def _read_checked(dir_fd: int, name: str, entry: FileEntry) -> bytes:
    data = read_file(dir_fd, name, entry.size)
    if len(data) != entry.size:
        raise DigestMismatch(f"{name}: {len(data)} bytes, {BUNDLE_DOCUMENT} says {entry.size}; deliver it again")
    found = _sha256(data)
    if found != entry.sha256:
        raise DigestMismatch(
            f"{name}: sha256 is {found[:16]}..., {BUNDLE_DOCUMENT} says {entry.sha256[:16]}...; deliver it again"
        )
    return data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
