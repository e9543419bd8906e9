"""How uplink reaches servers and who it is to them: the enrolled identity, its short-lived certificate, connections.

Everything is opened when it is first needed, so a device that is enrolled later needs no restart.
"""

import os
import ssl
from pathlib import Path

from cryptography import x509

from daemon.config_updates import Updates
from daemon.uplink.loop import Advance
from daemon.uplink.web import Web, open_web
from signing.certificates import read_authorities
from signing.enrolled import FOLDER, RECORD, Enrolled, NotEnrolled, credentials, own_identity, read_enrolled
from signing.errors import SigningError
from signing.est import server_tls
from signing.http_fetcher import HttpFetcher
from signing.identity import Identity
from signing.short_lived import Credentials
from signing.status_note import sign

CREDENTIALS, TOKEN = "CREDENTIALS_DIRECTORY", "orchestrator-token"
HTTPS = "https://"


class AccessRefused(SigningError):
    """Something that is needed to reach a server is missing here: the text says what."""


class Access:
    """Owned by the duty to update.

    Raises (all): SigningError: not enrolled, no key, or no certificate to be had; one line.
    """

    def __init__(self, updates: Updates, authority: Path | None, state: Path, *, production: bool) -> None:
        """`authority`: certificates that sign the servers', None = the system's."""
        self._updates, self._authority = updates, authority
        self._folder = state / FOLDER
        self._production = production
        self._advance: Advance | None = None
        self._read_at = 0
        self._enrolled: Enrolled | None = None
        self._identity: Identity | None = None
        self._credentials: Credentials | None = None
        self._server_only: ssl.SSLContext | None = None
        self._webs: dict[str, tuple[ssl.SSLContext | None, Web]] = {}
        self._fetcher: tuple[ssl.SSLContext | None, HttpFetcher] | None = None

    @property
    def enrolled(self) -> Enrolled:
        """Who this device is."""
        written = _written_at(self._folder / RECORD)
        if self._enrolled is None or written != self._read_at:
            self.close()
            found = read_enrolled(self._folder)
            expected, record = (self._updates.device, self._updates.line), found.record
            if (record.device, record.line) != expected:
                text = f"enrolled as {record.device} of line {record.line}, [updates] says {' of line '.join(expected)}"
                raise NotEnrolled(f"{text}: correct the station file or enrol again")
            self._enrolled, self._read_at = found, written
        return self._enrolled

    def fetcher(self) -> HttpFetcher:
        """Return the way to the repository; the same one until the certificate is renewed."""
        tls = self._tls(self._updates.repository)
        if self._fetcher is None or self._fetcher[0] is not tls:
            self._close_fetcher()
            self._fetcher = (tls, HttpFetcher(self._updates.repository, tls))
        return self._fetcher[1]

    def web(self, url: str) -> Web:
        """Return the way to the server of a small request: orchestrator or status."""
        tls = self._tls(url)
        known = self._webs.get(url)
        if known is None or known[0] is not tls:
            if known is not None:
                known[1].close()
            token = _token() if url == self._updates.orchestrator else ""
            known = self._webs[url] = (tls, open_web(tls, token, self._work_goes_on))
        return known[1]

    def attend(self, advance: Advance) -> None:
        """Take what is to be called while servers are waited for, from now on."""
        self._advance = advance

    def _work_goes_on(self) -> None:
        if self._advance is not None:
            self._advance()

    def signed(self, status: dict[str, object]) -> bytes:
        """Return a status as this device signs it."""
        return sign(self._own_identity(), self.enrolled.certificate, status)

    def close(self) -> None:
        """Let go of connections and key."""
        self._close_fetcher()
        for _, web in self._webs.values():
            web.close()
        self._webs.clear()
        if self._identity is not None:
            self._identity.close()
        self._enrolled = self._identity = self._credentials = self._server_only = None

    def _close_fetcher(self) -> None:
        if self._fetcher is not None:
            self._fetcher[1].close()
            self._fetcher = None

    def _own_identity(self) -> Identity:
        enrolled = self.enrolled
        if self._identity is None:
            self._identity = own_identity(enrolled, production=self._production)
        return self._identity

    def _tls(self, url: str) -> ssl.SSLContext | None:
        """Return what a connection shows and believes; None for plain http, which the loader lets to loopback only."""
        if not url.startswith(HTTPS):
            return None
        enrolled = self.enrolled
        if not enrolled.record.authority:
            self._server_only = self._server_only or server_tls(self._servers())
            return self._server_only
        if self._credentials is None:
            self._credentials = credentials(enrolled, self._own_identity(), self._servers())
        return self._credentials.context() if self._credentials else None

    def _servers(self) -> tuple[x509.Certificate, ...]:
        if self._authority is None:
            return ()
        try:
            return read_authorities(self._authority.read_bytes(), str(self._authority))
        except OSError as error:
            raise AccessRefused(f"{self._authority}: {error.strerror}; correct $.updates.authority") from error


def _written_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _token() -> str:
    """Return the Authorization header of the orchestrator, "" where it wants none; a systemd credential."""
    folder = os.environ.get(CREDENTIALS)
    path = Path(folder, TOKEN) if folder else None
    try:
        return f"TargetToken {path.read_text('ascii').strip()}" if path and path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise AccessRefused(f"credential {TOKEN}: cannot be read; mend the drop-in of linewarden-uplink") from error
