"""What enrolment left in `identity/` of the state folder, and how it is used. It is public; the key is in the TPM.

certificate.pem  the identity certificate        authority.pem  certificates that sign devices' and the authority's
root.json        the first root of the fleet     enrolment.json who, when, where: written last, so it says all is there
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cryptography import x509
from msgspec import Meta, Struct

from signing.certificates import DeviceCertificate, Usage, read_authorities, read_certificate
from signing.errors import DocumentInvalid, KeyRefused, SigningError
from signing.est import Authority, server_tls
from signing.identity import Identity, Kind, open_identity
from signing.manifest import Sha256Hex, strict_json
from signing.short_lived import Credentials

FOLDER = "identity"
CERTIFICATE, AUTHORITY, ROOT, RECORD = "certificate.pem", "authority.pem", "root.json", "enrolment.json"
LARGEST = 1_048_576

_Text = Annotated[str, Meta(max_length=400)]


class NotEnrolled(SigningError):
    """This device has no identity, or a damaged one: enrol it (again)."""


class Record(Struct, frozen=True, forbid_unknown_fields=True, tag_field="document", tag="enrolment", kw_only=True):
    """`authority`: its URL, "" where the certificate came on a stick. `floor`: versions that were the newest then."""

    format: Literal[1] = 1
    device: _Text
    line: _Text
    id: Sha256Hex
    authority: _Text
    identity: Kind
    tpm: _Text
    floor: _Text
    by: _Text
    reason: _Text
    utc: _Text


@dataclass(frozen=True, slots=True)
class Enrolled:
    """An enrolled device. `root`: the first root of the fleet's metadata, as two people brought it."""

    folder: Path
    record: Record
    certificate: DeviceCertificate
    anchors: tuple[x509.Certificate, ...]
    root: bytes


def read_enrolled(folder: Path) -> Enrolled:
    """Read the folder and see that it is whole. Called by uplink at start, and by everything that shows the identity.

    Raises:
        NotEnrolled: there is nothing, or it does not fit together.
    """
    try:
        record = strict_json(_read(folder / RECORD), Record, str(folder / RECORD))
        anchors = read_authorities(_read(folder / AUTHORITY), str(folder / AUTHORITY))
        where = str(folder / CERTIFICATE)
        certificate = read_certificate(_read(folder / CERTIFICATE), Usage.IDENTITY, anchors, where)
    except (DocumentInvalid, SigningError) as error:
        if isinstance(error, NotEnrolled):
            raise
        raise NotEnrolled(f"{error} (`linewarden enroll --again`)") from error
    if (certificate.subject.device, certificate.subject.id) != (record.device, record.id):
        raise NotEnrolled(f"{folder}: certificate and record are of two devices; enrol again with --again")
    return Enrolled(folder, record, certificate, anchors, _read(folder / ROOT))


def own_identity(enrolled: Enrolled, *, production: bool) -> Identity:
    """Open the key that the certificate names.

    Raises:
        KeyRefused: it is not there, or it is another one by now.
    """
    record = enrolled.record
    identity = open_identity(record.identity, enrolled.folder, record.tpm, production=production)
    if identity.public_der == enrolled.certificate.public_der:
        return identity
    identity.close()
    raise KeyRefused("the identity key is not the one that was enrolled (a cleared TPM?); `linewarden enroll --again`")


def credentials(enrolled: Enrolled, identity: Identity, servers: Sequence[x509.Certificate]) -> Credentials | None:
    """Return what is shown to servers that `servers` (none = the system's authorities) certified; None without an
    authority to ask.

    Raises:
        ExchangeFailed: the authority's URL on record is none.
    """
    if not enrolled.record.authority:
        return None
    authority = Authority(enrolled.record.authority, server_tls(enrolled.anchors))
    return Credentials(identity, enrolled.certificate, authority, enrolled.anchors, servers)


def encoded_record(record: Record) -> bytes:
    """Return `enrolment.json`."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except FileNotFoundError as error:
        raise NotEnrolled(f"{path}: not there; this device is not enrolled: `linewarden enroll`") from error
    except OSError as error:
        raise NotEnrolled(f"{path}: {error.strerror}; make it readable") from error
    if len(raw) > LARGEST:
        raise NotEnrolled(f"{path}: longer than {LARGEST} bytes; enrol again with --again")
    return raw
