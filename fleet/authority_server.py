"""The small authority over HTTPS: the EST paths of RFC 7030 that devices use (docs/interfaces/enrolment.md).

Its own TLS key lives in memory and is certified anew at each start and each day, as the revocation list is: both hold
for a month, and this may run for years. No request is logged: the first one of a device carries a secret.
"""

import base64
import binascii
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding

from fleet import issuing
from fleet.authority import AuthorityUnusable, RequestRefused, SmallAuthority
from fleet.errors import FleetError
from signing import est
from signing.key_file import private_pem

LOOPBACK = "127.0.0.1"
TIMEOUT_S = 10.0
WHOLE_S = 60.0
RENEWED = timedelta(days=1)
MOST_AT_ONCE = 32


class _Refused(Exception):
    """A request that is answered with `status` and one line."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class AuthorityServer(ThreadingHTTPServer):
    """One authority at one address. TLS hands are shaken in the connection's own thread, with a time limit."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = MOST_AT_ONCE

    def __init__(self, authority: SmallAuthority, host: str = LOOPBACK, port: int = 0) -> None:
        """Listen. `host`: what devices call it by, and what it is bound to; port 0 = a free one.

        Raises:
            AuthorityUnusable: the address cannot be bound.
        """
        self.authority, self._room = authority, threading.BoundedSemaphore(MOST_AT_ONCE)
        self._host, self._tls, self._renewed = host, _tls(authority, host), authority.now()
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise AuthorityUnusable(f"{host}:{port}: {error.strerror}; name another address") from error
        self.url = f"https://{host}:{self.server_address[1]}"

    def service_actions(self) -> None:
        """Renew what grows old. Called by the library between requests."""
        now = self.authority.now()
        if now - self._renewed >= RENEWED:
            self._tls, self._renewed = _tls(self.authority, self._host), now
            with suppress(FleetError):
                self.authority.write_revocations()

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        connection.settimeout(TIMEOUT_S)
        return self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Refuse what is more than the threads there may be."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        end = threading.Timer(WHOLE_S, _hang_up, [request])
        end.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            end.cancel()
            end.join()
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a connection that broke off is the device's to repeat."""


@contextmanager
def serving(server: AuthorityServer) -> Iterator[str]:
    """Yield the server's URL while it serves in a thread of its own."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="authority")
    thread.start()
    try:
        yield server.url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: AuthorityServer
    protocol_version = "HTTP/1.0"
    server_version, sys_version = "Linewarden", ""
    timeout = TIMEOUT_S

    def do_GET(self) -> None:  # noqa: N802 - the library's name
        self._answer({est.CACERTS: self._cacerts})

    def do_POST(self) -> None:  # noqa: N802 - the library's name
        self._answer({est.ENROL: self._enrol, est.REENROL: self._reenrol})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Nothing."""

    def _answer(self, leaves: dict[str, Any]) -> None:
        try:
            if self.path not in leaves:
                raise _Refused(HTTPStatus.NOT_FOUND, "no such path; see docs/interfaces/enrolment.md")
            found: x509.Certificate = leaves[self.path]()
            self._send(HTTPStatus.OK, est.CERTS_ONLY, est.certs_only([found]))
        except _Refused as error:
            self._send(error.status, "text/plain", f"{error}\n".encode())
        except RequestRefused as error:
            self._send(HTTPStatus.FORBIDDEN, "text/plain", f"{error}\n".encode())
        except FleetError:
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", b"the authority cannot work now; try later\n")

    def _cacerts(self) -> x509.Certificate:
        return self.server.authority.certificate

    def _enrol(self) -> x509.Certificate:
        (token,) = self._authorization(est.TOKEN_SCHEME, 1)
        return self.server.authority.enrol(self._request(), token)

    def _reenrol(self) -> x509.Certificate:
        identity, signature = self._authorization(est.IDENTITY_SCHEME, 2)
        return self.server.authority.reenrol(self._request(), identity, signature)

    def _authorization(self, scheme: str, parts: int) -> list[bytes]:
        given, _, value = self.headers.get("Authorization", "").partition(" ")
        try:
            found = [est.decoded(part) for part in value.split(".")]
        except (ValueError, binascii.Error):
            found = []
        if given != scheme or len(found) != parts:
            raise _Refused(HTTPStatus.UNAUTHORIZED, f"this needs authorization by {scheme}")
        return found

    def _request(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if self.headers.get_content_type() != est.REQUEST_TYPE:
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send {est.REQUEST_TYPE}")
        if not length.isdecimal() or int(length) > est.LARGEST_BODY:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"send at most {est.LARGEST_BODY} bytes")
        try:
            return base64.b64decode(self.rfile.read(int(length)))
        except (ValueError, binascii.Error) as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, "send the request in base64") from error

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status is HTTPStatus.OK:
            self.send_header("Content-Transfer-Encoding", "base64")
        if status is HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", f"{est.TOKEN_SCHEME}, {est.IDENTITY_SCHEME}")
        self.end_headers()
        self.wfile.write(body)


def _hang_up(connection: socket.socket) -> None:
    """End a connection that is still open: each byte in time is not a request in time."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _tls(authority: SmallAuthority, host: str) -> ssl.SSLContext:
    key = generate_private_key(SECP256R1())
    own = issuing.server(authority.issuer(), host, key.public_key())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    fd = os.memfd_create("authority-server-key", os.MFD_CLOEXEC)
    with os.fdopen(fd, "wb") as file:
        file.write(private_pem(key) + own.public_bytes(Encoding.PEM))
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    return context
