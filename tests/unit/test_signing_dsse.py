"""Signatures and approvals are read strictly: every other form of saying the same is refused, in one line."""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, SECP384R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fleet.signatures import Words, approval, model_signature
from signing.dsse import pae
from signing.errors import SignatureInvalid
from signing.keyring import load_trust
from signing.sealed import open_directory
from signing.trust import Role, key_id_of
from signing.verify import verify
from tests.vectors import bundle_1

QA, RELEASE = bundle_1.KEYS[Role.QA], bundle_1.KEYS[Role.RELEASE]
# The order n of P-256 (SEC 2).
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

_PEM = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    bundle_1.make_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


def refusal(bundle: Path) -> str:
    """Return why the bundle is refused; the reason is in one line that names a file under signatures/."""
    with pytest.raises(SignatureInvalid) as caught, open_directory(bundle) as fd:
        verify(fd, load_trust(bundle_1.ROOT / "trust", production=False))
    text = str(caught.value)
    assert "\n" not in text
    assert "signatures/" in text or "signed as both" in text
    return text


def rewritten(path: Path, change: Change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def signed_anew(path: Path, change: Change | str, key: Any = QA) -> None:
    """Change what is signed, and sign it again with `key`."""
    content = json.loads(path.read_text())
    envelope = content.get("dsseEnvelope", content)
    payload = base64.b64decode(envelope["payload"])
    if isinstance(change, str):
        payload = change.encode()
    else:
        statement = json.loads(payload)
        change(statement)
        payload = json.dumps(statement).encode()
    envelope["payload"] = base64.b64encode(payload).decode()
    envelope["signatures"][0]["sig"] = base64.b64encode(key.sign(pae(payload), ECDSA(SHA256()))).decode()
    path.write_text(json.dumps(content))


def _dsse(change: Change) -> Change:
    return lambda content: change(content["dsseEnvelope"])


def _sig(change: Callable[[bytes], bytes]) -> Change:
    def apply(envelope: dict[str, Any]) -> None:
        entry = envelope["signatures"][0]
        entry["sig"] = base64.b64encode(change(base64.b64decode(entry["sig"]))).decode()

    return _dsse(apply)


def _spaced(text: str) -> str:
    return text[:4] + "\n" + text[4:]


ENVELOPES: dict[str, tuple[Change, str]] = {
    "two signatures": (_dsse(lambda e: e["signatures"].append(e["signatures"][0])), "signatures"),
    "no signature": (_dsse(lambda e: e.update(signatures=[])), "signatures"),
    "another payload type": (_dsse(lambda e: e.update(payloadType="text/plain")), "payloadType"),
    "another media type": (lambda c: c.update(mediaType="application/x"), "mediaType"),
    "more in it": (lambda c: c.update(more=1), "unknown field `more`"),
    "a certificate": (lambda c: c["verificationMaterial"].update(certificate={}), "unknown field `certificate`"),
    "no hint": (lambda c: c["verificationMaterial"]["publicKey"].clear(), "hint"),
    "hint of another": (
        lambda c: c["verificationMaterial"]["publicKey"].update(hint=key_id_of(bundle_1.STRANGER.public_key())),
        "is nobody's in the trust store",
    ),
    "two keys": (_dsse(lambda e: e["signatures"][0].update(keyid="0" * 64)), "it names two keys"),
    "line in base64": (_dsse(lambda e: e.update(payload=_spaced(e["payload"]))), "not base64"),
    "other base64": (_dsse(lambda e: e.update(payload="ZZ==")), "base64 in another form"),
    "cut payload": (_dsse(lambda e: e.update(payload=e["payload"][:-4])), "not a signature by Anna Berg's key"),
    "raw signature": (_sig(lambda _: b"\1" * 64), "not a signature by Anna Berg's key"),
    "longer signature": (_sig(lambda sig: sig + b"\0"), "not a signature by Anna Berg's key"),
    "empty signature": (_sig(lambda _: b""), "not a signature by Anna Berg's key"),
    "another's signature": (_sig(lambda _: RELEASE.sign(b"x", ECDSA(SHA256()))), "not a signature by Anna Berg's key"),
}


@pytest.mark.clause("IEC 62443-4-2 CR 3.4", "21 CFR 11.30")
@pytest.mark.parametrize("name", ENVELOPES)
def test_refused_envelopes(bundle: Path, name: str) -> None:
    change, shown = ENVELOPES[name]
    rewritten(bundle / "signatures" / "qa.sig", change)
    assert shown in refusal(bundle)


def test_a_duplicate_key_in_an_envelope_is_refused(bundle: Path) -> None:
    for name in ("qa.sig", "qa.approval"):
        path = bundle / "signatures" / name
        whole = path.read_text()
        path.write_text(whole.replace('"payloadType"', '"payload":"","payloadType"', 1))
        assert f"signatures/{name}: key 'payload' occurs twice" in refusal(bundle)
        path.write_text(whole)


def test_what_a_stranger_wrote_cannot_paint_the_terminal(bundle: Path) -> None:
    """The reason of a refusal may quote an envelope that nobody signed."""
    (bundle / "signatures" / "qa.sig").write_text('{"\\u001b[31m\\n\\ud800": 1, "\\u001b[31m\\n\\ud800": 2}')
    assert "signatures/qa.sig: key '?[31m??' occurs twice" in refusal(bundle)


def _resource(**changes: str) -> Change:
    return lambda statement: statement["predicate"]["resources"][0].update(changes)


def _serialization(**changes: object) -> Change:
    return lambda statement: statement["predicate"]["serialization"].update(changes)


def _without_a_file(statement: dict[str, Any]) -> None:
    """A whole statement about less than the bundle."""
    resources = [entry for entry in statement["predicate"]["resources"] if entry["name"] != "tiny.onnx"]
    statement["predicate"]["resources"] = resources
    _total(statement)


def _with_a_file(statement: dict[str, Any]) -> None:
    statement["predicate"]["resources"].append({"name": "x.bin", "algorithm": "sha256", "digest": "0" * 64})
    _total(statement)


def _twice(statement: dict[str, Any]) -> None:
    statement["predicate"]["resources"].append(statement["predicate"]["resources"][0])
    _total(statement)


def _total(statement: dict[str, Any]) -> None:
    digests = b"".join(bytes.fromhex(entry["digest"]) for entry in statement["predicate"]["resources"])
    statement["subject"][0]["digest"]["sha256"] = hashlib.sha256(digests).hexdigest()


SIGNED: dict[str, tuple[Change | str, str]] = {
    "another predicate": (
        lambda s: s.update(predicateType="https://model_signing/Digests/v0.1"),
        "it says 'https://mod",
    ),
    "another statement": (lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"), "_type"),
    "more in it": (lambda s: s.update(more=1), "unknown field `more`"),
    "no resource": (lambda s: s["predicate"].update(resources=[]), "resources"),
    "another algorithm": (_resource(algorithm="blake3"), "algorithm"),
    "another digest": (_resource(digest="0" * 64), "its subject is not the digest of its resources"),
    "shards": (_serialization(method="shards"), "method"),
    "links allowed": (_serialization(allow_symlinks=True), "it allows links"),
    "signatures not left out": (_serialization(ignore_paths=[".git"]), "it does not leave out signatures/"),
    "a file less": (_without_a_file, "it and bundle.json differ in 'tiny.onnx'"),
    "a file more": (_with_a_file, "it and bundle.json differ in 'x.bin'"),
    "a file twice": (_twice, "it names a file twice"),
    "duplicate key": ('{"_type": 1, "_type": 2}', "key '_type' occurs twice"),
    "NaN": ('{"_type": NaN}', "NaN is not a number"),
    "not JSON": ("nonsense", "Expecting value"),
}


@pytest.mark.clause("IEC 62443-4-2 CR 3.4", "21 CFR 11.30")
@pytest.mark.parametrize("name", SIGNED)
def test_refused_statements_that_were_signed(bundle: Path, name: str) -> None:
    change, shown = SIGNED[name]
    signed_anew(bundle / "signatures" / "qa.sig", change)
    assert shown in refusal(bundle)


APPROVALS: dict[str, tuple[Change | str, str]] = {
    "another digest": (lambda s: s["subject"][0]["digest"].update(sha256="0" * 64), "it approves bundle.json 00000000"),
    "another document": (lambda s: s["subject"][0].update(name="recipe.json"), "it approves recipe.json"),
    "two documents": (lambda s: s["subject"].append(s["subject"][0]), "it approves bundle.json"),
    "another role": (lambda s: s["predicate"].update(role="release"), "it is given as 'release', not as 'qa'"),
    "another name": (lambda s: s["predicate"].update(printed_name="Anna B."), "printed name 'Anna B.'"),
    "no meaning": (lambda s: s["predicate"].update(meaning=""), "meaning"),
    "no reason": (lambda s: s["predicate"].pop("reason"), "missing required field `reason`"),
    "local time": (lambda s: s["predicate"].update(utc="2026-11-23T01:00:00+01:00"), "is not a time like"),
    "no such day": (lambda s: s["predicate"].update(utc="2026-02-30T00:00:00Z"), "is not a time like"),
    "a model signature's": (
        lambda s: s.update(predicateType="https://model_signing/signature/v1.0"),
        "it says 'https:",
    ),
    "duplicate key": ('{"a": 1, "a": 2}', "key 'a' occurs twice"),
}


@pytest.mark.clause("21 CFR 11.50", "21 CFR 11.70", "21 CFR 11.30")
@pytest.mark.parametrize("name", APPROVALS)
def test_refused_approvals(bundle: Path, name: str) -> None:
    change, shown = APPROVALS[name]
    signed_anew(bundle / "signatures" / "qa.approval", change)
    assert shown in refusal(bundle)


def deputy_store(bundle: Path, name: str = "Chen Li") -> None:
    """A trust store in which a third person has both roles, in place of the vectors' own."""
    store = json.loads((bundle_1.ROOT / "trust" / "trust.json").read_text())
    key = bundle_1.STRANGER.public_key()
    pem = next(iter(store["people"].values()))["public"].split("\n")[0]
    text = key.public_bytes(*_PEM).decode()
    store["people"][key_id_of(key)] = {"name": name, "algorithm": "ecdsa-sha2-nistp256", "public": f"{pem}\n{text}"}
    for role in ("qa", "release"):
        store["roles"][role].append(key_id_of(key))
    (bundle.parent / "trust.json").write_text(json.dumps(store))


def deputy_refusal(bundle: Path) -> str:
    with pytest.raises(SignatureInvalid) as caught, open_directory(bundle) as fd:
        verify(fd, load_trust(bundle.parent, production=False))
    return str(caught.value)


@pytest.mark.clause("21 CFR 11.10(g)")
def test_one_person_with_both_roles_cannot_sign_twice(bundle: Path) -> None:
    deputy_store(bundle)
    bundle_1.put_signatures(bundle, dict.fromkeys(Role, bundle_1.STRANGER), dict.fromkeys(Role, "Chen Li"))
    assert "Chen Li signed as both 'qa' and 'release'; have a second person sign" in deputy_refusal(bundle)


@pytest.mark.clause("21 CFR 11.10(g)")
def test_two_keys_under_one_name_are_one_person(bundle: Path) -> None:
    deputy_store(bundle, "anna berg")
    bundle_1.put_signatures(bundle, {Role.RELEASE: bundle_1.STRANGER}, {Role.RELEASE: "anna berg"})
    assert "Anna Berg signed as both" in deputy_refusal(bundle)


@pytest.mark.clause("21 CFR 11.70")
def test_an_approval_by_another_key_than_the_signature_is_refused(bundle: Path) -> None:
    """Both may fill the role; still each vouches for itself alone."""
    deputy_store(bundle)
    digest = hashlib.sha256((bundle / "bundle.json").read_bytes()).hexdigest()
    words = Words("Chen Li", "approval", "as deputy")
    made = approval(("bundle.json", digest), Role.QA, bundle_1.NumberSigner(bundle_1.STRANGER), words, bundle_1.NOW)
    (bundle / "signatures" / "qa.approval").write_bytes(made)
    assert "signatures/qa.approval: made with another key than qa.sig" in deputy_refusal(bundle)


def test_a_person_who_lost_a_role_does_not_count_any_more(bundle: Path) -> None:
    deputy_store(bundle)
    bundle_1.put_signatures(bundle, {Role.RELEASE: bundle_1.STRANGER}, {Role.RELEASE: "Chen Li"})
    with open_directory(bundle) as fd:
        assert verify(fd, load_trust(bundle.parent, production=False)).approvals[1].printed_name == "Chen Li"
    store = json.loads((bundle.parent / "trust.json").read_text())
    store["roles"]["release"].pop()
    (bundle.parent / "trust.json").write_text(json.dumps(store))
    assert "signatures/release.sig: Chen Li does not have role 'release'" in deputy_refusal(bundle)


def test_a_signature_over_another_curve_or_hash_is_refused(bundle: Path) -> None:
    path = bundle / "signatures" / "qa.sig"
    payload = base64.b64decode(json.loads(path.read_text())["dsseEnvelope"]["payload"])
    for made in (
        derive_private_key(7, SECP384R1()).sign(pae(payload), ECDSA(SHA384())),
        QA.sign(pae(payload), ECDSA(SHA384())),
        QA.sign(payload, ECDSA(SHA256())),
    ):
        rewritten(path, _sig(lambda _, made=made: made))  # type: ignore[misc]
        assert "not a signature by Anna Berg's key" in refusal(bundle)


def test_the_other_half_of_a_signature_says_the_same(bundle: Path) -> None:
    """ECDSA signatures come in pairs (r, s) and (r, n - s); both are the person's, over the same bytes."""

    def mirrored(sig: bytes) -> bytes:
        r, s = decode_dss_signature(sig)
        return encode_dss_signature(r, ORDER - s)

    rewritten(bundle / "signatures" / "qa.sig", _sig(mirrored))
    with open_directory(bundle) as fd:
        verify(fd, load_trust(bundle_1.ROOT / "trust", production=False))


def test_what_the_stock_signer_leaves_out_is_accepted(bundle: Path) -> None:
    """model_signing writes no tlogEntries where there are none in some versions, and other ignored paths."""
    path = bundle / "signatures" / "qa.sig"
    rewritten(path, lambda c: c["verificationMaterial"].pop("tlogEntries"))
    signed_anew(path, _serialization(ignore_paths=["signatures", "signatures/qa.sig", ".git"]))
    with open_directory(bundle) as fd:
        verify(fd, load_trust(bundle_1.ROOT / "trust", production=False))


def test_a_key_of_another_person_under_the_hint_of_the_first_is_refused(bundle: Path) -> None:
    files = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in bundle.iterdir() if p.is_file()}
    forged = json.loads(model_signature("bundle", files, bundle_1.NumberSigner(derive_private_key(9, SECP256R1()))))
    forged["verificationMaterial"]["publicKey"]["hint"] = key_id_of(QA.public_key())
    (bundle / "signatures" / "qa.sig").write_text(json.dumps(forged))
    assert "not a signature by Anna Berg's key" in refusal(bundle)
