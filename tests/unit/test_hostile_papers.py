"""Papers that a stranger made end in one line, not in an exception that nobody expects."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding

from fleet import issuing
from fleet.authority import found_authority, open_authority
from fleet.cli import main
from fleet.errors import FleetError
from signing.certificates import CertificateRefused, Usage, read_authorities, read_certificate
from signing.device_status import DeviceStatus, as_document, read_device_status
from signing.enrolment_token import TokenRefused, open_token
from signing.errors import DocumentInvalid, SigningError
from signing.est import Authority, ExchangeFailed, certificates_in, server_tls
from signing.identity import open_identity
from signing.keyring import load_trust
from signing.manifest import Line, PrintedName, Sentence, strict_json
from tests.contract.enrolment_world import request_of
from tests.vectors import bundle_1

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
VERSION = bytes.fromhex("a003020102")


def _of_another_version(der: bytes) -> bytes:
    """Say version 10 where a certificate says 3."""
    at = der.index(VERSION) + len(VERSION) - 1
    return der[:at] + b"\x09" + der[at + 1 :]


def test_a_certificate_of_another_version_is_refused() -> None:
    key = generate_private_key(SECP256R1())
    own = issuing.root(key, "test", NOW)
    der = _of_another_version(own.public_bytes(Encoding.DER))
    with pytest.raises(CertificateRefused, match="not a certificate"):
        read_certificate(der, Usage.IDENTITY, [own], "status.json")
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"
    with pytest.raises(CertificateRefused, match="not a PEM file"):
        read_authorities(pem, "anchor.pem")


def test_a_request_of_another_version_is_refused(tmp_path: Path) -> None:
    identity = open_identity("development", tmp_path, "", production=False, make=True)
    request = request_of(identity)
    at = request.index(b"\x02\x01\x00") + 2
    bundle_1.make_trust(tmp_path / "trust", bundle_1.KEYS)
    found_authority(tmp_path / "authority", "test", NOW)
    authority = open_authority(tmp_path / "authority", tmp_path / "trust")
    try:
        with pytest.raises(FleetError, match=r"not a PKCS#10 request"):
            authority.enrol(request[:at] + b"\x07" + request[at + 1 :], b"{}")
    finally:
        authority.close()


@pytest.mark.parametrize("body", [b"MAsGCSqGSIb3DQEHAw==", b"MBEGCSqGSIb3DQEHAaAEBAKquw==", b"", b"\xff"])
def test_an_answer_of_another_kind_is_no_answer(body: bytes) -> None:
    with pytest.raises(ExchangeFailed, match="something else than certificates"):
        certificates_in(body, "https://ca")


@pytest.mark.parametrize("url", ["https://a..b", f"https://{'a' * 64}.x", "https://x/\u00e4", "https://\udc80"])
def test_a_host_that_cannot_be_one_is_one_line(url: str) -> None:
    with pytest.raises(ExchangeFailed):
        Authority(url, server_tls(())).authorities()


@pytest.mark.parametrize("envelope", [{"payload": "\ud800"}, {"\ud800": 1}])
def test_a_token_that_is_no_text_is_refused(tmp_path: Path, envelope: dict[str, Any]) -> None:
    bundle_1.make_trust(tmp_path / "trust", bundle_1.KEYS)
    raw = json.dumps({"document": "enrolment-token", "format": 1, "qa": envelope, "release": envelope}).encode()
    with pytest.raises(TokenRefused):
        open_token(raw, load_trust(tmp_path / "trust", production=False), NOW)


@pytest.mark.parametrize(
    "change",
    [{"utc": "2026-13-45T99:99:99Z"}, {"utc": "0000-01-01T00:00:00Z"}, {"mode": "\ud800"}, {"mode": "\x9b31m"}],
)
def test_a_status_that_cannot_be_shown_is_refused(change: dict[str, str]) -> None:
    good = as_document(DeviceStatus(1, "filler-3", "line-3", "2026-11-23T12:00:00Z", 1))
    assert read_device_status(good, "it").device == "filler-3"
    with pytest.raises(SigningError):
        read_device_status({**good, **change}, "it")


@pytest.mark.parametrize("letter", ["\x1b", "\x9b", "\u00ad", "\u200b", "\u202e", "\u2066", "\ufeff", "\U000e0041"])
@pytest.mark.parametrize("shape", [Line, Sentence, PrintedName])
def test_what_a_terminal_obeys_or_hides_is_in_no_text(shape: Any, letter: str) -> None:
    assert strict_json(b'"Anna Berg"', shape, "it") == "Anna Berg"
    with pytest.raises(DocumentInvalid):
        strict_json(json.dumps(f"Anna{letter} Berg").encode(), shape, "it")


@pytest.mark.parametrize("hours", ["nan", "inf", "0", "-1", "745", "1e400", "x"])
def test_hours_of_a_token_are_a_number(hours: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["token", "box", "--line", "line-3", "--out", "x", "--hours", hours])
    assert ended.value.code == 2
    assert "is not a number of hours" in capsys.readouterr().err
