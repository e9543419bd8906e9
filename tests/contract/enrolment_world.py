"""A small authority over HTTPS, two people who make tokens, and devices with and without a TPM."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding

from fleet import issuing
from fleet.authority import CERTIFICATE, SmallAuthority, found_authority, open_authority
from fleet.authority_server import AuthorityServer, serving
from fleet.building import make_development_keys
from fleet.people import Signatory, open_signer
from fleet.tokens import Wanted, make_token
from signing.certificates import DeviceCertificate, Subject, Usage, name_of, read_authorities, read_certificate
from signing.est import Authority, server_tls
from signing.identity import Identity, certificate_request, device_id
from signing.key_file import private_pem
from signing.keyring import STORE_DOCUMENT, load_trust
from signing.trust import Role, Trust

STATION, LINE = "filler-3", "line-3"


class Site:
    """Publishers' people and their authority, in one folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.people = folder / "authority", folder / "people"
        make_development_keys(self.people)
        found_authority(self.folder, "Test authority", datetime.now(UTC))
        self.trust_file = self.people / STORE_DOCUMENT

    @property
    def trust(self) -> Trust:
        return load_trust(self.trust_file, production=False)

    @property
    def anchor(self) -> Path:
        return self.folder / CERTIFICATE

    @property
    def anchors(self) -> tuple[x509.Certificate, ...]:
        return read_authorities(self.anchor.read_bytes(), "anchor")

    def signatories(self) -> dict[Role, Signatory]:
        return {role: open_signer(f"file:{self.people / 'private' / f'{role}.pem'}") for role in Role}

    def token(self, station: str = STATION, identity: str = "", life: timedelta = timedelta(hours=1)) -> bytes:
        wanted = Wanted(station, LINE, "new device", identity, life)
        return make_token(wanted, self.signatories(), self.trust, datetime.now(UTC))

    @contextmanager
    def open(self, now: Callable[[], datetime] | None = None) -> Iterator[SmallAuthority]:
        authority = open_authority(self.folder, self.trust_file, **({"now": now} if now else {}))
        try:
            yield authority
        finally:
            authority.close()

    @contextmanager
    def serving(self, now: Callable[[], datetime] | None = None, port: int = 0) -> Iterator[Authority]:
        """Yield the authority as a device sees it; `now` is its clock."""
        with self.open(now) as authority, serving(AuthorityServer(authority, port=port)) as url:
            yield Authority(url, self.tls())

    def tls(self) -> ssl.SSLContext:
        return server_tls(self.anchors)


def request_of(identity: Identity, station: str = STATION, line: str = LINE) -> bytes:
    return certificate_request(identity, name_of(Subject(station, line, device_id(identity.public_der))))


def enrolled(site: Site, authority: Authority, identity: Identity) -> DeviceCertificate:
    issued = authority.enrol(request_of(identity), site.token())
    return read_certificate(issued.public_bytes(Encoding.DER), Usage.IDENTITY, site.anchors, "answer")


def server_context(site: Site, authority: SmallAuthority, folder: Path) -> ssl.SSLContext:
    """Return the context of a server that the authority certified and that wants certificates of it."""
    key = generate_private_key(SECP256R1())
    own = issuing.server(authority.issuer(), "127.0.0.1", key.public_key())
    path = folder / "server.pem"
    path.write_bytes(private_pem(key) + own.public_bytes(Encoding.PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=site.anchor)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(path)
    return context
