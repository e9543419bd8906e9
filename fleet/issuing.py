"""Certificates and revocation lists as the small authority makes them. Pure but for serial numbers."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from signing.certificates import Subject, Usage, name_of
from signing.public_key import public_key

ROOT_LIFE = timedelta(days=7300)
SERVER_LIFE = timedelta(days=30)
LIST_LIFE = timedelta(days=31)
# A device's clock may be behind the authority's.
BACKDATED = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Issuer:
    """The authority at a moment."""

    key: EllipticCurvePrivateKey
    certificate: x509.Certificate
    now: datetime


def root(key: EllipticCurvePrivateKey, name: str, now: datetime) -> x509.Certificate:
    """Return the authority's own certificate."""
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = _key_usage(signs_certificates=True)
    builder = _builder(own, own, key.public_key(), now, ROOT_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.add_extension(usage, critical=True).sign(key, SHA256())


def certificate(issuer: Issuer, subject: Subject, public_der: bytes, usage: Usage, life: timedelta) -> x509.Certificate:
    """Return a device's certificate."""
    return _leaf(issuer, name_of(subject), public_key(public_der), usage.value, life).sign(issuer.key, SHA256())


def server(issuer: Issuer, host: str, public: EllipticCurvePublicKey) -> x509.Certificate:
    """Return a certificate for a server's name or address."""
    try:
        name: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        name = x509.DNSName(host)
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    builder = _leaf(issuer, own, public, ExtendedKeyUsageOID.SERVER_AUTH, SERVER_LIFE)
    return builder.add_extension(x509.SubjectAlternativeName([name]), critical=False).sign(issuer.key, SHA256())


def revocation_list(issuer: Issuer, listed: Iterable[tuple[int, datetime]]) -> x509.CertificateRevocationList:
    """Return the revocation list: serial numbers and since when."""
    now = issuer.now
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject)
    builder = builder.last_update(now - BACKDATED).next_update(now + LIST_LIFE)
    for serial, since in listed:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(since).build()
        builder = builder.add_revoked_certificate(entry)
    number = x509.CRLNumber(int(now.timestamp() * 1000))
    return builder.add_extension(number, critical=False).sign(issuer.key, SHA256())


def _leaf(
    issuer: Issuer, subject: x509.Name, public: EllipticCurvePublicKey, usage: ObjectIdentifier, life: timedelta
) -> x509.CertificateBuilder:
    builder = _builder(subject, issuer.certificate.subject, public, issuer.now, life)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    return builder.add_extension(above, critical=False)


def _builder(
    subject: x509.Name, issuer: x509.Name, public: EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - BACKDATED).not_valid_after(now + life)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
