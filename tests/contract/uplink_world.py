"""A fleet that publishes for one line, an enrolled device, and its duty to update, turned by hand."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding
from update_world import Keys, sign_all
from uplink_box import station_text

from daemon import config
from daemon.config_updates import Updates
from daemon.store_requests import ANSWERS, REQUESTS, STORE, Request, Response
from daemon.uplink.update_status import POLL_NOW, UpdateStatus, read_update_status
from daemon.uplink.update_status import REQUESTS as ASKED
from daemon.uplink.updating import Updating, open_updating
from fleet import issuing
from fleet.repository import RepositoryBuilder
from signing.certificates import Subject, Usage
from signing.enrolled import AUTHORITY, CERTIFICATE, FOLDER, RECORD, ROOT, Record, encoded_record
from signing.identity import device_id, open_identity
from signing.index import Kind
from signing.permission import Pair, allowlist_path
from signing.store_state import Installed, StoreState

DEVICE, LINE = "filler-3", "line-3"
NOBODYS = "0" * 64
WEIGHTS = b"weights of a model" * 20_000


class Fleet:
    """What publishers do, with one person's hand: every document is signed by all who must."""

    def __init__(self, folder: Path) -> None:
        self.keys, self._folder = Keys(), folder
        self.builder = RepositoryBuilder(folder / "fleet")
        self.now = datetime.now(UTC) - timedelta(minutes=1)
        self.builder.init(self.keys.plan(), self.now)
        self.builder.set_document("trust.json", b"{}", self.now)
        self.revoke()

    @property
    def public(self) -> Path:
        return self.builder.public

    def pair(self, version: str) -> Pair:
        """Add a bundle and a recipe of this version; return their digests."""
        return Pair(self._add(Kind.BUNDLE, version), self._add(Kind.RECIPE, version))

    def allow(self, pairs: Sequence[Pair], line: str = LINE) -> None:
        """Put these on the allow-list of a line."""
        words = {"document": "allowlist", "format": 1, "line": line, "activate": None}
        words |= {"bundles": [pair.bundle for pair in pairs], "recipes": [pair.recipe for pair in pairs]}
        self._document(allowlist_path(line), words)

    def roll_out(self, *pairs: Pair) -> None:
        """Stage these for every device of every line."""
        named = [
            {"id": f"r{number}", "bundle": pair.bundle, "recipe": pair.recipe, "percent": 100}
            for number, pair in enumerate(pairs)
        ]
        self._document("allowlists/rollout.json", {"document": "rollout", "format": 1, "rollouts": named})

    def revoke(self, *bundles: str) -> None:
        """Publish that these bundles, and no others, are revoked."""
        entries = [
            {"what": "bundle", "id": bundle, "reason": "bad", "by": "Anna Berg", "utc": "2026-01-01T00:00:00Z"}
            for bundle in bundles
        ]
        self._document("allowlists/revoked.json", {"document": "revoked", "format": 1, "entries": entries})

    def publish(self) -> None:
        """Sign what is staged and publish; without drafts the timestamp is signed anew."""
        if self.builder.files.draft_names():
            sign_all(self.builder, self.keys)
            self.builder.publish(self.keys.online, self.now)
        else:
            self.builder.resign(self.keys.online, self.now)

    def blobs(self, pair: Pair) -> dict[str, int]:
        """Return the size of each file of a pair by its sha256."""
        found: dict[str, int] = {}
        for kind, digest in zip(Kind, pair, strict=True):
            raw = self.builder.read_document(kind.target(digest))
            assert raw is not None
            found |= {blob["sha256"]: blob["size"] for blob in json.loads(raw)["files"].values()}
        return found

    def _add(self, kind: Kind, version: str) -> str:
        folder = self._folder / f"{kind}-{version}"
        folder.mkdir()
        document = json.dumps({"document": str(kind), "version": version}).encode()
        (folder / kind.document).write_bytes(document)
        if kind is Kind.BUNDLE:
            (folder / "body.onnx").write_bytes(WEIGHTS + version.encode())
            (folder / "crimp.onnx").write_bytes(WEIGHTS)
        self.builder.add_index(kind, folder, "vial", version, self.now)
        return hashlib.sha256(document).hexdigest()

    def _document(self, path: str, words: object) -> None:
        self.builder.set_document(path, msgspec.json.encode(words), self.now)


def one_pair(folder: Path) -> tuple[Fleet, Pair]:
    """Return a fleet that has published one pair, permitted and rolled out to the line."""
    fleet = Fleet(folder)
    pair = fleet.pair("1.0.0")
    fleet.allow([pair])
    fleet.roll_out(pair)
    fleet.publish()
    return fleet, pair


@dataclass(frozen=True, slots=True)
class Uplink:
    """The state folder of a device, and its duty to update."""

    state: Path
    updates: Updates
    duty: Updating

    def turn(self) -> str:
        """Give it a turn, in which it polls; return what it says."""
        self.duty.turn(lambda: None)
        return self.duty.said

    def asked(self) -> str:
        """Ask for a poll as `linewarden update check` does; return what it says."""
        asked = self.state / ASKED
        asked.mkdir(exist_ok=True)
        (asked / POLL_NOW).touch()
        assert self.duty.asked()
        self.duty.turn(lambda: None)
        assert not self.duty.asked()
        return self.duty.said

    def blobs(self) -> set[str]:
        """Return the names of what was fetched, whole or not."""
        folder = self.state / "incoming" / "blobs"
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()

    def requests(self) -> list[Request]:
        """Return what `slots` is asked for, oldest first."""
        found = sorted((self.state / REQUESTS).glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        return [msgspec.json.decode(path.read_bytes(), type=Request) for path in found]

    def slots_answers(self, *, ok: bool, text: str) -> None:
        """Do as `slots` does: answer every request and take it away."""
        for request in self.requests():
            (self.state / ANSWERS).mkdir(exist_ok=True)
            answer = msgspec.json.encode(Response(ok, text))
            (self.state / ANSWERS / f"{request.id}.json").write_bytes(answer)
            (self.state / REQUESTS / f"{request.id}.json").unlink()

    @property
    def status(self) -> UpdateStatus:
        return read_update_status(self.state)


def enrol(state: Path, root: bytes) -> str:
    """Write what enrolment leaves: a development identity, its certificate, the fleet's root; return its id."""
    folder = state / FOLDER
    folder.mkdir()
    identity = open_identity("development", folder, "", production=False, make=True)
    key, now = generate_private_key(SECP256R1()), datetime.now(UTC)
    issuer = issuing.Issuer(key, issuing.root(key, "Test authority", now), now)
    subject = Subject(DEVICE, LINE, device_id(identity.public_der))
    issued = issuing.certificate(issuer, subject, identity.public_der, Usage.IDENTITY, timedelta(days=1))
    pem = issued.public_bytes(Encoding.PEM)
    write_enrolment(state, pem, issuer.certificate.public_bytes(Encoding.PEM), root, device=subject.id, authority="")
    identity.close()
    return subject.id


def write_enrolment(
    state: Path, certificate: bytes, anchor: bytes, root: bytes, *, device: str, authority: str
) -> None:
    """Write what enrolment leaves besides the key. `authority`: its URL, "" for none."""
    folder = state / FOLDER
    (folder / AUTHORITY).write_bytes(anchor)
    (folder / CERTIFICATE).write_bytes(certificate)
    (folder / ROOT).write_bytes(root)
    record = Record(
        device=DEVICE,
        line=LINE,
        id=device,
        authority=authority,
        identity="development",
        tpm="",
        floor="",
        by="Anna Berg",
        reason="test",
        utc="2026-01-01T00:00:00Z",
    )
    (folder / RECORD).write_bytes(encoded_record(record))


def open_uplink(state: Path, poll_s: float = 0.0, **places: str) -> Uplink:
    """Open the duty of a device whose state lies in `state`. With `poll_s` = 0 every turn polls."""
    (state / REQUESTS).mkdir(exist_ok=True)
    path = state / "station.toml"
    path.write_text(station_text(""))
    updates = Updates(line=LINE, device=DEVICE, poll_s=poll_s, identity="development", **places)
    station = msgspec.structs.replace(config.load(path), updates=updates)
    return Uplink(state, updates, open_updating(station, updates, path, state))


def install(state: Path, *pairs: Pair) -> None:
    """Let the store say that these are installed."""
    installed: dict[str, Installed] = {}
    for pair in pairs:
        for kind, digest in zip(Kind, pair, strict=True):
            bundle = pair.bundle if kind is Kind.RECIPE else ""
            installed[digest] = Installed(
                kind=kind,
                name="vial",
                version="1",
                trust=NOBODYS,
                utc="",
                source="",
                order=1,
                files={},
                signers=(),
                bundle=bundle,
            )
    (state / STORE).mkdir(exist_ok=True)
    raw = msgspec.json.encode(StoreState(1, NOBODYS, 1, installed=installed))
    (state / STORE / "state.json").write_bytes(raw)
