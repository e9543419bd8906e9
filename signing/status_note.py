"""A device's status, signed by its identity (docs/interfaces/enrolment.md): DSSE, so that any place may carry it.

The envelope brings its identity certificate along, so a reader needs the authority's certificate and nothing else.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA256
from msgspec import Meta, Struct

from signing.certificates import CertificateRefused, DeviceCertificate, Subject, Usage, read_certificate
from signing.dsse import PAYLOAD_TYPE, pae, read_statement
from signing.errors import DocumentInvalid, SignatureInvalid, SigningError
from signing.identity import Identity, device_id
from signing.manifest import Sha256Hex, strict_json
from signing.public_key import public_key
from signing.statement import envelope, statement

STATUS = "https://linewarden.org/attestation/device-status/v1"
LARGEST = 1_048_576


class StatusRefused(SigningError):
    """A status is not what a device of this authority signed; it is shown as unknown."""


class _Predicate(Struct, frozen=True, forbid_unknown_fields=True):
    certificate: Annotated[str, Meta(max_length=8192)]
    status: dict[str, Any]


class _Signature(Struct, frozen=True, forbid_unknown_fields=True):
    keyid: Sha256Hex
    sig: Annotated[str, Meta(max_length=400)]


class _Envelope(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    payload: str
    payload_type: str
    signatures: Annotated[tuple[_Signature, ...], Meta(min_length=1, max_length=1)]


@dataclass(frozen=True, slots=True)
class SignedStatus:
    """What one device said of itself. When it said so is in `status`; it may be an old one that is shown again."""

    subject: Subject
    status: Mapping[str, Any]


def sign(identity: Identity, certificate: DeviceCertificate, status: Mapping[str, Any]) -> bytes:
    """Return the envelope of a status.

    Raises:
        KeyFailed: the TPM did not answer.
    """
    subject = certificate.subject
    digest = hashlib.sha256(msgspec.json.encode(status, order="deterministic")).hexdigest()
    said = {"certificate": certificate.pem.decode(), "status": dict(status)}
    payload = statement({subject.device: digest}, STATUS, said)
    return msgspec.json.encode(envelope(payload, device_id(identity.public_der), identity.sign))


def verify(raw: bytes, authorities: Sequence[x509.Certificate], now: datetime, where: str) -> SignedStatus:
    """Return a status that a device of `authorities` signed. Whether that device is revoked is the caller's to know.

    Raises:
        StatusRefused: with the first thing that is wrong.
    """
    try:
        return _verified(raw, authorities, now, where)
    except (DocumentInvalid, SignatureInvalid, CertificateRefused) as error:
        raise StatusRefused(str(error)) from error
    except (ValueError, InvalidSignature) as error:
        raise StatusRefused(f"{where}: its signature is not that of its certificate; the status is unknown") from error


def _verified(raw: bytes, authorities: Sequence[x509.Certificate], now: datetime, where: str) -> SignedStatus:
    if len(raw) > LARGEST:
        raise DocumentInvalid(f"{where}: longer than {LARGEST} bytes; the status is unknown")
    found = strict_json(raw, _Envelope, where)
    payload, signature = (base64.b64decode(text, validate=True) for text in (found.payload, found.signatures[0].sig))
    # The certificate is in the payload, so this is read before the signature is checked: strictly, and not used yet.
    said = read_statement(payload, STATUS, _Predicate, where).predicate
    certificate = read_certificate(said.certificate.encode(), Usage.IDENTITY, authorities, where)
    if not certificate.holds_at(now):
        raise CertificateRefused(f"{where}: the device's certificate does not hold now; enrol it again")
    if found.payload_type != PAYLOAD_TYPE or found.signatures[0].keyid != certificate.subject.id:
        raise DocumentInvalid(f"{where}: not a status of the device whose certificate it brings")
    public_key(certificate.public_der).verify(signature, pae(payload), ECDSA(SHA256()))
    return SignedStatus(certificate.subject, said.status)
