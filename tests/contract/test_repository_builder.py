"""The publishers' side: two people sign, one after the other; keys change; sticks; hash bins; cuts."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from fleet.errors import FleetError, NotDone
from fleet.repository import RepositoryBuilder
from fleet.repository_plan import DELEGATED, Plan
from fleet.repository_usb import export_usb
from signing.index import Kind
from signing.update_errors import RollbackRefused, UpdateError
from tests.contract.update_world import (
    NOW,
    Device,
    Keys,
    World,
    add_bundle,
    build_world,
    forge_online,
    holder,
    later,
    sign_all,
)

LIST = '{{"document":"allowlist","format":1,"line":"L7","bundles":["{0}"],"recipes":[],"activate":null}}'


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("fleet") / "world")


@pytest.fixture
def world(built: World, tmp_path: Path) -> World:
    return built.copy(tmp_path / "world")


def test_people_sign_one_after_the_other_and_who_is_missing_is_named(world: World) -> None:
    add_bundle(world, "1.2.0")
    assert world.builder.sign(world.keys.qa) == ["bundles"]
    with pytest.raises(NotDone, match="bundles 3 needs 1 more of Ben Ott"):
        world.builder.publish(world.keys.online, NOW)
    assert world.builder.sign(world.keys.release) == ["bundles"]
    assert world.builder.publish(world.keys.online, NOW) == world.builder.versions()
    assert world.device.install(world.public, world.index("1.2.0")).version == "1.2.0"


def test_a_change_after_the_first_signature_takes_it_back(world: World) -> None:
    add_bundle(world, "1.2.0")
    world.builder.sign(world.keys.qa)
    add_bundle(world, "1.3.0")
    assert world.builder.sign(world.keys.release) == ["bundles"]
    (waiting,) = world.builder.waiting()
    assert waiting.people == ("Anna Berg",) and waiting.signed == ("Ben Ott",)


def test_one_person_signing_twice_is_one_signature(world: World) -> None:
    add_bundle(world, "1.2.0")
    world.builder.sign(world.keys.qa)
    world.builder.sign(world.keys.qa)
    with pytest.raises(NotDone, match="needs 1 more"):
        world.builder.publish(world.keys.online, NOW)


def test_a_stranger_has_nothing_to_sign(world: World) -> None:
    add_bundle(world, "1.2.0")
    with pytest.raises(NotDone, match="nothing staged needs this key"):
        world.builder.sign(Keys().qa)


def test_nothing_staged_is_nothing_to_publish(world: World) -> None:
    with pytest.raises(NotDone, match="nothing is staged"):
        world.builder.publish(world.keys.online, NOW)


def test_another_online_key_publishes_nothing(world: World) -> None:
    before = world.builder.versions()
    with pytest.raises(NotDone, match="online key"):
        world.builder.resign(Keys().online, NOW)
    assert world.builder.versions() == before


def test_init_twice_and_one_key_for_two_people_are_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(NotDone, match="already"):
        world.builder.init(world.keys.plan(), NOW)
    plan = world.keys.plan()
    twice = [holder("Anna Berg", world.keys.qa), holder("Ben Ott", world.keys.qa)]
    with pytest.raises(NotDone, match="one key is named twice"):
        RepositoryBuilder(tmp_path / "new").init(
            Plan(plan.root, plan.top, dict.fromkeys(DELEGATED, twice), plan.online), NOW
        )


@pytest.mark.parametrize("path", ["bundles/a/b.json", "../x", "x.json", "bundles/"])
def test_a_path_no_role_signs_is_refused(world: World, path: str) -> None:
    with pytest.raises(FleetError):
        world.builder.set_document(path, b"{}", NOW)


def test_a_link_in_a_bundle_is_not_published(world: World, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").symlink_to("/etc/passwd")
    with pytest.raises(NotDone, match="only regular files"):
        world.builder.add_index(Kind.BUNDLE, tmp_path / "bundle", "x", "1.0.0", NOW)


@pytest.mark.parametrize("name", ["a b.onnx", ".hidden", "below/x.onnx", "signatures/below/x.sig"])
def test_a_name_that_devices_refuse_is_not_published(world: World, tmp_path: Path, name: str) -> None:
    for file in ("bundle.json", name):
        (tmp_path / "bundle" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "bundle" / file).write_bytes(b"{}")
    with pytest.raises(NotDone, match="devices would refuse it"):
        world.builder.add_index(Kind.BUNDLE, tmp_path / "bundle", "x", "1.0.0", NOW)
    assert world.builder.files.draft_names() == []


def test_a_key_that_is_in_the_role_already_replaces_nobody(world: World) -> None:
    anna = world.keys.qa.public_key.keyid
    with pytest.raises(NotDone, match="a person signs once"):
        world.builder.replace_person(anna, holder("Ben Ott", world.keys.release), NOW)
    assert world.builder.files.draft_names() == []


def test_the_timestamp_alone_is_signed_again(world: World) -> None:
    before = world.builder.versions()
    after = world.builder.resign(world.keys.online, later(6))
    assert (after.timestamp, after.snapshot, after.root) == (before.timestamp + 1, before.snapshot, before.root)
    repository = world.device.open(world.public, later(10))
    assert repository.signed_at == later(6)


def test_a_revoked_bundle_is_gone_and_says_why(world: World) -> None:
    world.builder.revoke(Kind.BUNDLE, world.index("1.0.0"), b'{"why":"cracks"}', NOW)
    world.publish()
    repository = world.device.open(world.public)
    assert repository.index(Kind.BUNDLE, world.index("1.0.0")) is None
    assert repository.document("allowlists/revoked.json", 1000) == b'{"why":"cracks"}'


def test_a_power_cut_while_publishing_shows_devices_the_old_state(world: World) -> None:
    """Everything but timestamp.json was written, and the drafts are still there: publishing again completes it."""
    before = (world.public / "metadata" / "timestamp.json").read_bytes()
    add_bundle(world, "1.2.0")
    sign_all(world.builder, world.keys)
    staging = world.folder / "staging"
    shutil.copytree(world.builder.files.staging, staging)
    world.builder.publish(world.keys.online, NOW)
    (world.public / "metadata" / "timestamp.json").write_bytes(before)
    shutil.copytree(staging, world.builder.files.staging, dirs_exist_ok=True)
    old = world.device.open(world.public)
    assert old.index(Kind.BUNDLE, world.index("1.2.0")) is None
    world.builder.publish(world.keys.online, NOW)
    assert world.device.install(world.public, world.index("1.2.0")).version == "1.2.0"


def test_drafts_left_after_publishing_are_no_drafts(world: World) -> None:
    add_bundle(world, "1.2.0")
    sign_all(world.builder, world.keys)
    staging = world.folder / "staging"
    shutil.copytree(world.builder.files.staging, staging)
    world.builder.publish(world.keys.online, NOW)
    add_bundle(world, "1.3.0")
    world.publish()
    shutil.copytree(staging, world.builder.files.staging, dirs_exist_ok=True)
    assert world.builder.files.draft_names() == []
    world.builder.remove(Kind.BUNDLE.target(world.index("1.0.0")), NOW)
    world.publish()
    assert world.device.install(world.public, world.index("1.3.0")).version == "1.3.0"


def test_a_root_key_and_the_online_key_are_replaced(world: World) -> None:
    keys, new = world.keys, Keys()
    world.builder.rotate_root(keys.root[0].public_key.keyid, holder("Eve", new.root[0]), NOW)
    world.builder.rotate_root(keys.online.public_key.keyid, holder("online", new.online), NOW)
    for signer in (keys.root[1], new.root[0]):
        world.builder.sign(signer)
    with pytest.raises(NotDone, match="root 2 needs 1 more"):
        world.builder.publish(new.online, NOW)
    world.builder.sign(keys.root[2])
    with pytest.raises(NotDone, match="online key"):
        world.builder.publish(keys.online, NOW)
    world.builder.publish(new.online, NOW)
    assert Device(world.folder / "fresh").open(world.public).versions.root == 2
    assert world.device.open(world.public).versions.root == 2


def test_a_persons_key_is_replaced_everywhere(world: World) -> None:
    new = Keys().qa
    world.builder.replace_person(world.keys.qa.public_key.keyid, holder("Gina", new), NOW)
    for signer in (*world.keys.top, new, world.keys.release):
        world.builder.sign(signer)
    world.builder.publish(world.keys.online, NOW)
    assert world.device.install(world.public, world.index("1.1.0")).version == "1.1.0"
    add_bundle(world, "1.2.0")
    with pytest.raises(NotDone, match="nothing staged needs"):
        world.builder.sign(world.keys.qa)


def test_a_fast_forward_with_stolen_online_keys_ends_with_their_rotation(world: World) -> None:
    """The thief's versions bind no longer once root takes the keys away; without rotation they do."""
    evil = world.stolen()
    forge_online(evil, world, {})
    world.device.open(evil)
    assert world.device.floor.read().timestamp == 3
    with pytest.raises(UpdateError):
        world.device.open(world.public)
    new = Keys().online
    world.builder.rotate_root(world.keys.online.public_key.keyid, holder("online", new), NOW)
    sign_all(world.builder, world.keys)
    newest = world.builder.publish(new, NOW)
    assert newest.timestamp == 3 and newest.snapshot == 3
    _lower(world)
    assert world.device.open(world.public).versions == newest
    assert world.device.floor.read() == newest
    shutil.rmtree(world.device.place.metadata)
    with pytest.raises(RollbackRefused):
        world.device.open(evil)


def _lower(world: World) -> None:
    """Have the floor stand where a thief's high versions would have put it."""
    floor = world.device.floor.read()
    world.device.floor.raise_to(type(floor)(floor.root, 4_000_000, 4_000_000))


def test_a_stick_serves_a_line_without_a_network_for_months(world: World, tmp_path: Path) -> None:
    world.builder.set_document("allowlists/L7.json", LIST.format(world.index("1.1.0")).encode(), NOW)
    world.publish()
    stick = tmp_path / "stick"
    export = export_usb(world.builder, stick, ["L7"], world.keys.online, NOW, timedelta(days=120))
    assert export.absent == () and Kind.BUNDLE.target(world.index("1.1.0")) in export.documents
    assert not any("1.0.0" in file.read_text(errors="ignore") for file in (stick / "targets").rglob("*.json"))
    fresh = Device(world.folder / "fresh")
    assert fresh.install(stick, world.index("1.1.0"), later(119)).version == "1.1.0"
    with pytest.raises(UpdateError, match="ExpiredMetadataError"):
        fresh.open(stick, later(121))
    assert fresh.open(world.public).versions.timestamp == export.versions.timestamp + 1


def test_a_stick_that_cannot_be_made_whole_is_refused(world: World, tmp_path: Path) -> None:
    def export(line: str, life: timedelta) -> None:
        export_usb(world.builder, tmp_path / "stick", [line], world.keys.online, NOW, life)

    with pytest.raises(NotDone, match="no allow-list"):
        export("L9", timedelta(days=30))
    world.builder.set_document("allowlists/L7.json", LIST.format(world.index("1.1.0")).encode(), NOW)
    with pytest.raises(NotDone, match="staged and not published"):
        export("L7", timedelta(days=30))
    world.publish()
    with pytest.raises(NotDone, match="expires before the stick"):
        export("L7", timedelta(days=400))
    assert not (tmp_path / "stick").exists()
    (tmp_path / "stick").mkdir()
    (tmp_path / "stick" / "metadata").symlink_to(tmp_path)
    with pytest.raises(NotDone, match="a link on the stick"):
        export("L7", timedelta(days=30))


def test_hash_bins_serve_as_the_flat_role_does(tmp_path: Path) -> None:
    world = build_world(tmp_path / "world", bins=3)
    assert Device(world.folder / "fresh").install(world.public, world.index("1.1.0")).version == "1.1.0"
    snapshot = world.builder.files.snapshot()
    assert snapshot is not None
    assert snapshot.signed.meta["bundles-0.json"].hashes is None
    assert snapshot.signed.meta["bundles.json"].hashes
    world.builder.replace_person(world.keys.qa.public_key.keyid, holder("Gina", (new := Keys().qa)), NOW)
    for signer in (*world.keys.top, new, world.keys.release):
        world.builder.sign(signer)
    world.builder.publish(world.keys.online, NOW)
    assert world.device.install(world.public, world.index("1.1.0")).version == "1.1.0"
