"""TLS client certificates for a key that exists in this process's memory alone, renewed by the device's identity.

A key in a TPM cannot make a TLS connection through Python's ssl without a provider that changes the whole process. So
each life of uplink makes a key, has it certified for a day with a request that the identity key signs (signing/est.py),
and hands it to OpenSSL through a memfd. Nothing of it touches the disk; keep swap off or encrypted.
"""

import contextlib
import os
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from signing.certificates import CertificateRefused, DeviceCertificate, Usage, name_of, read_certificate
from signing.errors import KeyFailed
from signing.est import Authority, EnrolmentRefused, ExchangeFailed, reenrolment, server_tls
from signing.identity import Identity
from signing.key_file import private_pem

RENEWED_AT = 2 / 3
# Between two attempts while the certificate at hand still holds: an authority that is away is not asked every minute.
PAUSE_S = 300.0


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A key and its certificate, got at `got_s` (CLOCK_BOOTTIME) for `life_s`."""

    certificate: DeviceCertificate
    private_pem: bytes = field(repr=False)
    got_s: float
    life_s: float

    def is_due(self, now_s: float) -> bool:
        """Return whether it is time for the next one."""
        return now_s >= self.got_s + RENEWED_AT * self.life_s

    def is_over(self, now_s: float) -> bool:
        """Return whether servers refuse it by now."""
        return now_s >= self.got_s + self.life_s


def new_client_key(
    identity: Identity,
    certificate: DeviceCertificate,
    authority: Authority,
    anchors: Sequence[x509.Certificate],
    now_s: float,
) -> ClientKey:
    """Make a key and have the authority certify it, now, for the device whose identity `certificate` is.

    Raises:
        ExchangeFailed: the authority was not reached; the old key may go on.
        EnrolmentRefused, CertificateRefused: it was, and this device gets none.
        KeyFailed: the TPM did not answer.
    """
    if certificate.public_der != identity.public_der:
        raise CertificateRefused("the certificate is not of this device's key (a cleared TPM?); enrol it again")
    private = generate_private_key(SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(name_of(certificate.subject))
    request = builder.sign(private, SHA256()).public_bytes(Encoding.DER)
    issued = authority.reenrol(request, certificate.der, identity.sign(reenrolment(request)))
    found = read_certificate(issued.public_bytes(Encoding.DER), Usage.CLIENT, anchors, authority.url)
    if found.subject != certificate.subject or found.issued.public_key() != private.public_key():
        raise CertificateRefused(f"{authority.url}: answered with a certificate of another device or key")
    life = found.issued.not_valid_after_utc - found.issued.not_valid_before_utc
    return ClientKey(found, private_pem(private), now_s, life.total_seconds())


def client_tls(key: ClientKey, servers: Sequence[x509.Certificate]) -> ssl.SSLContext:
    """Return the context of connections that show this key's certificate, to servers that `servers` certified."""
    context = server_tls(servers)
    fd = os.memfd_create("client-key", os.MFD_CLOEXEC)
    with os.fdopen(fd, "wb") as file:
        file.write(key.private_pem + key.certificate.pem)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    return context


def boot_clock() -> float:
    """Return seconds that no clock setting moves and that go on while the computer sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Credentials:
    """What uplink shows to servers. One thread; asked before each piece of work with the network."""

    def __init__(
        self,
        identity: Identity,
        certificate: DeviceCertificate,
        authority: Authority,
        anchors: Sequence[x509.Certificate],
        servers: Sequence[x509.Certificate],
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        """Begin without a key. `anchors` certify devices, `servers` the servers talked to (none = the system's)."""
        self._identity, self._certificate, self._authority = identity, certificate, authority
        self._anchors, self._servers = tuple(anchors), tuple(servers)
        self._clock = clock
        self._key: ClientKey | None = None
        self._context: ssl.SSLContext | None = None
        self._not_before_s = 0.0

    @property
    def key(self) -> ClientKey | None:
        """The key in use, None before the first."""
        return self._key

    def context(self) -> ssl.SSLContext:
        """Return the context to use now; the same one until the certificate is renewed, at 2/3 of its life.

        Raises:
            ExchangeFailed, KeyFailed: there is none that still holds, and the authority or TPM does not answer now.
            EnrolmentRefused, CertificateRefused: this device gets none; a person must look.
        """
        now = self._clock()
        if self._key is not None and self._context is not None and not self._key.is_over(now):
            if self._key.is_due(now) and now >= self._not_before_s:
                self._not_before_s = now + PAUSE_S
                with contextlib.suppress(ExchangeFailed, KeyFailed):
                    return self._renewed()
            return self._context
        return self._renewed()

    def forget(self) -> None:
        """Let go of the key: a server refused it, so the next call asks for another."""
        self._key = self._context = None

    def _renewed(self) -> ssl.SSLContext:
        try:
            key = new_client_key(self._identity, self._certificate, self._authority, self._anchors, self._clock())
        except (EnrolmentRefused, CertificateRefused):
            self.forget()
            raise
        self._key, self._context = key, client_tls(key, self._servers)
        self._not_before_s = 0.0
        return self._context
