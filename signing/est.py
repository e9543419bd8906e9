"""Enrolment over HTTPS: the device's half of docs/interfaces/enrolment.md (the paths and bodies of EST, RFC 7030).

The connection shows who the authority is, never who the device is: a key in a TPM cannot make a TLS connection here. A
first request therefore carries the token of two people, a later one a signature of the identity key.
"""

import base64
import http.client
import socket
import ssl
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import load_der_pkcs7_certificates, serialize_certificates

from signing.errors import SigningError

ROOT = "/.well-known/est"
CACERTS, ENROL, REENROL = f"{ROOT}/cacerts", f"{ROOT}/simpleenroll", f"{ROOT}/simplereenroll"
REQUEST_TYPE = "application/pkcs10"
ANSWER_TYPE = "application/pkcs7-mime"
CERTS_ONLY = f"{ANSWER_TYPE}; smime-type=certs-only"
TOKEN_SCHEME, IDENTITY_SCHEME = "Linewarden-Token", "Linewarden-Identity"
LARGEST_BODY = 65_536
TIMEOUT_S = 20.0
WHOLE_S = 40.0
_REENROL_MARK = b"linewarden re-enrolment 1\n"
_SHOWN = 300


class ExchangeFailed(SigningError):
    """The authority was not reached or gave no answer: try again later, nothing has changed."""


class EnrolmentRefused(SigningError):
    """The authority said no; the text is its own."""


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority over HTTPS. `tls` holds its anchors."""

    url: str
    tls: ssl.SSLContext

    def authorities(self) -> tuple[x509.Certificate, ...]:
        """Return the authority's own certificates.

        Raises:
            ExchangeFailed, EnrolmentRefused.
        """
        return certificates_in(self._exchange("GET", CACERTS, None, ""), self.url)

    def enrol(self, request: bytes, token: bytes) -> x509.Certificate:
        """Have the identity key certified: `request` is PKCS#10 in DER, `token` as the publishers made it.

        Raises:
            ExchangeFailed, EnrolmentRefused.
        """
        return self._issued(ENROL, request, f"{TOKEN_SCHEME} {encoded(token)}")

    def reenrol(self, request: bytes, identity: bytes, signature: bytes) -> x509.Certificate:
        """Have a new key certified.

        Args:
            identity: the identity certificate in DER.
            signature: of the identity key over `reenrolment(request)`.

        Raises:
            ExchangeFailed, EnrolmentRefused.
        """
        return self._issued(REENROL, request, f"{IDENTITY_SCHEME} {encoded(identity)}.{encoded(signature)}")

    def _issued(self, path: str, request: bytes, authorization: str) -> x509.Certificate:
        found = certificates_in(self._exchange("POST", path, base64.b64encode(request), authorization), self.url)
        if len(found) != 1:
            raise ExchangeFailed(f"{self.url}: answered with {len(found)} certificates instead of one")
        return found[0]

    def _exchange(self, method: str, path: str, body: bytes | None, authorization: str) -> bytes:
        host, port, prefix = place_of(self.url)
        headers = {"Authorization": authorization} if authorization else {}
        if body is not None:
            headers |= {"Content-Type": REQUEST_TYPE, "Content-Transfer-Encoding": "base64"}
        connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=self.tls)
        end = threading.Timer(WHOLE_S, _hang_up, [connection])
        end.start()
        try:
            connection.request(method, prefix + path, body, headers)
            answer = connection.getresponse()
            status, kind, raw = answer.status, answer.headers.get_content_type(), answer.read(LARGEST_BODY + 1)
        except ssl.SSLCertVerificationError as error:
            raise ExchangeFailed(f"{self.url}: not the authority of this anchor ({error.verify_message})") from error
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise ExchangeFailed(f"{self.url}: no answer ({error or type(error).__name__}); try again") from error
        finally:
            end.cancel()
            end.join()
            connection.close()
        return _judged(self.url, status, kind, raw)


def server_tls(authorities: Sequence[x509.Certificate]) -> ssl.SSLContext:
    """Return the context of a connection to a server that one of `authorities` certified; none = the system's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if authorities:
        context.load_verify_locations(cadata="".join(c.public_bytes(Encoding.PEM).decode() for c in authorities))
    else:
        context.load_default_certs()
    return context


def place_of(url: str) -> tuple[str, int | None, str]:
    """Return host, port and path of an authority's URL.

    Raises:
        ExchangeFailed: it is none that is used here.
    """
    try:
        parts = urlsplit(url)
        if (
            url.isascii()
            and parts.scheme == "https"
            and parts.hostname
            and not (parts.username or parts.query or parts.fragment)
        ):
            return parts.hostname, parts.port, parts.path.rstrip("/")
    except ValueError:
        pass
    raise ExchangeFailed(f"{url}: write https://HOST[:PORT]")


def reenrolment(request: bytes) -> bytes:
    """Return what the identity key signs to have `request` granted."""
    return _REENROL_MARK + request


def encoded(raw: bytes) -> str:
    """Return base64url without padding, as both authorization schemes want it."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    """Read what `encoded` wrote.

    Raises:
        ValueError: it is something else.
    """
    raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if encoded(raw) != text:
        raise ValueError("not base64url without padding")
    return raw


def certs_only(certificates: Sequence[x509.Certificate]) -> bytes:
    """Return certificates as the body of an answer: PKCS#7 without content and signers, in base64."""
    return base64.encodebytes(serialize_certificates(list(certificates), Encoding.DER))


def certificates_in(body: bytes, where: str) -> tuple[x509.Certificate, ...]:
    """Read what `certs_only` wrote.

    Raises:
        ExchangeFailed: it is something else.
    """
    try:
        return tuple(load_der_pkcs7_certificates(base64.b64decode(body)))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ExchangeFailed(f"{where}: answered with something else than certificates") from error


def _hang_up(connection: http.client.HTTPSConnection) -> None:
    """End an exchange in which each byte came in time and the whole did not."""
    with suppress(OSError):
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)


def _judged(url: str, status: int, kind: str, raw: bytes) -> bytes:
    if status == http.client.OK and kind == ANSWER_TYPE and len(raw) <= LARGEST_BODY:
        return raw
    if http.client.BAD_REQUEST <= status < http.client.INTERNAL_SERVER_ERROR:
        said = " ".join(raw[:_SHOWN].decode("utf-8", "replace").split())
        raise EnrolmentRefused(f"{url}: refused: {_printable(said) or status}")
    raise ExchangeFailed(f"{url}: answered with status {status} and {kind}; try again")


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
