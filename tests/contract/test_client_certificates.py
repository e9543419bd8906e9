"""Mutual TLS on loopback with a key that exists in memory alone: whom a server lets in, and when the key is renewed."""

import os
import queue
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tuf.api.exceptions import DownloadError

from fleet.authority import REVOCATIONS
from signing.certificates import CertificateRefused
from signing.est import EnrolmentRefused, ExchangeFailed, place_of, server_tls
from signing.fetchers import TIMESTAMP
from signing.http_fetcher import HttpFetcher
from signing.identity import Identity, open_identity
from signing.short_lived import PAUSE_S, Credentials, client_tls, new_client_key
from tests.contract.enrolment_world import Site, enrolled, server_context
from tests.contract.software_tpm import needs_tpm, software_tpm

DAY_S = 24 * 3600.0


class Quiet(SimpleHTTPRequestHandler):
    """A static web server, as a repository is one."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Nothing."""


class Strict(ThreadingHTTPServer):
    """A server over TLS; `refused` says why it let somebody not in."""

    daemon_threads = False

    def __init__(self, folder: Path, tls: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        self._tls, self.refused = tls, queue.SimpleQueue[str]()
        self.url = f"https://127.0.0.1:{self.server_address[1]}"

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        try:
            return self._tls.wrap_socket(connection, server_side=True), address
        except ssl.SSLError as error:
            self.refused.put(str(error))
            raise


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


@pytest.fixture(params=["development", pytest.param("tpm", marks=needs_tpm)])
def identity(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Identity]:
    with ExitStack() as stack:
        tcti = stack.enter_context(software_tpm(tmp_path / "chip")).tcti if request.param == "tpm" else ""
        opened = open_identity(request.param, tmp_path, tcti, production=False, make=True)
        yield stack.enter_context(closing(opened))


@contextmanager
def _repository(site: Site, folder: Path) -> Iterator[Strict]:
    """Serve a folder to devices that show a certificate which holds and is not revoked."""
    (folder / "metadata").mkdir(parents=True, exist_ok=True)
    (folder / TIMESTAMP).write_bytes(b"{}")
    with site.open() as authority:
        context = server_context(site, authority, folder.parent)
    context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    context.load_verify_locations(site.folder / REVOCATIONS)
    with Strict(folder, context) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _get(server: Strict, tls: ssl.SSLContext) -> bytes:
    with closing(HttpFetcher(server.url, tls)) as fetcher:
        return fetcher.download_bytes(TIMESTAMP, 1000)


def _refused(server: Strict, tls: ssl.SSLContext) -> str:
    """Return why the server let the client not in; the client has nothing."""
    with pytest.raises(DownloadError):
        _get(server, tls)
    return server.refused.get(timeout=20.0)


@pytest.mark.clause("IEC 62443-4-2 CR 1.2")
def test_a_server_lets_in_a_device_and_nobody_else(site: Site, identity: Identity, tmp_path: Path) -> None:
    with site.serving() as authority:
        certificate = enrolled(site, authority, identity)
        key = new_client_key(identity, certificate, authority, site.anchors, 0.0)
    foreign = Site(tmp_path / "foreign")
    with foreign.serving() as other:
        stranger = new_client_key(identity, enrolled(foreign, other, identity), other, foreign.anchors, 0.0)
    with _repository(site, tmp_path / "public") as server:
        assert _get(server, client_tls(key, site.anchors)) == b"{}"
        assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in _refused(server, server_tls(site.anchors))
        assert "unable to get local issuer certificate" in _refused(server, client_tls(stranger, site.anchors))
        with pytest.raises(DownloadError, match="CERTIFICATE_VERIFY_FAILED"):
            _get(server, client_tls(key, foreign.anchors))


@pytest.mark.clause("IEC 62443-4-2 CR 1.2")
def test_a_revoked_or_expired_device_is_let_in_nowhere(site: Site, identity: Identity, tmp_path: Path) -> None:
    two_days_ago = datetime.now(UTC) - timedelta(days=2)
    with site.serving(lambda: two_days_ago) as authority:
        certificate = enrolled(site, authority, identity)
        expired = new_client_key(identity, certificate, authority, site.anchors, 0.0)
    with site.serving() as authority:
        key = new_client_key(identity, certificate, authority, site.anchors, 0.0)
    with _repository(site, tmp_path / "public") as server:
        assert _get(server, client_tls(key, site.anchors)) == b"{}"
        assert "certificate has expired" in _refused(server, client_tls(expired, site.anchors))
    with site.open() as at_the_desk:
        at_the_desk.revoke(certificate.subject.id, "stolen", "a.person")
    with _repository(site, tmp_path / "public") as server:
        assert "certificate revoked" in _refused(server, client_tls(key, site.anchors))


def test_the_key_is_renewed_at_two_thirds_of_its_life(site: Site, identity: Identity) -> None:
    now = 1000.0
    with site.serving() as authority:
        certificate = enrolled(site, authority, identity)
        held = Credentials(identity, certificate, authority, site.anchors, site.anchors, lambda: now)
        first, key = held.context(), held.key
        assert key is not None
        now += key.life_s * 2 / 3 - 1
        assert held.context() is first
        now += 2
        second = held.context()
    assert second is not first
    assert held.key is not None
    assert held.key.certificate.public_der != key.certificate.public_der


def test_without_its_authority_a_device_goes_on_until_the_certificate_ends(site: Site, identity: Identity) -> None:
    now = 1000.0
    with site.serving() as authority:
        certificate = enrolled(site, authority, identity)
        held = Credentials(identity, certificate, authority, site.anchors, site.anchors, lambda: now)
        first = held.context()
    now += DAY_S * 3 / 4
    assert held.context() is first
    now += DAY_S / 2
    with pytest.raises(ExchangeFailed, match="no answer"):
        held.context()


def test_an_authority_that_was_away_is_not_asked_at_once_again(site: Site, identity: Identity) -> None:
    now = 1000.0
    with site.serving() as authority:
        certificate = enrolled(site, authority, identity)
        held = Credentials(identity, certificate, authority, site.anchors, site.anchors, lambda: now)
        first = held.context()
    now += DAY_S * 3 / 4
    assert held.context() is first
    with site.serving(port=place_of(authority.url)[1] or 0):
        now += PAUSE_S - 1
        assert held.context() is first
        now += 2
        assert held.context() is not first


def test_a_revoked_device_loses_its_key_at_the_next_renewal(site: Site, identity: Identity) -> None:
    now = 1000.0
    with site.serving() as authority:
        certificate = enrolled(site, authority, identity)
        held = Credentials(identity, certificate, authority, site.anchors, site.anchors, lambda: now)
        held.context()
        with site.open() as at_the_desk:
            at_the_desk.revoke(certificate.subject.id, "stolen", "a.person")
        now += DAY_S * 3 / 4
        for _ in range(2):
            with pytest.raises(EnrolmentRefused, match="is revoked"):
                held.context()
    assert held.key is None


def test_a_certificate_of_another_key_is_not_used(site: Site, identity: Identity, tmp_path: Path) -> None:
    """As after TPM2_Clear: the certificate is there, its key is gone."""
    folder = tmp_path / "other"
    folder.mkdir()
    other = open_identity("development", folder, "", production=False, make=True)
    with site.serving() as authority:
        certificate = enrolled(site, authority, other)
        with pytest.raises(CertificateRefused, match="not of this device's key"):
            new_client_key(identity, certificate, authority, site.anchors, 0.0)


def test_the_private_key_is_in_no_file_and_in_no_text(site: Site, identity: Identity, tmp_path: Path) -> None:
    with site.serving() as authority:
        certificate = enrolled(site, authority, identity)
        key = new_client_key(identity, certificate, authority, site.anchors, 0.0)
    before = set(os.listdir("/proc/self/fd"))
    client_tls(key, site.anchors)
    assert set(os.listdir("/proc/self/fd")) == before
    assert "PRIVATE" not in repr(key)
    secret = key.private_pem.splitlines()[1]
    found = [path for path in tmp_path.rglob("*") if path.is_file() and secret in path.read_bytes()]
    assert found == []
