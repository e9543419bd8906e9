"""Certificates of devices (docs/interfaces/enrolment.md): what their subject says, and whose they are.

Two usages that one check tells apart: IDENTITY certifies the key in the TPM, which signs documents; CLIENT certifies a
short-lived key in memory, with which a TLS connection is made. Neither stands in for the other.
"""

import datetime
import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from signing.errors import KeyRefused, SigningError
from signing.identity import DeviceId, device_id
from signing.public_key import public_key

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
# id-kp-documentSigning, RFC 9336.
_DOCUMENT_SIGNING = ObjectIdentifier("1.3.6.1.5.5.7.3.36")
_MALFORMED = (x509.InvalidVersion, x509.DuplicateExtension)


class CertificateRefused(SigningError):
    """A certificate is not one of this device or of this authority; the text says which and what to do."""


class Usage(enum.Enum):
    """What a certificate's key may do."""

    IDENTITY = _DOCUMENT_SIGNING
    CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True, slots=True)
class Subject:
    """Name of the device, its line, its id: CN, OU, serialNumber."""

    device: str
    line: str
    id: DeviceId


@dataclass(frozen=True, slots=True)
class DeviceCertificate:
    """A certificate whose issuer and usage were checked; its dates and whether it is revoked were not."""

    subject: Subject
    public_der: bytes
    issued: x509.Certificate

    @property
    def pem(self) -> bytes:
        return self.issued.public_bytes(Encoding.PEM)

    @property
    def der(self) -> bytes:
        return self.issued.public_bytes(Encoding.DER)

    def holds_at(self, now: datetime.datetime) -> bool:
        """Return whether `now` (with a zone) is between its dates."""
        return self.issued.not_valid_before_utc <= now <= self.issued.not_valid_after_utc


def name_of(subject: Subject) -> x509.Name:
    """Return a subject as an X.509 name: OU, CN, serialNumber."""
    parts = ((NameOID.ORGANIZATIONAL_UNIT_NAME, subject.line), (NameOID.COMMON_NAME, subject.device))
    named = [x509.NameAttribute(oid, value) for oid, value in (*parts, (NameOID.SERIAL_NUMBER, subject.id))]
    return x509.Name(named)


def subject_of(name: x509.Name) -> Subject:
    """Read what `name_of` wrote.

    Raises:
        CertificateRefused: it is another name.
    """
    found = {attribute.oid: str(attribute.value) for attribute in name}
    subject = Subject(
        found.get(NameOID.COMMON_NAME, ""),
        found.get(NameOID.ORGANIZATIONAL_UNIT_NAME, ""),
        DeviceId(found.get(NameOID.SERIAL_NUMBER, "")),
    )
    if not (NAME.fullmatch(subject.device) and NAME.fullmatch(subject.line)) or name != name_of(subject):
        raise CertificateRefused(f"{name.rfc4514_string()!r} is not the name of a device")
    return subject


def read_authorities(pem: bytes, where: str) -> tuple[x509.Certificate, ...]:
    """Return the certificates of an authority file.

    Raises:
        CertificateRefused: there is none, or one of them is no authority.
    """
    try:
        found = tuple(x509.load_pem_x509_certificates(pem))
        authorities = [c.extensions.get_extension_for_class(x509.BasicConstraints).value.ca for c in found]
    except (ValueError, x509.ExtensionNotFound, *_MALFORMED) as error:
        raise CertificateRefused(f"{where}: not a PEM file with an authority's certificate; get it again") from error
    if not all(authorities):
        raise CertificateRefused(f"{where}: holds a certificate that is no authority's; get it again")
    return found


def read_certificate(
    raw: bytes, usage: Usage, authorities: Sequence[x509.Certificate], where: str
) -> DeviceCertificate:
    """Return a device's certificate (PEM or DER) that one of `authorities` issued for `usage`.

    Raises:
        CertificateRefused: it is not.
    """
    issued = _loaded(raw, where)
    if not any(_issued_by(issued, authority) for authority in authorities):
        raise CertificateRefused(f"{where}: not issued by this authority; enrol again, or name the right anchor")
    if _usages(issued) != [usage.value]:
        raise CertificateRefused(f"{where}: not a certificate for {usage.name.lower()}; enrol again")
    public = issued.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    subject = subject_of(issued.subject)
    try:
        public_key(public)
    except KeyRefused as error:
        raise CertificateRefused(f"{where}: {error}") from error
    if usage is Usage.IDENTITY and subject.id != device_id(public):
        raise CertificateRefused(f"{where}: names another device than its key is; enrol again")
    return DeviceCertificate(subject, public, issued)


def _loaded(raw: bytes, where: str) -> x509.Certificate:
    try:
        if raw.lstrip().startswith(b"-----BEGIN"):
            return x509.load_pem_x509_certificate(raw)
        return x509.load_der_x509_certificate(raw)
    except (ValueError, *_MALFORMED) as error:
        raise CertificateRefused(f"{where}: not a certificate; get it again") from error


def _issued_by(issued: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        issued.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _usages(issued: x509.Certificate) -> list[ObjectIdentifier]:
    try:
        return list(issued.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except (ValueError, x509.ExtensionNotFound, *_MALFORMED):
        return []
