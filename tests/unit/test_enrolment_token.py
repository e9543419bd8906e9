"""The token of two people: what it takes, and every way in which it is none."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from securesystemslib.signer import CryptoSigner

from fleet.building import trust_document
from fleet.errors import NotDone
from fleet.people import Signatory, signatory, ssl_key
from fleet.tokens import Wanted, make_token, new_claims, sign_token
from signing.enrolment_token import LARGEST, TokenRefused, claims_of, open_token
from signing.keyring import read_trust
from signing.trust import Role, Trust

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
WANTED = Wanted("filler-3", "line-3", "new device")
KEYS = {name: generate_private_key(SECP256R1()) for name in ("Anna Berg", "Ben Ott", "Cleo Ito")}


def _trust() -> Trust:
    """Anna is of qa, Ben of release, Cleo of both."""
    people = [(name, key.public_key()) for name, key in KEYS.items()]
    roles = {Role.QA: ("Anna Berg", "Cleo Ito"), Role.RELEASE: ("Ben Ott", "Cleo Ito")}
    return read_trust(trust_document(people, roles, development=True), "trust.json", production=False)


def _person(name: str) -> Signatory:
    return signatory(CryptoSigner(KEYS[name], ssl_key(KEYS[name].public_key())), name)


def _signed(qa: str, release: str, wanted: Wanted = WANTED) -> bytes:
    return sign_token(new_claims(wanted, NOW), {Role.QA: _person(qa), Role.RELEASE: _person(release)})


def _refusal(token: bytes, now: datetime = NOW) -> str:
    with pytest.raises(TokenRefused) as caught:
        open_token(token, _trust(), now)
    (line,) = str(caught.value).splitlines()
    return line


def test_a_token_says_whom_it_lets_in_and_who_signed() -> None:
    token = make_token(WANTED, {Role.QA: _person("Anna Berg"), Role.RELEASE: _person("Ben Ott")}, _trust(), NOW)
    opened = open_token(token, _trust(), NOW)
    assert (opened.claims.station, opened.claims.line, opened.claims.identity) == ("filler-3", "line-3", "")
    assert opened.let_in_by == "Anna Berg (qa) and Ben Ott (release): new device"
    assert claims_of(token) == opened.claims
    assert len(token) < LARGEST


def test_its_secret_is_not_in_what_is_shown() -> None:
    token = _signed("Anna Berg", "Ben Ott")
    opened = open_token(token, _trust(), NOW)
    assert len(opened.claims.nonce) == 64
    assert opened.claims.nonce not in repr(opened) + opened.let_in_by


def test_no_two_tokens_have_one_nonce() -> None:
    assert len({claims_of(_signed("Anna Berg", "Ben Ott")).nonce for _ in range(20)}) == 20


@pytest.mark.clause("21 CFR 11.300")
def test_one_person_alone_makes_no_token() -> None:
    assert "Cleo Ito signed as both" in _refusal(_signed("Cleo Ito", "Cleo Ito"))
    assert "does not have role 'release'" in _refusal(_signed("Anna Berg", "Anna Berg"))
    assert "does not have role 'qa'" in _refusal(_signed("Ben Ott", "Ben Ott"))
    assert "does not have role 'qa'" in _refusal(_signed("Ben Ott", "Anna Berg"))
    open_token(_signed("Cleo Ito", "Ben Ott"), _trust(), NOW)
    with pytest.raises(TokenRefused):
        make_token(WANTED, {Role.QA: _person("Cleo Ito"), Role.RELEASE: _person("Cleo Ito")}, _trust(), NOW)


def test_it_ends_when_it_says() -> None:
    token = _signed("Anna Berg", "Ben Ott")
    open_token(token, _trust(), NOW + timedelta(days=1))
    assert "was good until 2026-11-24T12:00:00Z" in _refusal(token, NOW + timedelta(days=1, seconds=1))
    for life in (timedelta(0), timedelta(days=32), -timedelta(days=1)):
        with pytest.raises(NotDone):
            new_claims(Wanted("filler-3", "line-3", "new device", life=life), NOW)


@pytest.mark.parametrize("wanted", [("", "line-3", "r"), ("a b", "line-3", "r"), ("a", "../x", "r"), ("a", "b", "")])
def test_names_and_reason_are_ones_that_a_certificate_can_carry(wanted: tuple[str, str, str]) -> None:
    with pytest.raises(NotDone):
        new_claims(Wanted(*wanted), NOW)


def _mixed(content: dict[str, Any]) -> None:
    content["release"] = json.loads(_signed("Anna Berg", "Ben Ott"))["release"]


def _swapped(content: dict[str, Any]) -> None:
    content["qa"], content["release"] = content["release"], content["qa"]


def _twice(content: dict[str, Any]) -> None:
    content["release"] = content["qa"]


def _flipped(content: dict[str, Any]) -> None:
    text = content["qa"]["payload"]
    content["qa"]["payload"] = ("A" if text[40] != "A" else "B").join((text[:40], text[41:]))


@pytest.mark.parametrize("change", [_mixed, _swapped, _twice, _flipped])
def test_a_token_put_together_from_others_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(_signed("Anna Berg", "Ben Ott"))
    change(content)
    _refusal(json.dumps(content).encode())


@pytest.mark.parametrize("change", [{"format": 2}, {"document": "trust"}, {"more": 1}, {"qa": None}, {"qa": {}}])
def test_what_is_no_token_is_one_line_that_repeats_nothing_of_it(change: dict[str, Any]) -> None:
    token = _signed("Anna Berg", "Ben Ott")
    changed = json.dumps(json.loads(token) | change).encode()
    assert claims_of(token).nonce not in _refusal(changed)
    for raw in (b"", b"{", b"\xff", token[:-5], token + b"{}", b" " * (LARGEST + 1)):
        assert claims_of(token).nonce not in _refusal(raw)
