"""`linewarden enroll`: give this device an identity, and with it the first things it trusts.

Every step can be done again and changes nothing then; the record of the enrolment is written last. So after a power cut
at any point the device is either enrolled or not, and the same command goes on. The token is read, sent over TLS to the
authority of the given anchor, and forgotten: it is in no file, argument or log of ours.
"""

import ssl
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from daemon import config
from daemon.config import Station
from daemon.config_updates import Updates
from daemon.messages import Act
from daemon.store_requests import wake
from provisioning import founding
from provisioning.errors import CommandFailed
from provisioning.founding import ENROLLED, First, Ground
from provisioning.restore import Person
from signing import enrolled
from signing.certificates import (
    CertificateRefused,
    DeviceCertificate,
    Subject,
    Usage,
    name_of,
    read_authorities,
    read_certificate,
)
from signing.durable import write_durably
from signing.enrolled import AUTHORITY, CERTIFICATE, RECORD, ROOT, Record
from signing.enrolment_token import LARGEST, TokenClaims
from signing.est import Authority, server_tls
from signing.fetchers import Fetcher, FileFetcher
from signing.http_fetcher import HttpFetcher
from signing.identity import Identity, certificate_request, device_id, open_identity
from signing.keyring import read_trust
from signing.short_lived import boot_clock, client_tls, new_client_key
from signing.utc import utc_text

LARGEST_PAPER = 1_048_576
STDIN = "-"
MOST = 400
NO_TOKEN = "bring the token of two people: --token-file FILE, or - for standard input"


class EnrolFailed(CommandFailed):
    """This device was not enrolled; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Device:
    """The device that is enrolled: its state folder, its station file, and what that says."""

    state: Path
    station: Path
    settings: Station
    updates: Updates

    @property
    def production(self) -> bool:
        return self.settings.production

    @property
    def folder(self) -> Path:
        return self.state / enrolled.FOLDER

    @property
    def ground(self) -> Ground:
        return Ground(self.state, self.settings)

    @property
    def is_enrolled(self) -> bool:
        return (self.folder / RECORD).exists()


@dataclass(frozen=True, slots=True)
class Papers:
    """What the technician brings, checked: the authority's anchor, and what the fleet signs by.

    `fleet` is None where the device has that already (--again).
    """

    anchors: tuple[x509.Certificate, ...]
    anchor: bytes
    fleet: First | None


@dataclass(frozen=True, slots=True)
class Way:
    """How the certificate comes: from `authority` (URL) for a token, or in the file `certificate`, brought by stick.

    `repository`: a folder with the newest metadata; None = the station's repository, if it is reached.
    """

    authority: str = ""
    certificate: Path | None = None
    repository: Path | None = None
    again: bool = False


def device_at(station: Path, state: Path) -> Device:
    """Read what the station file says about this device.

    Raises:
        ConfigError: it cannot be used.  EnrolFailed: it does not say who the device is.
    """
    found = config.load(station)
    if found.updates is None:
        raise EnrolFailed(f"{station}: has no [updates]: write there the names of the device and of its line first")
    if not state.is_dir():
        raise EnrolFailed(f"{state}: is not a folder: name the device's state folder with --state")
    return Device(state, station, found, found.updates)


def read_papers(device: Device, anchor: Path, root: Path | None, trust: Path | None) -> Papers:
    """Read and check what was brought.

    Raises:
        EnrolFailed, SigningError: one of them is missing or not what it should be.
    """
    raw = read_paper(anchor)
    anchors = read_authorities(raw, str(anchor))
    if founding.is_founded(device.ground) and device.is_enrolled:
        return Papers(anchors, raw, None)
    if root is None or trust is None:
        raise EnrolFailed("bring the fleet's first root and trust.json: --root FILE and --trust FILE")
    root_raw, trust_raw = read_paper(root), read_paper(trust)
    people = read_trust(trust_raw, str(trust), production=device.production)
    return Papers(anchors, raw, First(root_raw, founding.root_version(root_raw, str(root)), trust_raw, people))


def read_paper(path: Path) -> bytes:
    """Return the bytes of a file that was brought.

    Raises:
        EnrolFailed: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_PAPER + 1)
    except OSError as error:
        raise EnrolFailed(f"{path}: {error.strerror}: bring it again") from error
    if len(raw) > LARGEST_PAPER:
        raise EnrolFailed(f"{path}: longer than {LARGEST_PAPER} bytes: name the right file")
    return raw


def read_token(named: str) -> bytes:
    """Return the token from a file, or from standard input for "-".

    Raises:
        EnrolFailed: it cannot be read.
    """
    if named == STDIN:
        return sys.stdin.buffer.read(LARGEST + 1)
    return read_paper(Path(named))


def plan(device: Device, papers: Papers, way: Way, claims: TokenClaims | None) -> list[str]:
    """Return what enrolling will do, a line each. `claims`: of the token, None if there is none.

    Raises:
        EnrolFailed: the device is enrolled already, or the token is another device's.
    """
    updates = device.updates
    if device.is_enrolled and not way.again:
        raise EnrolFailed(f"{device.folder}: this device is enrolled already: --again enrols it anew")
    if claims is not None and (claims.station, claims.line) != (updates.device, updates.line):
        raise EnrolFailed(
            f"the token is for {claims.station} on {claims.line}, this is {updates.device} on {updates.line}: "
            "have a token made for this device"
        )
    if claims is None and needs_token(device, way):
        raise EnrolFailed(NO_TOKEN)
    kind = f"in the TPM at {updates.tpm}" if updates.identity == "tpm" else "in a file, for development only"
    if (first := papers.fleet) is None:
        trusting = "keep the fleet's root, trust.json and the store"
    else:
        names = ", ".join(sorted(person.name for person in first.people.people.values()))
        trusting = f"trust root version {first.version} of the fleet and, of trust.json, {names}; found the store"
    return [
        f"make the identity key {kind}",
        f"get a certificate for {updates.device} on {updates.line} from {way.certificate or way.authority}",
        trusting,
        f"set the version floor ({updates.identity}) from {way.repository or updates.repository or 'that root alone'}",
        f"write all of it to {device.folder} and {device.ground.store}",
    ]


def needs_token(device: Device, way: Way) -> bool:
    """Return whether a token is needed: not where an interrupted run has the certificate already."""
    return way.certificate is None and (device.is_enrolled or not (device.folder / CERTIFICATE).exists())


def enrol(device: Device, papers: Papers, way: Way, token: bytes, person: Person) -> Record:
    """Do what `plan` said and return the record.

    Raises:
        EnrolFailed, SigningError: the text says what to do; the same command goes on from there.
    """
    with _disk(device.folder):
        device.folder.mkdir(mode=0o755, exist_ok=True)
        with closing(_identity(device, make=True)) as identity:
            certificate = _certificate(device, papers, way, token, identity)
        write_durably(device.folder / AUTHORITY, papers.anchor)
        write_durably(device.folder / CERTIFICATE, certificate.pem)
        if papers.fleet is not None:
            write_durably(device.folder / ROOT, papers.fleet.root)
            founding.found(device.ground, papers.fleet)
        floor = founding.raise_floor(device.ground, _newest(device, way, papers, certificate))
        record = _record(device, way, certificate, floor, person)
        text = f"{record.device} on {record.line}, identity {record.identity}, floor: {floor}"
        act = Act(ENROLLED, person.name, person.role, person.why, "", record.id)
        founding.put_on_record(device.ground, act, text)
        founding.give(device.ground.store, device.ground.store)
        write_durably(device.folder / RECORD, enrolled.encoded_record(record))
        founding.give(device.folder, device.state)
        wake(device.state, "enroll")
    return record


def write_request(device: Device, path: Path) -> Subject:
    """Make the key and write a certificate request (PEM) to carry to the authority; return whom it names.

    Raises:
        EnrolFailed, SigningError: nothing was written.
    """
    with _disk(path), closing(_identity(device, make=True)) as identity:
        subject = _subject(device, identity)
        request = x509.load_der_x509_csr(certificate_request(identity, name_of(subject)))
        write_durably(path, request.public_bytes(Encoding.PEM))
    return subject


def _identity(device: Device, *, make: bool) -> Identity:
    updates = device.updates
    if updates.identity == "development" and make:
        device.folder.mkdir(mode=0o755, exist_ok=True)
    return open_identity(updates.identity, device.folder, updates.tpm, production=device.production, make=make)


def _subject(device: Device, identity: Identity) -> Subject:
    return Subject(device.updates.device, device.updates.line, device_id(identity.public_der))


def _certificate(device: Device, papers: Papers, way: Way, token: bytes, identity: Identity) -> DeviceCertificate:
    """Return this device's certificate: the one that was brought, that an interrupted run got, or a new one."""
    subject = _subject(device, identity)
    if way.certificate is not None:
        raw, where = read_paper(way.certificate), str(way.certificate)
    elif (held := _held(device, papers, subject)) is not None and not device.is_enrolled:
        return held
    elif not token:
        raise EnrolFailed(NO_TOKEN)
    else:
        authority = Authority(way.authority, server_tls(papers.anchors))
        issued = authority.enrol(certificate_request(identity, name_of(subject)), token)
        raw, where = issued.public_bytes(Encoding.DER), way.authority
    found = read_certificate(raw, Usage.IDENTITY, papers.anchors, where)
    if found.subject != subject:
        raise EnrolFailed(f"{where}: is the certificate of {found.subject.device} {found.subject.id[:16]}, not of this")
    return found


def _held(device: Device, papers: Papers, subject: Subject) -> DeviceCertificate | None:
    path = device.folder / CERTIFICATE
    try:
        found = read_certificate(path.read_bytes(), Usage.IDENTITY, papers.anchors, str(path))
    except (FileNotFoundError, CertificateRefused):
        return None
    return found if found.subject == subject else None


@contextmanager
def _newest(device: Device, way: Way, papers: Papers, certificate: DeviceCertificate) -> Iterator[Fetcher | None]:
    """Open the newest metadata there is: what was brought, or the station's repository with a first client key."""
    if way.repository is not None:
        yield FileFetcher(way.repository)
        return
    if not device.updates.repository:
        yield None
        return
    fetcher = HttpFetcher(device.updates.repository, _tls(device, way, papers, certificate))
    try:
        yield fetcher
    finally:
        fetcher.close()


def _tls(device: Device, way: Way, papers: Papers, certificate: DeviceCertificate) -> ssl.SSLContext:
    named = device.updates.authority
    where = config.resolve(device.station, named)
    servers = read_authorities(read_paper(where), str(where)) if named else ()
    if not way.authority:
        return server_tls(servers)
    authority = Authority(way.authority, server_tls(papers.anchors))
    with closing(_identity(device, make=False)) as identity:
        return client_tls(new_client_key(identity, certificate, authority, papers.anchors, boot_clock()), servers)


def _record(device: Device, way: Way, certificate: DeviceCertificate, floor: str, person: Person) -> Record:
    return Record(
        device=certificate.subject.device,
        line=certificate.subject.line,
        id=certificate.subject.id,
        authority=way.authority,
        identity=device.updates.identity,
        tpm=device.updates.tpm,
        floor=floor[:MOST],
        by=person.name[:MOST],
        reason=person.why[:MOST],
        utc=utc_text(datetime.now(UTC)),
    )


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EnrolFailed(f"{error.filename or path}: {error.strerror}: make room, or run it as root") from error
