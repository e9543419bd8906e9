"""How a bundle or recipe gets into the store: verified where it comes from, written from what was verified, verified
again where it lies, and run over its golden set. Only then a state may name it.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.recipe import Recipe, RecipeRefused, admit, read_recipe
from daemon.units import ViewKey
from signing.approval import Approval
from signing.index import Kind
from signing.manifest import BUNDLE_DOCUMENT, RECIPE_DOCUMENT, SIGNATURES
from signing.sealed import MAX_DOCUMENT_BYTES, open_directory, open_folder, read_file
from signing.store import lay_out, place_of, put_blob
from signing.store_state import StoreRefused
from signing.trust import Trust
from signing.verify import VerifiedBundle, VerifiedRecipe, verify, verify_recipe

MAX_SIGNATURE_BYTES = 1024 * 1024
Golden = Callable[[VerifiedBundle], Sequence[object]]


@dataclass(frozen=True, slots=True)
class Arrived:
    """What was verified and lies in the store. `files`: path below its folder -> sha256."""

    kind: Kind
    digest: str
    name: str
    version: str
    files: Mapping[str, str]
    signers: tuple[str, ...]
    bundle: str = ""


def kind_of(source: Path) -> Kind:
    """Return what a folder holds, by the document in it."""
    return Kind.RECIPE if (source / RECIPE_DOCUMENT).is_file() else Kind.BUNDLE


def from_folder(store: Path, source: Path, trust: Trust, golden: Golden) -> Arrived:
    """Take in the bundle or recipe in a folder.

    Raises:
        SigningError: it is not one that this device would load; the text says why.
        OSError: the store cannot be written.
    """
    kind = kind_of(source)
    digest, files = _blobs(store, kind, source, trust)
    return settle(store, kind, digest, files, trust, golden)


def settle(store: Path, kind: Kind, digest: str, files: Mapping[str, str], trust: Trust, golden: Golden) -> Arrived:
    """Lay out blobs that are in the store as a bundle or recipe and verify them there.

    Raises:
        SigningError, OSError: as `from_folder`.
    """
    place = lay_out(store, kind, digest, files)
    with open_directory(place) as fd:
        found = verify_recipe(fd, trust) if kind is Kind.RECIPE else verify(fd, trust)
    if found.digest != digest:
        raise StoreRefused(f"{kind} {digest[:12]} has changed while it was read; deliver it again")
    if isinstance(found, VerifiedRecipe):
        recipe = _readable(found)
        return Arrived(kind, digest, recipe.name, recipe.version, files, _signers(found.approvals), recipe.bundle)
    if wrong := [str(finding) for finding in golden(found)]:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise StoreRefused(f"bundle {digest[:12]} fails its golden set here: {wrong[0]}{more}; not installed")
    return Arrived(kind, digest, found.manifest.name, found.manifest.version, files, _signers(found.approvals))


def _readable(verified: VerifiedRecipe) -> Recipe:
    try:
        return read_recipe(verified)
    except RecipeRefused as refused:
        raise StoreRefused(str(refused)) from refused


def fits(store: Path, bundle: str, recipe: str, trust: Trust, taken: frozenset[ViewKey]) -> VerifiedBundle:
    """Return the bundle of an installed pair that holds against one trust, its recipe fitting bundle and station.

    Raises:
        SigningError: it does not; the text says why.
    """
    with open_directory(place_of(store, Kind.RECIPE, recipe)) as fd:
        found = verify_recipe(fd, trust)
    with open_directory(place_of(store, Kind.BUNDLE, bundle)) as fd:
        whole = verify(fd, trust)
    try:
        admit(_readable(found), whole, taken)
    except RecipeRefused as refused:
        raise StoreRefused(str(refused)) from refused
    return whole


def _blobs(store: Path, kind: Kind, source: Path, trust: Trust) -> tuple[str, dict[str, str]]:
    """Verify a folder and keep its files; what was verified is given back when this returns, it may fill memory."""
    with open_directory(source) as fd:
        if kind is Kind.RECIPE:
            return verify_recipe(fd, trust).digest, _documents(store, fd, RECIPE_DOCUMENT)
        verified = verify(fd, trust)
        held = {name: put_blob(store, file.view()) for name, file in verified.files.items()}
        return verified.digest, held | _documents(store, fd, BUNDLE_DOCUMENT)


def _documents(store: Path, fd: int, name: str) -> dict[str, str]:
    """Keep the document and what is beside it in signatures/; they are verified again where they lie then."""
    found = {name: put_blob(store, read_file(fd, name, MAX_DOCUMENT_BYTES))}
    with open_folder(fd, SIGNATURES) as folder:
        for entry in sorted(os.listdir(folder)):
            data = read_file(folder, entry, MAX_SIGNATURE_BYTES, f"{SIGNATURES}/")
            found[f"{SIGNATURES}/{entry}"] = put_blob(store, data)
    return found


def _signers(approvals: Sequence[Approval]) -> tuple[str, ...]:
    return tuple(sorted({approval.key_id for approval in approvals}))
