"""A status that a device signed: who reads it believes that device and nothing else."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.x509.oid import NameOID

from fleet import issuing
from signing import status_note
from signing.certificates import CertificateRefused, DeviceCertificate, Subject, Usage, name_of, subject_of
from signing.identity import Identity, device_id, open_identity
from signing.status_note import StatusRefused

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
STATUS = {"utc": "2026-11-23T12:00:00Z", "spool": 3, "text": "Füller 3"}


class Authority:
    def __init__(self, now: datetime = NOW) -> None:
        self.key = generate_private_key(SECP256R1())
        self.own = issuing.root(self.key, "test", now)
        self.issuer = issuing.Issuer(self.key, self.own, now)

    def certify(
        self, identity: Identity, usage: Usage = Usage.IDENTITY, life: timedelta = timedelta(days=30)
    ) -> DeviceCertificate:
        subject = Subject("filler-3", "line-3", device_id(identity.public_der))
        made = issuing.certificate(self.issuer, subject, identity.public_der, usage, life)
        return DeviceCertificate(subject, identity.public_der, made)


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return _identity(tmp_path / "one")


def _identity(folder: Path) -> Identity:
    folder.mkdir()
    return open_identity("development", folder, "", production=False, make=True)


AUTHORITY = Authority()


def _refused(raw: bytes, now: datetime = NOW, authority: Authority = AUTHORITY) -> str:
    with pytest.raises(StatusRefused) as caught:
        status_note.verify(raw, [authority.own], now, "filler-3.json")
    (line,) = str(caught.value).splitlines()
    return line


def test_what_the_device_signed_is_what_is_read(identity: Identity) -> None:
    raw = status_note.sign(identity, AUTHORITY.certify(identity), STATUS)
    found = status_note.verify(raw, [Authority().own, AUTHORITY.own], NOW, "filler-3.json")
    assert found.status == STATUS
    assert found.subject == Subject("filler-3", "line-3", device_id(identity.public_der))


def test_another_authoritys_device_is_not_believed(identity: Identity) -> None:
    raw = status_note.sign(identity, Authority().certify(identity), STATUS)
    assert "not issued by this authority" in _refused(raw)


def test_another_key_than_the_certificates_is_not_believed(identity: Identity, tmp_path: Path) -> None:
    other = _identity(tmp_path / "other")
    assert "not a status of the device" in _refused(status_note.sign(other, AUTHORITY.certify(identity), STATUS))


def test_a_client_certificate_signs_no_status(identity: Identity) -> None:
    raw = status_note.sign(identity, AUTHORITY.certify(identity, Usage.CLIENT), STATUS)
    assert "not a certificate for identity" in _refused(raw)


def test_after_its_certificate_ended_a_device_is_not_believed(identity: Identity) -> None:
    raw = status_note.sign(identity, AUTHORITY.certify(identity), STATUS)
    assert "does not hold now" in _refused(raw, NOW + timedelta(days=31))
    assert "does not hold now" in _refused(raw, NOW - timedelta(days=1))


def _other_status(content: dict[str, Any]) -> None:
    payload = json.loads(base64.b64decode(content["payload"]))
    payload["predicate"]["status"]["spool"] = 0
    content["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()


def _other_signature(content: dict[str, Any]) -> None:
    content["signatures"][0]["sig"] = base64.b64encode(b"no signature").decode()


def _other_type(content: dict[str, Any]) -> None:
    content["payloadType"] = "text/plain"


def _no_base64(content: dict[str, Any]) -> None:
    content["payload"] = "%"


def _two_signatures(content: dict[str, Any]) -> None:
    content["signatures"] *= 2


def _no_certificate(content: dict[str, Any]) -> None:
    payload = json.loads(base64.b64decode(content["payload"]))
    payload["predicate"]["certificate"] = ""
    content["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()


@pytest.mark.parametrize(
    "change", [_other_status, _other_signature, _other_type, _no_base64, _two_signatures, _no_certificate]
)
def test_a_changed_status_is_not_believed(identity: Identity, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(status_note.sign(identity, AUTHORITY.certify(identity), STATUS))
    change(content)
    assert _refused(json.dumps(content).encode()).startswith("filler-3.json: ")


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"[]", b" " * 1_048_577])
def test_what_is_no_status_is_one_line(raw: bytes) -> None:
    _refused(raw)


def test_a_name_that_no_device_has_is_refused() -> None:
    subject = Subject("filler-3", "line-3", device_id(b"key"))
    assert subject_of(name_of(subject)) == subject
    more = x509.Name([*name_of(subject), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "x")])
    other = x509.Name(reversed(list(name_of(subject))))
    spaced = name_of(Subject("filler 3", "line-3", subject.id))
    for name in (more, other, spaced, x509.Name([])):
        with pytest.raises(CertificateRefused, match="not the name of a device"):
            subject_of(name)
