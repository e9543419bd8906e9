"""Signs what was built: directories for devices and for the stock verifier alike, and swap orders.

A signature is a Sigstore bundle that `model_signing verify key` of OpenSSF Model Signing 1.1.1 accepts without further
options; beside it lies the approval, which says in whose name and why (21 CFR 11.50). Both are made with one key.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.signer import Signer

from fleet.errors import KeyUnusable, NotSigned
from signing.approval import APPROVAL, ApprovalPredicate
from signing.dsse import BUNDLE_TYPE, MODEL_SIGNATURE
from signing.durable import sync_directory, write_durably
from signing.errors import SigningError
from signing.manifest import BUNDLE_DOCUMENT, RECIPE_DOCUMENT, SIGNATURES, read_bundle_manifest
from signing.order import MAX_ORDER_BYTES, SWAP_ORDER, SwapPredicate
from signing.sealed import MAX_DOCUMENT_BYTES, hold_file, open_directory, read_file, require_entries
from signing.statement import envelope, statement
from signing.trust import Role, key_id_of
from signing.utc import utc_text

P = TypeVar("P", ApprovalPredicate, SwapPredicate)

# What the stock signer leaves out, in its own order of no meaning; ours is sorted.
IGNORED = (".git", ".gitattributes", ".github", ".gitignore", SIGNATURES)


@dataclass(frozen=True, slots=True)
class Words:
    """In whose name, with which meaning (approval, review, release ...) and why somebody signs."""

    printed_name: str
    meaning: str
    reason: str


def sign_directory(directory: Path, role: Role, signer: Signer, words: Words, now: datetime) -> None:
    """Add `role`'s signature and approval to a bundle or recipe, after seeing that every file is what it names.

    Args:
        signer: an ECDSA P-256 key (fleet.people).
        now: the time that is written into the approval.

    Raises:
        NotSigned: the directory is neither, or not whole, or the words are not acceptable.
        KeyUnusable: the key does not sign.
        OSError: the signatures cannot be written.
    """
    name, resources = _contents(directory)
    approved = approval((name, resources[name]), role, signer, words, now)
    signature = model_signature(directory.resolve().name, resources, signer)
    folder = directory / SIGNATURES
    folder.mkdir(mode=0o755, exist_ok=True)
    write_durably(folder / f"{role}.sig", signature)
    write_durably(folder / f"{role}.approval", approved)
    sync_directory(directory)


def approval(document: tuple[str, str], role: Role, signer: Signer, words: Words, now: datetime) -> bytes:
    """Return the approval of `document`, a pair of file name and sha256 (hex).

    Raises:
        NotSigned: the words are not acceptable.
        KeyUnusable: the key does not sign.
    """
    said = ApprovalPredicate(role, words.printed_name, words.meaning, utc_text(now), words.reason)
    return _plain(statement(dict([document]), APPROVAL, _checked(said), order=None), signer)


def model_signature(name: str, resources: Mapping[str, str], signer: Signer) -> bytes:
    """Return the signature of a directory `name` with these files, by sha256 (hex), and no other.

    Raises:
        KeyUnusable: the key does not sign.
    """
    listed = sorted(resources.items())
    total = hashlib.sha256(b"".join(bytes.fromhex(digest) for _, digest in listed)).hexdigest()
    predicate = {
        "serialization": {
            "method": "files",
            "hash_type": "sha256",
            "allow_symlinks": False,
            "ignore_paths": list(IGNORED),
        },
        "resources": [{"name": file, "algorithm": "sha256", "digest": digest} for file, digest in listed],
    }
    signed = envelope(statement({name: total}, MODEL_SIGNATURE, predicate, order=None), "", _der(signer))
    return msgspec.json.encode(
        {
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": {"publicKey": {"hint": _key_id(signer)}, "tlogEntries": []},
            "dsseEnvelope": signed,
        }
    )


def sign_swap_order(batch: str, documents: tuple[str, str], signer: Signer, words: Words, now: datetime) -> bytes:
    """Return a swap order for `documents`, the digests of bundle and recipe; `words.meaning` is not in it.

    Raises:
        NotSigned: the words are not acceptable or too long.
        KeyUnusable: the key does not sign.
    """
    order = _checked(SwapPredicate(batch, words.printed_name, words.reason, utc_text(now)))
    subjects = dict(zip((BUNDLE_DOCUMENT, RECIPE_DOCUMENT), documents, strict=True))
    raw = _plain(statement(subjects, SWAP_ORDER, order, order=None), signer)
    if len(raw) > MAX_ORDER_BYTES:
        raise NotSigned(
            f"the swap order has {len(raw)} bytes, at most {MAX_ORDER_BYTES} are read; give a shorter reason"
        )
    return raw


def _contents(directory: Path) -> tuple[str, dict[str, str]]:
    """Return the document's name and the sha256 (hex) of every file; each was read."""
    names = [name for name in (BUNDLE_DOCUMENT, RECIPE_DOCUMENT) if (directory / name).is_file()]
    if not names:
        raise NotSigned(f"{directory}: holds neither {BUNDLE_DOCUMENT} nor {RECIPE_DOCUMENT}; build it first")
    try:
        with open_directory(directory) as fd:
            raw = read_file(fd, names[0], MAX_DOCUMENT_BYTES)
            files = read_bundle_manifest(raw, names[0]).files if names[0] == BUNDLE_DOCUMENT else {}
            signatures = {SIGNATURES} if (directory / SIGNATURES).exists() else set()
            require_entries(fd, frozenset({names[0], *files, *signatures}))
            found = {name: hold_file(fd, name, entry.size).sha256 for name, entry in files.items()}
    except SigningError as error:
        raise NotSigned(str(error)) from error
    for name, entry in files.items():
        if found[name] != entry.sha256:
            raise NotSigned(f"{directory / name}: not the file that {names[0]} names; build it again")
    return names[0], {names[0]: hashlib.sha256(raw).hexdigest(), **found}


def _plain(payload: bytes, signer: Signer) -> bytes:
    return msgspec.json.encode(envelope(payload, _key_id(signer), _der(signer)))


def _der(signer: Signer) -> Callable[[bytes], bytes]:
    return lambda message: bytes.fromhex(signer.sign(message).signature)


def _key_id(signer: Signer) -> str:
    key = load_pem_public_key(signer.public_key.keyval["public"].encode())
    if not isinstance(key, EllipticCurvePublicKey):
        raise KeyUnusable("only ECDSA P-256 keys sign bundles and recipes; use another key")
    return key_id_of(key)


def _checked(predicate: P) -> P:
    """Return the predicate as the device would read it; refuse here what it would refuse there."""
    try:
        return msgspec.convert(msgspec.to_builtins(predicate), type(predicate), strict=True)
    except msgspec.ValidationError as error:
        raise NotSigned(f"{error}; correct name, meaning or reason") from error
