"""The token with which two people let one device in, once (docs/interfaces/enrolment.md).

One statement in two envelopes, one of role qa and one of role release. Its nonce is the secret: who knows the token
enrols a device under that name. It is given in a file or a pipe, used at once, and kept nowhere.
"""

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from signing.approval import require_utc
from signing.dsse import Signed, open_envelope, read_statement
from signing.errors import DocumentInvalid, SignatureInvalid, SigningError
from signing.manifest import Sentence, Sha256Hex, strict_json
from signing.trust import Role, Trust, require_two_people
from signing.utc import read_utc

TOKEN = "https://linewarden.org/attestation/enrolment-token/v1"
LARGEST = 16_384
WHERE = "the token"

_Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")]


class TokenRefused(SigningError):
    """The token lets nobody in; the text says why and what to do."""


class TokenClaims(Struct, frozen=True, forbid_unknown_fields=True):
    """What a token says. `identity`: only this device id may use it, "" = any; `not_after` like 2026-11-23T00:45:00Z.

    `station` is the device's name, `nonce` the secret part.
    """

    station: _Name
    line: _Name
    nonce: Sha256Hex
    not_after: Annotated[str, Meta(max_length=20)]
    reason: Sentence
    identity: Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")] = ""

    def __repr__(self) -> str:
        return f"TokenClaims({self.station}, {self.line}, until {self.not_after})"

    @property
    def nonce_sha256(self) -> str:
        """What names the token where it must not be given away."""
        return hashlib.sha256(bytes.fromhex(self.nonce)).hexdigest()


class _Token(Struct, frozen=True, forbid_unknown_fields=True, tag_field="document", tag="enrolment-token"):
    format: Literal[1]
    qa: dict[str, Any]
    release: dict[str, Any]


@dataclass(frozen=True, slots=True)
class OpenedToken:
    """A token whose two signatures hold. `let_in_by`: who signed and why, for the authority's books."""

    claims: TokenClaims
    let_in_by: str


def open_token(raw: bytes, trust: Trust, now: datetime) -> OpenedToken:
    """Return what two different people signed. Whether the nonce was used before is the authority's to know.

    Raises:
        TokenRefused: a signature is missing, foreign or of the same person; two different texts; expired.
    """
    token = _read(raw)
    try:
        signed = {role: open_envelope(_encoded(token, role), role, trust, f"{WHERE} ({role})") for role in Role}
        require_two_people(WHERE, {role: opened.person for role, opened in signed.items()})
        claims = _same(signed)
    except SignatureInvalid as error:
        raise TokenRefused(str(error)) from error
    except UnicodeEncodeError:
        raise TokenRefused(f"{WHERE}: not a token; take the file as `linewarden-fleet token` wrote it") from None
    if read_utc(claims.not_after) < now:
        raise TokenRefused(f"{WHERE} for {claims.station} was good until {claims.not_after}; have a new one made")
    names = " and ".join(f"{signed[role].person.name} ({role})" for role in Role)
    return OpenedToken(claims, f"{names}: {claims.reason}")


def claims_of(raw: bytes) -> TokenClaims:
    """Return what a token says, unchecked: for the plan that is shown before it is used. The authority judges.

    Raises:
        TokenRefused: it is no token.
    """
    token = _read(raw)
    try:
        payload = base64.b64decode(str(token.qa.get("payload", "")), validate=True)
        return read_statement(payload, TOKEN, TokenClaims, WHERE).predicate
    except (ValueError, SignatureInvalid) as error:
        raise TokenRefused(f"{WHERE}: cannot be read; take the file as `linewarden-fleet token` wrote it") from error


def token_file(qa: dict[str, Any], release: dict[str, Any]) -> bytes:
    """Return the token's bytes from its two envelopes."""
    content = {"document": "enrolment-token", "format": 1, "qa": qa, "release": release}
    return msgspec.json.encode(content) + b"\n"


def _same(signed: dict[Role, Signed]) -> TokenClaims:
    qa, release = signed[Role.QA], signed[Role.RELEASE]
    if qa.payload != release.payload:
        raise SignatureInvalid(f"{WHERE}: its two people signed two different texts; have a new one made")
    statement = read_statement(qa.payload, TOKEN, TokenClaims, WHERE)
    claims = statement.predicate
    require_utc(claims.not_after, WHERE)
    if [(s.name, s.digest.sha256) for s in statement.subject] != [(claims.station, claims.nonce_sha256)]:
        raise SignatureInvalid(f"{WHERE}: its subject is not its station; have a new one made")
    return claims


def _encoded(token: _Token, role: Role) -> bytes:
    return msgspec.json.encode(token.qa if role is Role.QA else token.release)


def _read(raw: bytes) -> _Token:
    # What is wrong in it is not said: the text could hold a part of the secret.
    todo = "take the file as `linewarden-fleet token` wrote it"
    if len(raw) > LARGEST:
        raise TokenRefused(f"{WHERE}: longer than {LARGEST} bytes; {todo}")
    try:
        return strict_json(raw, _Token, WHERE)
    except DocumentInvalid:
        raise TokenRefused(f"{WHERE}: not a token; {todo}") from None
