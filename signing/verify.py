"""The only door between arriving bytes and trusted ones.

`verify` and `verify_recipe` take an open directory and return a proof type that holds the checked bytes themselves.
Each proof type is constructed in this module and nowhere else (tests/unit/test_signing_proof.py walks the code).

Order, and it is the security: both people's signatures and approvals over the raw document, then its content, then
the list of files, then size and digest of every file, then the SBOM's kind and the model graphs.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from signing.approval import Approval, read_approval
from signing.dsse import open_model_signature
from signing.errors import DigestMismatch, DirectoryRefused, DocumentInvalid, SignatureInvalid
from signing.graph import check_graph
from signing.manifest import (
    BUNDLE_DOCUMENT,
    MAX_BUNDLE_BYTES,
    RECIPE_DOCUMENT,
    SIGNATURES,
    BundleManifest,
    FileEntry,
    read_bundle_manifest,
    strict_json,
)
from signing.sealed import (
    MAX_DOCUMENT_BYTES,
    SealedFile,
    hold_file,
    list_entries,
    open_folder,
    read_file,
    require_entries,
)
from signing.trust import Person, Role, Trust, require_two_people

MAX_SIGNATURE_BYTES = 512 * 1024
MAX_APPROVAL_BYTES = 16 * 1024
MAX_SBOM_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class VerifiedBundle:
    """A bundle both people signed, whole, with acceptable graphs. `digest` is the sha256 (hex) of bundle.json.

    `files` holds the very bytes that were checked; nothing may be read from the directory again. `approvals` in the
    order of `Role`.
    """

    digest: str
    manifest: BundleManifest
    files: Mapping[str, SealedFile]
    approvals: tuple[Approval, ...]


@dataclass(frozen=True, slots=True)
class VerifiedRecipe:
    """A recipe both people signed, not parsed yet (daemon.recipe does). `digest` is the sha256 (hex) of recipe.json."""

    digest: str
    raw: bytes
    approvals: tuple[Approval, ...]


@dataclass(frozen=True, slots=True)
class _Document:
    """The raw bytes of a document whose signatures hold, and what each role's signature covers."""

    name: str
    raw: bytes
    digest: str
    approvals: tuple[Approval, ...]
    covered: Mapping[Role, Mapping[str, str]]


def verify(dir_fd: int, trust: Trust) -> VerifiedBundle:
    """Return the bundle in the open directory `dir_fd`. The caller keeps and closes the descriptor.

    Called by: `vision` at start and before a swap, `slots` before an install, and `linewarden bundle verify`.

    Raises:
        SigningError: a leaf of signing.errors whose message is one line: what, where, what to do.
    """
    document = _open_document(dir_fd, BUNDLE_DOCUMENT, trust)
    manifest = read_bundle_manifest(document.raw, BUNDLE_DOCUMENT)
    _require_covered(document, {name: entry.sha256 for name, entry in manifest.files.items()})
    require_entries(dir_fd, frozenset(manifest.files) | {BUNDLE_DOCUMENT, SIGNATURES})
    _require_affordable(manifest)
    files = {name: _hold_checked(dir_fd, name, entry) for name, entry in manifest.files.items()}
    _require_sbom(manifest.sbom, files[manifest.sbom])
    for model in manifest.models.values():
        check_graph(files[model.file].bytes(), model)
    return VerifiedBundle(document.digest, manifest, MappingProxyType(files), document.approvals)


def verify_recipe(dir_fd: int, trust: Trust) -> VerifiedRecipe:
    """Return the recipe in the open directory `dir_fd`. The caller keeps and closes the descriptor.

    Called by: as `verify`.

    Raises:
        SigningError: a leaf of signing.errors whose message is one line: what, where, what to do.
    """
    document = _open_document(dir_fd, RECIPE_DOCUMENT, trust)
    _require_covered(document, {})
    require_entries(dir_fd, frozenset({RECIPE_DOCUMENT, SIGNATURES}))
    return VerifiedRecipe(document.digest, document.raw, document.approvals)


def _open_document(dir_fd: int, name: str, trust: Trust) -> _Document:
    """Return a document once both people's signatures and approvals hold over its bytes; it is not parsed here."""
    raw = read_file(dir_fd, name, MAX_DOCUMENT_BYTES)
    digest = hashlib.sha256(raw).hexdigest()
    signers: dict[Role, Person] = {}
    approvals: list[Approval] = []
    covered: dict[Role, Mapping[str, str]] = {}
    with open_folder(dir_fd, SIGNATURES) as folder:
        where = f"{SIGNATURES}/"
        _require_signatures(folder, where)
        for role in Role:
            signature = read_file(folder, f"{role}.sig", MAX_SIGNATURE_BYTES, where)
            approval = read_file(folder, f"{role}.approval", MAX_APPROVAL_BYTES, where)
            signers[role], covered[role] = open_model_signature(signature, role, trust, f"{where}{role}.sig")
            _require_digest(f"{where}{role}.sig", covered[role], name, digest)
            approvals.append(read_approval(approval, role, trust, (name, digest), f"{where}{role}.approval"))
            if approvals[-1].key_id != signers[role].key_id:
                raise SignatureInvalid(
                    f"{where}{role}.approval: made with another key than {role}.sig; have both made with one key"
                )
    require_two_people(name, signers)
    return _Document(name, raw, digest, tuple(approvals), covered)


def _require_signatures(folder: int, where: str) -> None:
    names = frozenset(f"{role}.sig" for role in Role)
    if list_entries(folder, where) == names:
        raise DirectoryRefused(
            f"{where}: signatures without approvals, as in format 0: format 0 is no longer accepted: build it again in "
            "format 1 and have it signed"
        )
    require_entries(folder, names | {f"{role}.approval" for role in Role}, where)


def _require_digest(where: str, covered: Mapping[str, str], name: str, digest: str) -> None:
    signed = covered.get(name)
    if signed is None:
        raise SignatureInvalid(f"{where}: it does not cover {name}; have it signed again")
    if signed != digest:
        raise SignatureInvalid(
            f"{where}: it is over {name} {signed[:16]}..., this is {digest[:16]}...; have it signed again"
        )


def _require_covered(document: _Document, files: Mapping[str, str]) -> None:
    """Refuse signatures that cover other files than the document names: the stock verifier would see another thing."""
    wanted = {document.name: document.digest, **files}
    for role, covered in document.covered.items():
        odd = sorted(name for name in wanted.keys() | covered.keys() if wanted.get(name) != covered.get(name))
        if odd:
            raise SignatureInvalid(
                f"{SIGNATURES}/{role}.sig: it and {document.name} differ in {odd[0]!r}; have it signed again"
            )


def _require_affordable(manifest: BundleManifest) -> None:
    total = sum(entry.size for entry in manifest.files.values())
    if total > MAX_BUNDLE_BYTES:
        raise DirectoryRefused(
            f"{BUNDLE_DOCUMENT}: files add up to {total} bytes, at most {MAX_BUNDLE_BYTES} are loaded"
        )


def _hold_checked(dir_fd: int, name: str, entry: FileEntry) -> SealedFile:
    held = hold_file(dir_fd, name, entry.size)
    if held.sha256 != entry.sha256:
        raise DigestMismatch(
            f"{name}: sha256 is {held.sha256[:16]}..., {BUNDLE_DOCUMENT} says {entry.sha256[:16]}...; deliver it again"
        )
    return held


def _require_sbom(name: str, file: SealedFile) -> None:
    if file.size > MAX_SBOM_BYTES:
        raise DocumentInvalid(f"{name}: {file.size} bytes, at most {MAX_SBOM_BYTES} are read; build the bundle again")
    found = strict_json(file.bytes(), dict[str, object], name)
    if found.get("bomFormat") != "CycloneDX":
        raise DocumentInvalid(f"{name}: not a CycloneDX document; build the bundle again")
