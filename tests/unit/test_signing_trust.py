"""Trust and the trust store: two people, two keys, and no development key in production."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fleet.building import trust_document
from signing.errors import DevelopmentKeyRefused, SignatureInvalid, TrustStoreError
from signing.keyring import DEVELOPMENT_MARK, load_trust, read_trust
from signing.trust import Person, Role, Trust, key_id_of, require_two_people
from tests.vectors import bundle_1

KEYS, NAMES = bundle_1.KEYS, bundle_1.NAMES
STRANGER = bundle_1.STRANGER.public_key()
IDS = {role: key_id_of(key.public_key()) for role, key in KEYS.items()}


def store(**changes: Any) -> dict[str, Any]:
    people = [(NAMES[role], key.public_key()) for role, key in KEYS.items()]
    raw = trust_document(people, {role: (NAMES[role],) for role in Role}, development=False)
    return {**json.loads(raw), **changes}


def read(content: object) -> Trust:
    return read_trust(json.dumps(content).encode(), "trust.json", production=True)


def test_a_person_is_known_by_key_and_role() -> None:
    trust = read(store())
    assert trust.person(Role.QA, IDS[Role.QA], "qa.sig").name == "Anna Berg"
    assert not trust.development


@pytest.mark.clause("21 CFR 11.10(g)", "21 CFR 11.30", "IEC 62443-4-2 CR 3.4", "21 CFR 211.68(b)")
@pytest.mark.parametrize(
    ("role", "key_id", "shown"),
    [
        (Role.RELEASE, IDS[Role.QA], "Anna Berg does not have role 'release'"),
        (Role.QA, IDS[Role.RELEASE], "Jonas Weber does not have role 'qa'"),
        (Role.QA, key_id_of(STRANGER), "is nobody's in the trust store"),
        (Role.QA, "", "is nobody's in the trust store"),
    ],
)
def test_the_wrong_key_for_a_role_is_refused(role: Role, key_id: str, shown: str) -> None:
    with pytest.raises(SignatureInvalid) as caught:
        read(store()).person(role, key_id, "signatures/x.sig")
    assert shown in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.clause("21 CFR 11.10(g)")
@pytest.mark.parametrize(
    "name",
    ["Anna Berg", "anna  berg", "\N{FULLWIDTH LATIN CAPITAL LETTER A}nna Berg", "Anna\N{ZERO WIDTH JOINER} Berg"],
)
def test_one_person_cannot_be_both_with_two_keys(name: str) -> None:
    first = Person(IDS[Role.QA], "Anna Berg", KEYS[Role.QA].public_key())
    second = Person(IDS[Role.RELEASE], name, KEYS[Role.RELEASE].public_key())
    with pytest.raises(SignatureInvalid, match="Anna Berg signed as both 'qa' and 'release'"):
        require_two_people("bundle.json", {Role.QA: first, Role.RELEASE: second})


def test_one_key_cannot_be_both() -> None:
    person = Person(IDS[Role.QA], "Anna Berg", KEYS[Role.QA].public_key())
    with pytest.raises(SignatureInvalid, match="have a second person sign"):
        require_two_people("bundle.json", {Role.QA: person, Role.RELEASE: person})


def _entry(content: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = content["people"][IDS[Role.QA]]
    return entry


def _rename(content: dict[str, Any]) -> None:
    content["people"]["0" * 64] = content["people"].pop(IDS[Role.QA])
    content["roles"]["qa"] = ["0" * 64]


def _other_key(key: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        _entry(content)["public"] = pem.decode()

    return change


def _public(change: Callable[[str], str]) -> Callable[[dict[str, Any]], None]:
    return lambda content: _entry(content).update(public=change(_entry(content)["public"]))


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "empty role": (lambda c: c["roles"].update(release=[]), "release"),
    "role of nobody": (lambda c: c["roles"].update(release=["f" * 64]), "which is nobody's"),
    "third role": (lambda c: c["roles"].update(boss=[]), "unknown field `boss`"),
    "no people": (lambda c: c.update(people={}), "$.people"),
    "under another's id": (_rename, "key of Anna Berg is not key 0000000000000000"),
    "another curve": (_other_key(generate_private_key(SECP384R1())), "is on secp384r1; only P-256"),
    "another kind of key": (_other_key(Ed25519PrivateKey.generate()), "not an elliptic-curve key"),
    "another's key": (_other_key(generate_private_key(SECP256R1())), "key of Anna Berg is not key"),
    "no PEM": (_public(lambda _: "nothing"), "not a PEM public key"),
    "more than PEM": (_public(lambda pem: pem + "more\n"), "more in it than one PEM block"),
    "words before PEM": (_public(lambda pem: "words\n" + pem), "more in it than one PEM block"),
    "unknown algorithm": (
        lambda c: _entry(c).update(algorithm="ml-dsa-65"),
        "algorithm 'ml-dsa-65' of Anna Berg is not",
    ),
    "no name": (lambda c: _entry(c).update(name=""), "name"),
    "name of two lines": (lambda c: _entry(c).update(name="Anna\nBerg"), "name"),
    "name of spaces": (lambda c: _entry(c).update(name=" Anna"), "name"),
    "format 0": (lambda c: c.update(format=0), "format 0 is no longer accepted"),
    "format 2": (lambda c: c.update(format=2), "format"),
    "another document": (lambda c: c.update(document="bundle"), "bundle"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_stores(name: str) -> None:
    change, shown = REFUSED[name]
    content = store()
    change(content)
    with pytest.raises(TrustStoreError) as caught:
        read(content)
    assert shown in str(caught.value)
    assert str(caught.value).startswith("trust.json: ")
    assert "\n" not in str(caught.value)


def test_a_key_listed_twice_is_refused() -> None:
    raw = json.dumps(store())
    twice = raw.replace(f'"{IDS[Role.RELEASE]}": {{', f'"{IDS[Role.QA]}": {{')
    with pytest.raises(TrustStoreError, match="occurs twice"):
        read_trust(twice.encode(), "trust.json", production=False)


def test_a_key_is_replaced_without_a_gap() -> None:
    """Old and new key stand side by side under one name, so that what was signed with the old one stays good."""
    people = [*((NAMES[role], key.public_key()) for role, key in KEYS.items()), (NAMES[Role.QA], STRANGER)]
    raw = trust_document(people, {role: (NAMES[role],) for role in Role}, development=False)
    trust = read_trust(raw, "trust.json", production=True)
    assert {trust.person(Role.QA, key, "x").name for key in (IDS[Role.QA], key_id_of(STRANGER))} == {"Anna Berg"}


def test_a_person_may_have_both_roles_and_a_role_several_people() -> None:
    people = [*((NAMES[role], key.public_key()) for role, key in KEYS.items()), ("Chen Li", STRANGER)]
    raw = trust_document(
        people, {Role.QA: ("Anna Berg", "Chen Li"), Role.RELEASE: ("Jonas Weber", "Chen Li")}, development=False
    )
    trust = read_trust(raw, "trust.json", production=True)
    for role in Role:
        assert trust.person(role, key_id_of(STRANGER), "x").name == "Chen Li"


@pytest.mark.clause("IEC 62443-4-2 CR 3.4")
def test_development_stores_are_refused_in_production(tmp_path: Path) -> None:
    bundle_1.make_trust(tmp_path / "trust", KEYS)
    assert load_trust(tmp_path / "trust", production=False).development
    with pytest.raises(DevelopmentKeyRefused, match="refused in production mode"):
        load_trust(tmp_path / "trust", production=True)


@pytest.mark.clause("IEC 62443-4-2 CR 3.4")
def test_a_development_key_is_known_by_its_own_mark() -> None:
    """Copying the key into a store that calls itself a production store does not help."""
    content = store()
    _entry(content)["public"] = f"{DEVELOPMENT_MARK}\n{_entry(content)['public']}"
    with pytest.raises(DevelopmentKeyRefused):
        read(content)


def test_a_store_is_named_by_its_folder_or_its_file(tmp_path: Path) -> None:
    bundle_1.make_trust(tmp_path / "trust", KEYS, development=False)
    by_folder = load_trust(tmp_path / "trust", production=True)
    assert load_trust(tmp_path / "trust" / "trust.json", production=True) == by_folder


@pytest.mark.parametrize(
    ("content", "shown"), [(None, "No such file"), (b"x" * (1 << 20) + b"x", "more than"), (b"", "")]
)
def test_unreadable_stores_say_what_is_wrong(tmp_path: Path, content: bytes | None, shown: str) -> None:
    if content is not None:
        (tmp_path / "trust.json").write_bytes(content)
    with pytest.raises(TrustStoreError) as caught:
        load_trust(tmp_path, production=False)
    assert shown in str(caught.value)
    assert str(tmp_path / "trust.json") in str(caught.value)
    assert "\n" not in str(caught.value)
