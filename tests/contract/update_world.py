"""A fleet with a repository of two generations, and a device that knows the newer one. For tests and `make attacks`."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, TargetFile

from fleet.repository import RepositoryBuilder
from fleet.repository_plan import DELEGATED, Keyholder, Plan
from signing.fetchers import Fetcher, FileFetcher
from signing.floor import FileFloor, Floor, Versions
from signing.freshness import Place, Repository, enrol_place, open_repository
from signing.index import Index, Kind

NOW = datetime(2030, 1, 7, 12, 0, tzinfo=UTC)
BLOB = b"weights" * 30_000
REVOKED = b'{"document":"revoked","format":1,"entries":[{"what":"bundle"}]}'


def _signer(name: str) -> CryptoSigner:
    signer = CryptoSigner.generate_ecdsa()
    signer.public_key.unrecognized_fields["x-linewarden-name"] = name
    return signer


@dataclass(frozen=True, slots=True)
class Keys:
    """Everybody's signing keys, as their owners, or a thief, hold them."""

    root: Sequence[CryptoSigner] = field(default_factory=lambda: [_signer(name) for name in ("Ana", "Bo", "Cy")])
    top: Sequence[CryptoSigner] = field(default_factory=lambda: [_signer(name) for name in ("Dora", "Emil")])
    qa: CryptoSigner = field(default_factory=lambda: _signer("Anna Berg"))
    release: CryptoSigner = field(default_factory=lambda: _signer("Ben Ott"))
    online: CryptoSigner = field(default_factory=lambda: _signer("online"))

    def people(self) -> list[CryptoSigner]:
        return [*self.root[:2], *self.top, self.qa, self.release]

    def plan(self, bins: int = 0) -> Plan:
        people = [holder("Anna Berg", self.qa), holder("Ben Ott", self.release)]
        root = [holder(name, key) for name, key in zip(("Ana", "Bo", "Cy"), self.root, strict=True)]
        top = [holder(name, key) for name, key in zip(("Dora", "Emil"), self.top, strict=True)]
        return Plan(root, top, dict.fromkeys(DELEGATED, people), holder("online", self.online), bins)


def holder(name: str, signer: CryptoSigner) -> Keyholder:
    return Keyholder(name, signer.public_key)


@dataclass(frozen=True, slots=True)
class World:
    """`fleet/public` is the newest repository, `old` the one before; `device` has updated to the newest.

    `fresh` is a device enrolled when `old` was the newest, which has never updated.
    """

    folder: Path
    keys: Keys

    @property
    def builder(self) -> RepositoryBuilder:
        return RepositoryBuilder(self.folder / "fleet")

    @property
    def public(self) -> Path:
        return self.builder.public

    @property
    def old(self) -> Path:
        return self.folder / "old"

    @property
    def device(self) -> "Device":
        return Device(self.folder / "device")

    def index(self, version: str) -> str:
        """Return the digest of a bundle."""
        return hashlib.sha256(_document(version)).hexdigest()

    def copy(self, folder: Path) -> "World":
        shutil.copytree(self.folder, folder)
        return World(folder, self.keys)

    def state(self) -> dict[str, bytes]:
        return self.device.state()

    def stolen(self) -> Path:
        """Return a copy of the newest repository, for an attacker to change."""
        shutil.copytree(self.public, self.folder / "evil")
        return self.folder / "evil"

    def publish(self, now: datetime = NOW) -> Versions:
        """Have everybody who must sign what is staged do so, and publish."""
        sign_all(self.builder, self.keys)
        return self.builder.publish(self.keys.online, now)


@dataclass(frozen=True, slots=True)
class Device:
    """What a device keeps of an update: its place, its floor, its store of blobs."""

    folder: Path

    @property
    def place(self) -> Place:
        return Place(self.folder / "place")

    @property
    def floor(self) -> FileFloor:
        return FileFloor(self.folder / "floor.json")

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def enrol(self, builder: RepositoryBuilder) -> None:
        enrol_place(self.place, builder.root_bytes())
        self.floor.enrol(builder.versions())

    def open(self, source: Path | Fetcher, now: datetime = NOW, floor: Floor | None = None) -> Repository:
        fetcher = source if isinstance(source, Fetcher) else FileFetcher(source)
        return open_repository(self.place, fetcher, floor or self.floor, now)

    def install(self, source: Path | Fetcher, digest: str, now: datetime = NOW) -> Index:
        """Refresh, look the bundle up and fetch it."""
        repository = self.open(source, now)
        index = repository.index(Kind.BUNDLE, digest)
        assert index is not None
        repository.fetch(index, self.store, lambda done, total: None)
        return index

    def state(self) -> dict[str, bytes]:
        """Return every file of the device."""
        files = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}


def sign_all(builder: RepositoryBuilder, keys: Keys) -> None:
    for signer in keys.people():
        if any(signer.public_key.keyid in builder.may_sign(role) for role in builder.files.draft_names()):
            builder.sign(signer)


def _document(version: str) -> bytes:
    return json.dumps({"document": "bundle", "version": version}).encode()


def add_bundle(world: World, version: str, now: datetime = NOW) -> Index:
    folder = world.folder / f"bundle-{version}"
    (folder / "signatures").mkdir(parents=True)
    (folder / "bundle.json").write_bytes(_document(version))
    (folder / "body.onnx").write_bytes(BLOB + version.encode())
    (folder / "signatures" / "qa.sig").write_bytes(b"{}")
    return world.builder.add_index(Kind.BUNDLE, folder, "vial", version, now)


def build_world(folder: Path, bins: int = 0) -> World:
    """Build both generations and the devices. Some tenths of a second: once a module, copied for each test."""
    folder.mkdir()
    world = World(folder, Keys())
    world.builder.init(world.keys.plan(bins), NOW)
    add_bundle(world, "1.0.0")
    world.builder.set_document("trust.json", b'{"document":"trust"}', NOW)
    world.builder.set_document("allowlists/L7.json", b'{"line":"L7"}', NOW)
    world.publish()
    shutil.copytree(world.public, world.old)
    for name in ("device", "fresh"):
        Device(folder / name).enrol(world.builder)
    add_bundle(world, "1.1.0")
    world.builder.set_document("allowlists/revoked.json", REVOKED, NOW)
    world.publish()
    world.device.install(world.public, world.index("1.0.0"))
    world.device.open(world.public).document("allowlists/revoked.json", 1000)
    return world


def forge(folder: Path, name: str, signers: Sequence[CryptoSigner], change: Callable[[Any], object], out: str) -> bytes:
    """Change a metadata file of a repository, sign it with these keys and write it as `out`."""
    metadata: Metadata[Any] = Metadata.from_file(str(folder / "metadata" / name))
    change(metadata.signed)
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    data = metadata.to_bytes()
    (folder / "metadata" / out).write_bytes(data)
    return data


def forge_online(folder: Path, world: World, meta: Mapping[str, MetaFile | None]) -> None:
    """With both online keys, publish a third snapshot that says `meta` of some roles (None: nothing any more)."""

    def snapshot(signed: Any) -> None:
        signed.version = 3
        signed.meta = {name: file for name, file in {**signed.meta, **meta}.items() if file is not None}

    data = forge(folder, "2.snapshot.json", [world.keys.online], snapshot, "3.snapshot.json")
    forge_timestamp(folder, world, snapshot_meta=MetaFile.from_data(3, data, ["sha256"]))


def forge_timestamp(folder: Path, world: World, **changes: object) -> None:
    """With the timestamp key, publish a third timestamp."""

    def timestamp(signed: Any) -> None:
        signed.version = 3
        for name, value in changes.items():
            setattr(signed, name, value)

    forge(folder, "timestamp.json", [world.keys.online], timestamp, "timestamp.json")


def forge_bundles(folder: Path, world: World, signers: Sequence[CryptoSigner]) -> None:
    """With the online keys and these people's, publish a third bundles role that names the attacker's bundle."""

    def bundles(signed: Any) -> None:
        signed.version = 3
        signed.targets["bundles/evil.json"] = TargetFile.from_data("bundles/evil.json", b"{}", ["sha256"])

    data = forge(folder, "2.bundles.json", signers, bundles, "3.bundles.json")
    forge_online(folder, world, {"bundles.json": MetaFile.from_data(3, data, ["sha256"])})


def later(days: float) -> datetime:
    return NOW + timedelta(days=days)
