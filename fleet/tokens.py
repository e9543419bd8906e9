"""One-time tokens with which two people let a device in: `linewarden-fleet token` (docs/interfaces/enrolment.md)."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from fleet.errors import NotDone
from fleet.people import Signatory
from signing.enrolment_token import TOKEN, TokenClaims, open_token, token_file
from signing.statement import envelope, statement
from signing.trust import Role, Trust
from signing.utc import utc_text

NONCE_BYTES = 32
LONGEST = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class Wanted:
    """For whom a token is made. `identity`: the only device id that may use it, "" = any; `life` from now."""

    station: str
    line: str
    reason: str
    identity: str = ""
    life: timedelta = timedelta(days=1)


def new_claims(wanted: Wanted, now: datetime) -> TokenClaims:
    """Return what both people will sign, with a new nonce.

    Raises:
        NotDone: a name or the time is not one that a token may carry.
    """
    if not timedelta(0) < wanted.life <= LONGEST:
        raise NotDone(f"a token is good for at most {LONGEST.days} days: name a shorter time")
    content = {
        "station": wanted.station,
        "line": wanted.line,
        "nonce": secrets.token_hex(NONCE_BYTES),
        "not_after": utc_text(now + wanted.life),
        "reason": wanted.reason,
        "identity": wanted.identity,
    }
    try:
        return msgspec.convert(content, TokenClaims)
    except msgspec.ValidationError as error:
        raise NotDone(f"no token can say that: {error}") from error


def sign_token(claims: TokenClaims, signatories: Mapping[Role, Signatory]) -> bytes:
    """Return the token's file: the same statement, signed by one person of each role.

    Raises:
        KeyUnusable: a key does not sign.
    """
    payload = statement({claims.station: claims.nonce_sha256}, TOKEN, msgspec.to_builtins(claims))
    return token_file(_signed(payload, signatories[Role.QA]), _signed(payload, signatories[Role.RELEASE]))


def make_token(wanted: Wanted, signatories: Mapping[Role, Signatory], trust: Trust, now: datetime) -> bytes:
    """Return a token that `trust` accepts now: made, signed and read back.

    Called by: `linewarden-fleet token`, which writes it into a file of mode 0600 or onto a pipe.

    Raises:
        NotDone: see `new_claims`.
        TokenRefused: the two are one person, or not of these roles.
    """
    token = sign_token(new_claims(wanted, now), signatories)
    open_token(token, trust, now)
    return token


def _signed(payload: bytes, who: Signatory) -> dict[str, Any]:
    return envelope(payload, who.key_id, lambda message: bytes.fromhex(who.signer.sign(message).signature))
