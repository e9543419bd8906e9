"""Attacks on an update as a device would meet them: old metadata, frozen metadata, stolen keys."""

import shutil
from typing import Any

from tuf.api.metadata import Metadata, MetaFile, Root

from signing.fetchers import FileFetcher
from signing.freshness import Place, enrol_place, open_repository
from signing.index import Kind
from signing.trusted_time import trusted_now
from tests.contract.attack import Attack, Attempt, listed_in
from tests.contract.update_world import (
    NOW,
    Keys,
    World,
    build_world,
    forge,
    forge_bundles,
    forge_online,
    forge_timestamp,
    later,
)

VERSIONS: list[Attack[World]] = []
attack = listed_in(VERSIONS)


# Roll-back


@attack("whole old repository replayed", "BadVersionNumberError")
def _replay(world: World) -> Attempt:
    return lambda: world.device.open(world.old)


@attack("stolen timestamp key: old snapshot", "BadVersionNumberError")
def _old_snapshot(world: World) -> Attempt:
    evil = world.stolen()
    forge_timestamp(evil, world, snapshot_meta=MetaFile(1))
    return lambda: world.device.open(evil)


@attack("stolen timestamp and snapshot keys: old bundles.json", "BadVersionNumberError")
def _old_role(world: World) -> Attempt:
    evil = world.stolen()
    forge_online(evil, world, {"bundles.json": MetaFile(1)})
    return lambda: world.device.open(evil)


@attack("stolen online keys: role dropped from snapshot", "RepositoryError")
def _dropped_role(world: World) -> Attempt:
    evil = world.stolen()
    forge_online(evil, world, {"bundles.json": None})
    return lambda: world.device.open(evil)


@attack("stolen online keys: allowlists.json from before the revocation", "BadVersionNumberError")
def _unrevoked(world: World) -> Attempt:
    evil = world.stolen()
    forge_online(evil, world, {"allowlists.json": MetaFile(1)})
    return lambda: world.device.open(evil).document("allowlists/revoked.json", 1000)


@attack("old stick on an up-to-date device", "BadVersionNumberError")
def _old_stick(world: World) -> Attempt:
    return lambda: world.device.install(world.old, world.index("1.0.0"))


@attack("old, unexpired stick on a device without metadata", "RollbackRefused")
def _old_stick_new_device(world: World) -> Attempt:
    shutil.rmtree(world.device.place.metadata)
    return lambda: world.device.open(world.old)


@attack("old, unexpired stick on a device enrolled today", "RollbackRefused")
def _old_stick_enrolled(world: World) -> Attempt:
    shutil.rmtree(world.folder / "fresh")
    fresh = type(world.device)(world.folder / "fresh")
    fresh.enrol(world.builder)
    return lambda: fresh.open(world.old)


@attack("old repository after timestamp.json and snapshot.json were emptied", "RollbackRefused")
def _emptied(world: World) -> Attempt:
    for name in ("timestamp.json", "snapshot.json"):
        (world.device.place.metadata / name).write_bytes(b"")
    return lambda: world.device.open(world.old)


@attack("the same, tried a second time", "RollbackRefused")
def _emptied_twice(world: World) -> Attempt:
    attempt = _emptied(world)
    try:
        attempt()
    except Exception:  # noqa: BLE001 - the first refusal is the attack above
        return attempt
    return lambda: None


@attack("whole disk set back, old repository served: install", "RollbackRefused")
def _disk_set_back(world: World) -> Attempt:
    floor = world.device.floor.path.read_bytes()
    old = type(world.device)(world.folder / "fresh")
    old.open(world.old)
    shutil.rmtree(world.device.place.folder)
    shutil.copytree(old.place.folder, world.device.place.folder)
    world.device.floor.path.write_bytes(floor)
    repository = world.device.open(world.old)
    index = repository.index(Kind.BUNDLE, world.index("1.0.0"))
    assert index is not None
    return lambda: repository.fetch(index, world.device.store, lambda done, total: None)


@attack("version floor removed", "FloorFailed")
def _no_floor(world: World) -> Attempt:
    world.device.floor.path.unlink()
    shutil.rmtree(world.device.place.metadata)
    return lambda: world.device.open(world.old)


@attack("version floor damaged", "FloorFailed")
def _bad_floor(world: World) -> Attempt:
    world.device.floor.path.write_bytes(b'{"root":0,"timestamp":0,"snapshot":0}')
    shutil.rmtree(world.device.place.metadata)
    return lambda: world.device.open(world.old)


# Freeze


@attack("freeze: expired timestamp", "ExpiredMetadataError")
def _frozen(world: World) -> Attempt:
    evil = world.stolen()
    forge_timestamp(evil, world, expires=later(-1))
    return lambda: world.device.open(evil)


@attack("freeze: the same timestamp 30 days later", "ExpiredMetadataError")
def _frozen_later(world: World) -> Attempt:
    return lambda: world.device.open(world.public, later(30))


@attack("stick used 8 days after a timestamp of 7", "ExpiredMetadataError")
def _stale_stick(world: World) -> Attempt:
    fresh = type(world.device)(world.folder / "fresh")
    return lambda: fresh.open(world.public, later(8))


@attack("clock set back so that an expired timestamp looks fresh", "ExpiredMetadataError")
def _clock_back(world: World) -> Attempt:
    now = trusted_now(later(1), None, later(30)).now
    return lambda: world.device.open(world.public, now)


@attack("clock set back so that an expired snapshot looks fresh", "ExpiredMetadataError")
def _clock_back_signed(world: World) -> Attempt:
    evil = world.stolen()
    signed = {"x-linewarden-signed-at": later(100).strftime("%Y-%m-%dT%H:%M:%SZ")}
    forge_timestamp(evil, world, expires=later(120), unrecognized_fields=signed)
    return lambda: world.device.open(evil)


# Signatures


@attack("all online keys stolen, release key alone", "UnsignedMetadataError")
def _release_alone(world: World) -> Attempt:
    return _forged_bundles(world, [world.keys.release])


@attack("all online keys stolen, release key twice", "UnsignedMetadataError")
def _release_twice(world: World) -> Attempt:
    return _forged_bundles(world, [world.keys.release, world.keys.release])


@attack("all online keys stolen, release key and an unknown one", "UnsignedMetadataError")
def _release_and_stranger(world: World) -> Attempt:
    return _forged_bundles(world, [world.keys.release, Keys().qa])


@attack("root 2 signed by the attacker's keys alone", "UnsignedMetadataError")
def _own_root(world: World) -> Attempt:
    evil, keys = world.stolen(), Keys()

    def root(signed: Root) -> None:
        signed.version = 2
        for key in keys.root:
            signed.add_key(key.public_key, "root")

    forge(evil, "1.root.json", keys.root, root, "2.root.json")
    return lambda: world.device.open(evil)


@attack("root 3 offered as root 2", "BadVersionNumberError")
def _skipped_root(world: World) -> Attempt:
    evil = world.stolen()
    forge(evil, "1.root.json", world.keys.root, lambda signed: setattr(signed, "version", 3), "2.root.json")
    return lambda: world.device.open(evil)


@attack("another fleet's root at enrolment", "UnsignedMetadataError")
def _wrong_bootstrap(world: World) -> Attempt:
    other = build_world(world.folder / "other")
    place = Place(world.folder / "elsewhere")
    enrol_place(place, other.builder.root_bytes())
    return lambda: open_repository(place, FileFetcher(world.public), world.device.floor, NOW)


@attack("garbage as root at enrolment", "DeserializationError")
def _garbage_bootstrap(world: World) -> Attempt:
    return lambda: enrol_place(world.device.place, b"{}")


@attack("root at enrolment signed by one of two", "UnsignedMetadataError")
def _half_bootstrap(world: World) -> Attempt:
    half = Metadata[Root].from_bytes(world.builder.root_bytes())
    half.signatures.pop(world.keys.root[0].public_key.keyid)
    return lambda: enrol_place(world.device.place, half.to_bytes())


@attack("no root at enrolment", "PlaceFailed")
def _no_bootstrap(world: World) -> Attempt:
    return lambda: open_repository(Place(world.folder / "nowhere"), FileFetcher(world.public), world.device.floor, NOW)


@attack("signed delegation to a role that has a number for a name", "TypeError")
def _numbered_role(world: World) -> Attempt:
    evil = world.stolen()

    def targets(signed: Any) -> None:
        signed.version = 2
        signed.delegations.roles["bundles"].name = 7

    data = forge(evil, "1.targets.json", world.keys.top, targets, "2.targets.json")
    forge_online(evil, world, {"targets.json": MetaFile.from_data(2, data, ["sha256"])})
    repository = world.device.open(evil)
    return lambda: repository.index(Kind.BUNDLE, world.index("1.0.0"))


def _forged_bundles(world: World, signers: list[Any]) -> Attempt:
    evil = world.stolen()
    forge_bundles(evil, world, signers)
    repository = world.device.open(evil)
    return lambda: repository.document("bundles/evil.json", 1000)
