"""Trust and the trust store: two people, two keys, and no development key in production."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signing.errors import DevelopmentKeyRefused, SignatureInvalid, TrustStoreError
from signing.keyring import load_trust
from signing.trust import Role, Trust
from tests.vectors import bundle_0

QA, RELEASE = bundle_0.KEYS[Role.QA], bundle_0.KEYS[Role.RELEASE]
STRANGER = bundle_0.STRANGER
DOCUMENT = b"what both people signed"
TRUST = Trust({Role.QA: (QA.public_key(),), Role.RELEASE: (RELEASE.public_key(),)}, development=False)


def signed(key: object, document: bytes = DOCUMENT) -> bytes:
    assert hasattr(key, "sign")
    return bytes(key.sign(document, ECDSA(SHA256())))


def test_both_roles_are_needed() -> None:
    TRUST.check("d", DOCUMENT, {Role.QA: signed(QA), Role.RELEASE: signed(RELEASE)})


@pytest.mark.clause("21 CFR 11.30", "21 CFR 11.70", "21 CFR 11.10(g)", "21 CFR 211.68(b)", "IEC 62443-4-2 CR 3.4")
@pytest.mark.parametrize(
    "signatures",
    [
        {},
        {Role.QA: signed(QA)},
        {Role.RELEASE: signed(RELEASE)},
        {Role.QA: signed(QA), Role.RELEASE: signed(QA)},
        {Role.QA: signed(RELEASE), Role.RELEASE: signed(QA)},
        {Role.QA: signed(STRANGER), Role.RELEASE: signed(RELEASE)},
        {Role.QA: signed(QA), Role.RELEASE: signed(RELEASE, b"something else")},
        {Role.QA: signed(QA), Role.RELEASE: b"\x30\x00"},
    ],
)
def test_anything_less_is_refused(signatures: dict[Role, bytes]) -> None:
    with pytest.raises(SignatureInvalid):
        TRUST.check("d", DOCUMENT, signatures)


@pytest.mark.clause("21 CFR 11.10(g)")
def test_one_key_cannot_serve_both_roles() -> None:
    with pytest.raises(TrustStoreError, match="one key serves 'qa' and 'release'"):
        Trust({Role.QA: (QA.public_key(),), Role.RELEASE: (RELEASE.public_key(), QA.public_key())}, development=False)


def test_every_role_needs_a_key() -> None:
    with pytest.raises(TrustStoreError, match="no key for role 'release'"):
        Trust({Role.QA: (QA.public_key(),)}, development=False)


def test_other_curves_are_refused() -> None:
    with pytest.raises(TrustStoreError, match="only P-256"):
        Trust(
            {Role.QA: (generate_private_key(SECP384R1()).public_key(),), Role.RELEASE: (RELEASE.public_key(),)},
            development=False,
        )


def test_a_second_key_of_a_role_counts() -> None:
    """A key is replaced by installing the new one beside the old one first."""
    new = generate_private_key(SECP256R1())
    trust = Trust(
        {Role.QA: (QA.public_key(), new.public_key()), Role.RELEASE: (RELEASE.public_key(),)}, development=False
    )
    trust.check("d", DOCUMENT, {Role.QA: signed(new), Role.RELEASE: signed(RELEASE)})


@pytest.mark.clause("IEC 62443-4-2 CR 3.4")
def test_development_stores_are_refused_in_production(tmp_path: Path) -> None:
    bundle_0.make_trust(tmp_path / "trust", bundle_0.KEYS)
    assert load_trust(tmp_path / "trust", production=False).development
    with pytest.raises(DevelopmentKeyRefused, match="refused in production mode"):
        load_trust(tmp_path / "trust", production=True)


@pytest.mark.clause("IEC 62443-4-2 CR 3.4")
def test_a_development_key_is_known_by_its_own_mark(tmp_path: Path) -> None:
    """Copying the key into a store that calls itself a production store does not help."""
    bundle_0.make_trust(tmp_path / "trust", bundle_0.KEYS)
    store = tmp_path / "trust" / "trust.json"
    store.write_text(json.dumps({**json.loads(store.read_text()), "development": False}))
    with pytest.raises(DevelopmentKeyRefused):
        load_trust(tmp_path / "trust", production=True)


def test_a_production_store_is_accepted_in_production(tmp_path: Path) -> None:
    bundle_0.make_trust(tmp_path / "trust", bundle_0.KEYS, development=False)
    assert not load_trust(tmp_path / "trust", production=True).development


@pytest.mark.parametrize(
    ("file", "content", "shown"),
    [
        ("trust.json", "{}", "missing required field"),
        ("trust.json", '{"format": 0, "development": true, "keys": {"qa": ["../qa.pem"], "release": ["x.pem"]}}', "qa"),
        ("qa.pub.pem", "nothing", "a 'qa' key is not a PEM public key"),
        ("qa.pub.pem", None, "qa.pub.pem: No such file"),
        ("trust.json", None, "trust.json: No such file"),
    ],
)
def test_broken_stores_say_what_is_wrong(tmp_path: Path, file: str, content: str | None, shown: str) -> None:
    bundle_0.make_trust(tmp_path / "trust", bundle_0.KEYS)
    path = tmp_path / "trust" / file
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(TrustStoreError) as caught:
        load_trust(tmp_path / "trust", production=False)
    assert shown in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_kinds_of_keys_are_refused(tmp_path: Path) -> None:
    bundle_0.make_trust(tmp_path / "trust", bundle_0.KEYS)
    key = Ed25519PrivateKey.generate().public_key()
    (tmp_path / "trust" / "qa.pub.pem").write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(TrustStoreError, match="not an elliptic-curve key"):
        load_trust(tmp_path / "trust", production=False)
