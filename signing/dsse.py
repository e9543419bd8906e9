"""Signed statements: DSSE envelopes, plain or inside a Sigstore bundle, read strictly.

Rules of this file:
  1. One signature an envelope. The key it names must be a person's of the asked role before the payload is parsed.
  2. Strict JSON for envelope and payload: a duplicate or unknown key, NaN or odd base64 is refused.
  3. Only what is signed is handed on.

Sources: DSSE 1.0 (secure-systems-lab/dsse), in-toto Statement v1, Sigstore bundle v0.3, OpenSSF Model Signing v1.0.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Generic, Literal, TypeVar

from msgspec import Meta, Struct, field

from signing.errors import DocumentInvalid, SignatureInvalid
from signing.manifest import MAX_FILES, SIGNATURES, Line, Sha256Hex, strict_json
from signing.trust import Person, Role, Trust

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MODEL_SIGNATURE = "https://model_signing/signature/v1.0"

P = TypeVar("P")


class _Signature(Struct, frozen=True, forbid_unknown_fields=True):
    sig: Annotated[str, Meta(max_length=400)]
    keyid: Annotated[str, Meta(pattern=r"^(?:[0-9a-f]{64})?\Z")] = ""


class _Envelope(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    payload: str
    payload_type: Literal["application/vnd.in-toto+json"]
    signatures: Annotated[tuple[_Signature, ...], Meta(min_length=1, max_length=1)]


class _KeyHint(Struct, frozen=True, forbid_unknown_fields=True):
    hint: Sha256Hex


class _Material(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    public_key: _KeyHint
    tlog_entries: Annotated[tuple[str, ...], Meta(max_length=0)] = ()


class _SigstoreBundle(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"]
    verification_material: _Material
    dsse_envelope: _Envelope


class Sha256(Struct, frozen=True, forbid_unknown_fields=True):
    """An in-toto digest set with sha256 alone."""

    sha256: Sha256Hex


class Subject(Struct, frozen=True, forbid_unknown_fields=True):
    """What an in-toto statement is about."""

    name: Line
    digest: Sha256


class Statement(Struct, Generic[P], frozen=True, forbid_unknown_fields=True):
    """An in-toto statement with a predicate of shape `P`."""

    kind: Literal["https://in-toto.io/Statement/v1"] = field(name="_type")
    subject: Annotated[tuple[Subject, ...], Meta(min_length=1, max_length=4)]
    predicate_type: Line = field(name="predicateType")
    predicate: P


class _Serialization(Struct, frozen=True, forbid_unknown_fields=True):
    method: Literal["files"]
    hash_type: Literal["sha256"]
    allow_symlinks: bool
    ignore_paths: Annotated[tuple[Line, ...], Meta(max_length=16)]


class _Resource(Struct, frozen=True, forbid_unknown_fields=True):
    name: Line
    algorithm: Literal["sha256"]
    digest: Sha256Hex


class _Recorded(Struct, frozen=True, forbid_unknown_fields=True):
    serialization: _Serialization
    resources: Annotated[tuple[_Resource, ...], Meta(min_length=1, max_length=MAX_FILES + 1)]


@dataclass(frozen=True, slots=True)
class Signed:
    """Bytes that `person` signed."""

    person: Person
    payload: bytes


def pae(payload: bytes) -> bytes:
    """Return what is signed for a payload: the pre-authentication encoding of DSSE."""
    return f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(payload)} ".encode() + payload


def open_envelope(raw: bytes, role: Role, trust: Trust, where: str) -> Signed:
    """Return the payload of a plain DSSE envelope that a person of `role` signed; keyid names the key.

    Args:
        where: the envelope's file name, for the message.

    Raises:
        SignatureInvalid: the envelope is not strict, or not signed by a person of that role.
    """
    envelope = _read(raw, _Envelope, where)
    return _opened(envelope, envelope.signatures[0].keyid, role, trust, where)


def open_model_signature(raw: bytes, role: Role, trust: Trust, where: str) -> tuple[Person, Mapping[str, str]]:
    """Return who signed an OpenSSF model signature, and the sha256 (hex) of each file it covers.

    Args:
        raw: a Sigstore bundle v0.3 as `model_signing sign key` writes it.

    Raises:
        SignatureInvalid: see `open_envelope`; also a statement that the stock verifier would read differently.
    """
    bundle = _read(raw, _SigstoreBundle, where)
    hint, envelope = bundle.verification_material.public_key.hint, bundle.dsse_envelope
    if envelope.signatures[0].keyid not in ("", hint):
        raise _refusal(where, "it names two keys")
    signed = _opened(envelope, hint, role, trust, where)
    return signed.person, _resources(read_statement(signed.payload, MODEL_SIGNATURE, _Recorded, where), where)


def read_statement(payload: bytes, predicate_type: str, shape: type[P], where: str) -> Statement[P]:
    """Read a payload whose signature holds.

    Raises:
        SignatureInvalid: not a strict in-toto statement with this predicate.
    """
    statement: Statement[P] = _read(payload, Statement[shape], where)  # type: ignore[valid-type]  # a value here
    if statement.predicate_type != predicate_type:
        raise _refusal(where, f"it says '{statement.predicate_type[:80]}', not '{predicate_type}'")
    return statement


def _resources(statement: Statement[_Recorded], where: str) -> Mapping[str, str]:
    recorded = statement.predicate
    if recorded.serialization.allow_symlinks:
        raise _refusal(where, "it allows links")
    if SIGNATURES not in recorded.serialization.ignore_paths:
        raise _refusal(where, f"it does not leave out {SIGNATURES}/")
    found = {resource.name: resource.digest for resource in recorded.resources}
    if len(found) != len(recorded.resources):
        raise _refusal(where, "it names a file twice")
    total = hashlib.sha256(b"".join(bytes.fromhex(resource.digest) for resource in recorded.resources)).hexdigest()
    if [subject.digest.sha256 for subject in statement.subject] != [total]:
        raise _refusal(where, "its subject is not the digest of its resources")
    return found


def _opened(envelope: _Envelope, key_id: str, role: Role, trust: Trust, where: str) -> Signed:
    person = trust.person(role, key_id, where)
    payload, signature = _base64(envelope.payload, where), _base64(envelope.signatures[0].sig, where)
    if not person.signed(pae(payload), signature):
        raise _refusal(where, f"not a signature by {person.name}'s key")
    return Signed(person, payload)


def _base64(text: str, where: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise _refusal(where, "not base64") from error
    if base64.b64encode(data).decode() != text:
        raise _refusal(where, "base64 in another form than the usual one")
    return data


def _read(raw: bytes, shape: type[P], where: str) -> P:
    try:
        return strict_json(raw, shape, where)
    except DocumentInvalid as error:
        raise SignatureInvalid(str(error).removesuffix("build the document again") + "have it signed again") from error


def _refusal(where: str, text: str) -> SignatureInvalid:
    return SignatureInvalid(f"{where}: {text}; have it signed again")
