"""The exchange with the small authority over HTTPS, with an identity in a TPM and with one in a file.

OpenSSL's own programs read what both sides write.
"""

import base64
import http.client
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from fleet.authority import RequestRefused
from fleet.authority_server import AuthorityServer, serving
from signing import est
from signing.certificates import Subject, Usage, name_of, read_certificate
from signing.est import Authority, EnrolmentRefused, ExchangeFailed, encoded, place_of, reenrolment, server_tls
from signing.identity import Identity, device_id, open_identity
from signing.short_lived import new_client_key
from tests.contract.enrolment_world import LINE, STATION, Site, enrolled, request_of
from tests.contract.software_tpm import needs_tpm, software_tpm

Make = Callable[[str], Identity]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


@pytest.fixture
def authority(site: Site) -> Iterator[Authority]:
    with site.serving() as served:
        yield served


@pytest.fixture(params=["development", pytest.param("tpm", marks=needs_tpm)])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Make devices by name, each with a key of its own."""
    with ExitStack() as stack:

        def made(name: str) -> Identity:
            folder = tmp_path / name
            folder.mkdir()
            tcti = stack.enter_context(software_tpm(folder / "chip")).tcti if request.param == "tpm" else ""
            return stack.enter_context(closing(open_identity(request.param, folder, tcti, production=False, make=True)))

        yield made


def test_a_device_is_enrolled_and_gets_short_lived_certificates(site: Site, authority: Authority, make: Make) -> None:
    identity = make("device")
    certificate = enrolled(site, authority, identity)
    assert (certificate.subject.device, certificate.subject.line) == (STATION, LINE)
    assert certificate.subject.id == device_id(identity.public_der)
    key = new_client_key(identity, certificate, authority, site.anchors, 0.0)
    assert key.certificate.subject == certificate.subject
    assert key.certificate.public_der != identity.public_der
    assert 24 * 3600 <= key.life_s < 25 * 3600


def test_openssl_reads_request_answer_and_certificates(
    site: Site, authority: Authority, make: Make, tmp_path: Path
) -> None:
    identity = make("device")
    (tmp_path / "request.der").write_bytes(request_of(identity))
    said = _openssl("req", "-inform", "DER", "-in", str(tmp_path / "request.der"), "-verify", "-noout", "-subject")
    assert f"CN = {STATION}" in said
    certificate = enrolled(site, authority, identity)
    key = new_client_key(identity, certificate, authority, site.anchors, 0.0)
    (tmp_path / "identity.pem").write_bytes(certificate.pem)
    (tmp_path / "client.pem").write_bytes(key.certificate.pem)
    for name, purpose in (("identity.pem", "any"), ("client.pem", "sslclient")):
        command = ["verify", "-x509_strict", "-purpose", purpose, "-CAfile", str(site.anchor), str(tmp_path / name)]
        assert "OK" in _openssl(*command)
    status, _, body = _ask(site, authority, "GET", est.CACERTS)
    (tmp_path / "answer.p7").write_bytes(base64.b64decode(body))
    listed = _openssl("pkcs7", "-inform", "DER", "-in", str(tmp_path / "answer.p7"), "-print_certs")
    assert status == 200
    assert listed.count("BEGIN CERTIFICATE") == 1
    assert authority.authorities() == site.anchors


def test_a_token_lets_one_device_in_and_that_one_may_ask_again(site: Site, authority: Authority, make: Make) -> None:
    first, second, token = make("first"), make("second"), site.token()
    issued = authority.enrol(request_of(first), token)
    assert authority.enrol(request_of(first), token) == issued
    with pytest.raises(EnrolmentRefused, match="was used by another device"):
        authority.enrol(request_of(second), token)
    with site.open() as after_restart, pytest.raises(RequestRefused, match="was used by another device"):
        after_restart.enrol(request_of(second), token)


def test_of_devices_that_come_at_once_one_gets_the_name(site: Site, authority: Authority, make: Make) -> None:
    devices = [make(f"device {number}") for number in range(4)]
    asked = [(request_of(device), site.token()) for device in devices]

    def enrol(asked: tuple[bytes, bytes]) -> str:
        try:
            return authority.enrol(*asked).subject.rfc4514_string()
        except EnrolmentRefused as error:
            return str(error)

    with ThreadPoolExecutor(len(asked)) as pool:
        answers = list(pool.map(enrol, asked))
    assert sum(f"CN={STATION}" in answer for answer in answers) == 1
    assert sum(f"{STATION} is device" in answer for answer in answers) == len(devices) - 1


def test_a_token_bound_to_a_key_or_a_name_serves_no_other(site: Site, authority: Authority, make: Make) -> None:
    identity = make("device")
    with pytest.raises(EnrolmentRefused, match="this is"):
        authority.enrol(request_of(identity), site.token(identity="ab" * 32))
    with pytest.raises(EnrolmentRefused, match="the request is another's"):
        authority.enrol(request_of(identity, station="filler-9"), site.token())
    with pytest.raises(EnrolmentRefused, match="the request is another's"):
        authority.enrol(request_of(identity, line="line-9"), site.token())
    authority.enrol(request_of(identity), site.token(identity=device_id(identity.public_der)))


def test_an_expired_or_foreign_token_is_refused(site: Site, authority: Authority, make: Make, tmp_path: Path) -> None:
    identity, foreign = make("device"), Site(tmp_path / "foreign")
    with pytest.raises(EnrolmentRefused, match="nobody's in the trust store"):
        authority.enrol(request_of(identity), foreign.token())
    token, in_two_hours = site.token(), datetime.now(UTC) + timedelta(hours=2)
    with site.open(lambda: in_two_hours) as later, pytest.raises(RequestRefused, match="was good until"):
        later.enrol(request_of(identity), token)
    with pytest.raises(EnrolmentRefused, match="not a token"):
        authority.enrol(request_of(identity), b"a token")


def test_a_revoked_device_gets_nothing_more_and_its_name_is_free(site: Site, authority: Authority, make: Make) -> None:
    old, new, token = make("old"), make("new"), site.token()
    certificate = read_certificate(_der(authority.enrol(request_of(old), token)), Usage.IDENTITY, site.anchors, "x")
    with pytest.raises(EnrolmentRefused, match=f"{STATION} is device {certificate.subject.id[:16]}; revoke"):
        authority.enrol(request_of(new), site.token())
    with site.open() as at_the_desk:
        at_the_desk.revoke(certificate.subject.id, "broken", "a.person")
        with pytest.raises(RequestRefused, match="no device"):
            at_the_desk.revoke(device_id(new.public_der), "broken", "a.person")
    with pytest.raises(EnrolmentRefused, match="is revoked"):
        new_client_key(old, certificate, authority, site.anchors, 0.0)
    for again in (token, site.token()):
        with pytest.raises(EnrolmentRefused, match="is revoked"):
            authority.enrol(request_of(old), again)
    authority.enrol(request_of(new), site.token())


def test_a_short_lived_certificate_takes_the_identity_key_and_a_new_key(
    site: Site, authority: Authority, make: Make
) -> None:
    identity, other = make("device"), make("other")
    certificate = enrolled(site, authority, identity)
    private = generate_private_key(SECP256R1())
    request = _request(private, certificate.subject)
    with pytest.raises(EnrolmentRefused, match="not signed by the key"):
        authority.reenrol(request, certificate.der, other.sign(reenrolment(request)))
    with pytest.raises(EnrolmentRefused, match="not signed by the key"):
        authority.reenrol(request, certificate.der, identity.sign(request))
    own = request_of(identity)
    with pytest.raises(EnrolmentRefused, match="not for a new key"):
        authority.reenrol(own, certificate.der, identity.sign(reenrolment(own)))
    named = _request(private, Subject("filler-9", LINE, certificate.subject.id))
    with pytest.raises(EnrolmentRefused, match="not for a new key"):
        authority.reenrol(named, certificate.der, identity.sign(reenrolment(named)))
    signature = identity.sign(reenrolment(request))
    client = authority.reenrol(request, certificate.der, signature)
    with pytest.raises(EnrolmentRefused, match="was used before"):
        authority.reenrol(request, certificate.der, signature)
    fresh = _request(generate_private_key(SECP256R1()), certificate.subject)
    with pytest.raises(EnrolmentRefused, match="not a certificate for identity"):
        authority.reenrol(fresh, _der(client), identity.sign(reenrolment(fresh)))


def test_another_authoritys_identity_is_refused(site: Site, authority: Authority, make: Make, tmp_path: Path) -> None:
    identity, foreign = make("device"), Site(tmp_path / "foreign")
    with foreign.serving() as other:
        certificate = enrolled(foreign, other, identity)
    with pytest.raises(EnrolmentRefused, match="not issued by this authority"):
        new_client_key(identity, certificate, authority, site.anchors, 0.0)


def test_the_device_talks_to_the_authority_of_its_anchor_only(
    site: Site, authority: Authority, make: Make, tmp_path: Path
) -> None:
    foreign = Site(tmp_path / "foreign")
    with pytest.raises(ExchangeFailed, match="not the authority of this anchor"):
        Authority(authority.url, server_tls(foreign.anchors)).enrol(request_of(make("device")), site.token())
    with pytest.raises(ExchangeFailed, match="write https"):
        Authority(authority.url.replace("https", "http"), site.tls()).authorities()


def _bodies() -> Iterator[tuple[str, dict[str, str], bytes, int]]:
    right = {"Content-Type": est.REQUEST_TYPE, "Authorization": f"{est.TOKEN_SCHEME} {encoded(b'token')}"}
    yield est.ENROL, {}, b"", 401
    yield est.ENROL, right | {"Authorization": f"{est.TOKEN_SCHEME} ++"}, b"", 401
    yield est.ENROL, right | {"Authorization": f"{est.IDENTITY_SCHEME} {encoded(b'a')}.{encoded(b'b')}"}, b"", 401
    yield est.ENROL, right | {"Content-Type": "text/plain"}, b"AA==", 415
    yield est.ENROL, right | {"Content-Length": "99999999"}, b"", 413
    yield est.ENROL, right, b"A", 400
    yield est.ENROL, right, base64.b64encode(b"no request"), 403
    yield est.REENROL, right, b"AA==", 401
    yield f"{est.ROOT}/serverkeygen", right, b"AA==", 404


def test_what_is_no_request_is_answered_in_one_line_and_nothing_hangs(site: Site, authority: Authority) -> None:
    host, port, _ = place_of(authority.url)
    with socket.create_connection((host, port)):
        for path, headers, body, wanted in _bodies():
            status, _, answer = _ask(site, authority, "POST", path, body, headers)
            assert (path, headers, status, answer.count(b"\n")) == (path, headers, wanted, 1)
        assert _ask(site, authority, "PUT", est.ENROL)[0] == 501
    assert authority.authorities() == site.anchors


def test_the_authority_is_bound_to_loopback_unless_told(site: Site) -> None:
    with site.open() as authority:
        server = AuthorityServer(authority)
        with serving(server):
            assert server.server_address[0] == "127.0.0.1"


def _request(private: object, subject: Subject) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(name_of(subject))
    return builder.sign(private, SHA256()).public_bytes(Encoding.DER)


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def _openssl(*words: str) -> str:
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def _ask(
    site: Site, authority: Authority, method: str, path: str, body: bytes | None = None, headers: dict | None = None
) -> tuple[int, http.client.HTTPMessage, bytes]:
    host, port, _ = place_of(authority.url)
    with closing(http.client.HTTPSConnection(host, port, timeout=20.0, context=site.tls())) as connection:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
