"""A small certificate authority for tests and small sites: its rules and its own files (docs/interfaces/enrolment.md).

Folder: `authority.pem` (its certificate, the anchor of devices), `private/authority-key.pem` (a marked development key:
a site with a real authority puts that in place of this one), `books.sqlite`, `authority.crl.pem` for servers that take
client certificates. Everything a device may cause goes through `enrol` and `reenrol`.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fleet import issuing
from fleet.authority_books import Books, Issued, NotIssued, Revoked
from fleet.errors import FleetError
from signing.certificates import CertificateRefused, Subject, Usage, read_certificate, subject_of
from signing.durable import write_durably
from signing.enrolment_token import OpenedToken, TokenRefused, open_token
from signing.errors import KeyRefused, SigningError
from signing.est import reenrolment
from signing.identity import DeviceId, device_id
from signing.key_file import development_key
from signing.keyring import load_trust
from signing.public_key import public_key

CERTIFICATE, BOOKS, REVOCATIONS = "authority.pem", "books.sqlite", "authority.crl.pem"
PRIVATE = Path("private", "authority-key.pem")
IDENTITY_LIFE = timedelta(days=3650)
CLIENT_LIFE = timedelta(hours=24)


class RequestRefused(FleetError):
    """A device gets no certificate; the text is what it is told."""


class AuthorityUnusable(FleetError):
    """The authority's folder cannot be used; the text says where and what to do."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class _Request:
    subject: Subject
    public_der: bytes


@dataclass(frozen=True, slots=True)
class SmallAuthority:
    """An authority in use. `trust` is the file with the people whose tokens count, read anew for each of them."""

    folder: Path
    key: EllipticCurvePrivateKey
    certificate: x509.Certificate
    books: Books
    trust: Path
    client_life: timedelta = CLIENT_LIFE
    now: Callable[[], datetime] = _utc_now

    def enrol(self, request: bytes, token: bytes) -> x509.Certificate:
        """Certify an identity key: once for each token. The same key with the same token gets the same certificate,
        so that a device whose power went before it had the answer can ask again.

        Raises:
            RequestRefused: and nothing was issued.
            BooksUnusable.
        """
        asked = _read(request)
        device = device_id(asked.public_der)
        opened = self._opened(token)
        claims = opened.claims
        if (spent := self.books.issued_for_token(claims.nonce_sha256)) is not None:
            return self._again(device, spent)
        if asked.subject != Subject(claims.station, claims.line, device):
            raise RequestRefused(f"the token is for {claims.station} on {claims.line}, the request is another's")
        if claims.identity not in ("", device):
            raise RequestRefused(f"the token is for device {claims.identity[:16]}, this is {device[:16]}")
        return self._issue(asked, Usage.IDENTITY, opened)

    def reenrol(self, request: bytes, identity: bytes, signature: bytes) -> x509.Certificate:
        """Certify a short-lived key for the device whose identity key signed the request. A key is certified once:
        a request that was overheard is worth nothing later.

        Raises:
            RequestRefused: and nothing was issued.
            BooksUnusable.
        """
        asked = _read(request)
        try:
            held = read_certificate(identity, Usage.IDENTITY, [self.certificate], "the identity certificate")
            public_key(held.public_der).verify(signature, reenrolment(request), ECDSA(SHA256()))
        except CertificateRefused as error:
            raise RequestRefused(str(error)) from error
        except InvalidSignature as error:
            raise RequestRefused("the request is not signed by the key of the identity certificate") from error
        if not held.holds_at(self.now()):
            raise RequestRefused("the identity certificate does not hold now; enrol the device again")
        if asked.subject != held.subject or asked.public_der == held.public_der:
            raise RequestRefused("the request is not for a new key of this device")
        return self._issue(asked, Usage.CLIENT, None)

    def revoke(self, device: DeviceId, reason: str, by: str) -> None:
        """Let a device have no certificate any more, and refuse those it has: the revocation list is written anew.

        Raises:
            RequestRefused: no such device.  AuthorityUnusable: the list is not written; the books know already.
            BooksUnusable.
        """
        if not self.books.issued_to(device):
            raise RequestRefused(f"no device {device} was enrolled here")
        self.books.revoke(Revoked(device, reason, by, self.now()))
        self.write_revocations()

    def write_revocations(self) -> None:
        """Write the revocation list, valid for a month. Called at each start and each revocation.

        Raises:
            AuthorityUnusable: the folder cannot be written.  BooksUnusable.
        """
        listed: list[tuple[int, datetime]] = []
        for entry in self.books.revoked():
            listed += [(issued.serial, entry.utc) for issued in self.books.issued_to(entry.device_id)]
        made = issuing.revocation_list(self.issuer(), listed)
        try:
            write_durably(self.folder / REVOCATIONS, made.public_bytes(Encoding.PEM))
        except OSError as error:
            raise AuthorityUnusable(f"{self.folder}: {error.strerror}; make it writable") from error

    def issuer(self) -> issuing.Issuer:
        """Return what signs certificates, now."""
        return issuing.Issuer(self.key, self.certificate, self.now())

    def close(self) -> None:
        """Close the books."""
        self.books.close()

    def _opened(self, token: bytes) -> OpenedToken:
        try:
            return open_token(token, load_trust(self.trust, production=False), self.now())
        except TokenRefused as error:
            raise RequestRefused(str(error)) from error
        except SigningError as error:
            raise AuthorityUnusable(str(error)) from error

    def _again(self, device: DeviceId, spent: Issued) -> x509.Certificate:
        if spent.device_id != device:
            raise RequestRefused("this token was used by another device; have a new one made")
        if self.books.is_revoked(device):
            raise RequestRefused(f"device {device[:16]} is revoked; a revoked device stays out")
        return x509.load_der_x509_certificate(spent.certificate)

    def _issue(self, asked: _Request, usage: Usage, token: OpenedToken | None) -> x509.Certificate:
        issuer = self.issuer()
        life = IDENTITY_LIFE if usage is Usage.IDENTITY else self.client_life
        made = issuing.certificate(issuer, asked.subject, asked.public_der, usage, life)
        subject = asked.subject
        entry = Issued(
            serial=made.serial_number,
            device_id=subject.id,
            device=subject.device,
            line=subject.line,
            usage=usage.name,
            key_sha256=hashlib.sha256(asked.public_der).hexdigest(),
            expires=made.not_valid_after_utc,
            utc=issuer.now,
            certificate=made.public_bytes(Encoding.DER),
        )
        try:
            self.books.record(entry, *((token.claims.nonce_sha256, token.let_in_by) if token else ()))
        except NotIssued as error:
            raise RequestRefused(str(error)) from error
        return made


def found_authority(folder: Path, name: str, now: datetime) -> None:
    """Make an authority in an empty or new folder.

    Raises:
        AuthorityUnusable: there is one already, or the folder cannot be written.
    """
    if (folder / CERTIFICATE).exists():
        raise AuthorityUnusable(f"{folder}: there is an authority already; its devices would be lost with it")
    try:
        (folder / PRIVATE).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = development_key(folder / PRIVATE, make=True, missing="")
        write_durably(folder / CERTIFICATE, issuing.root(key, name, now).public_bytes(Encoding.PEM))
    except OSError as error:
        raise AuthorityUnusable(f"{folder}: {error.strerror}; name a folder that can be written") from error
    except KeyRefused as error:
        raise AuthorityUnusable(str(error)) from error


def open_authority(
    folder: Path, trust: Path, *, client_life: timedelta = CLIENT_LIFE, now: Callable[[], datetime] = _utc_now
) -> SmallAuthority:
    """Open an authority. `trust` is trust.json with the people who may let devices in.

    Raises:
        AuthorityUnusable, BooksUnusable: it cannot be used.
    """
    try:
        key = development_key(folder / PRIVATE, make=False, missing="bring it back from a backup")
        own = x509.load_pem_x509_certificate((folder / CERTIFICATE).read_bytes())
    except (OSError, ValueError, KeyRefused) as error:
        raise AuthorityUnusable(f"{folder}: no authority: {error}; make one with `linewarden-fleet`") from error
    if own.public_key() != key.public_key():
        raise AuthorityUnusable(
            f"{folder}: key and certificate are not of one authority; bring them back from a backup"
        )
    made = SmallAuthority(folder, key, own, Books(folder / BOOKS), trust, client_life, now)
    os.chmod(folder / BOOKS, 0o600)
    try:
        made.write_revocations()
    except BaseException:
        made.close()
        raise
    return made


def _read(request: bytes) -> _Request:
    try:
        pem = request.lstrip().startswith(b"-----BEGIN")
        found = x509.load_pem_x509_csr(request) if pem else x509.load_der_x509_csr(request)
        public = found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        public_key(public)
        if not found.is_signature_valid:
            raise RequestRefused("the request is not signed by its own key")
        return _Request(subject_of(found.subject), public)
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise RequestRefused("not a PKCS#10 request") from error
    except (KeyRefused, CertificateRefused) as error:
        raise RequestRefused(f"the request: {error}") from error
