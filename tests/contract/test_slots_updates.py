"""Slots and a real TUF repository on a stick: what the fleet permits is installed and activated, and nothing else."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import revocations
from daemon.store_requests import What
from signing.index import Kind
from signing.store import read_state
from signing.store_keep import trusts_of
from tests.contract.stick_world import Stick
from tests.unit.store_world import Device, in_memory
from tests.vectors.bundle_1 import KEYS, make_trust


@pytest.fixture(scope="module")
def made() -> Iterator[Stick]:
    """A stick with bundle 1, to be activated, for a device that has nothing; tests take a copy."""
    with in_memory() as folder:
        stick = Stick(folder / "made")
        stick.add(1)
        stick.allow(1, activate=1)
        stick.publish()
        yield stick


@pytest.fixture
def stick(made: Stick) -> Iterator[Stick]:
    with in_memory() as folder:
        yield made.copy(folder / "copy")


def test_a_stick_installs_and_activates_what_the_allow_list_says_and_each_act_is_on_record(stick: Stick) -> None:
    answer = stick.plug_in()
    assert answer.ok, answer.text
    assert stick.world.active == stick.world.digests["bundle-1"]
    assert stick.world.recorder.told == [
        ("bundle-install", True), ("bundle-install", True), ("bundle-activate", True), ("update-apply", True),
    ]  # fmt: skip
    activated = [row for row in stick.world.recorder.rows.values() if row.what == "bundle-activate"]
    assert activated[0].why == "CC-7 by Anna Berg: validated"
    installed = read_state(stick.world.store).installed[stick.world.digests["bundle-1"]]
    assert installed.versions == (1, 2, 2)
    again = stick.plug_in()
    assert again.ok and "nothing is new" in again.text


def test_what_a_person_rolled_back_stays_so_until_the_allow_list_has_a_new_order(stick: Stick) -> None:
    stick.plug_in()
    stick.add(2)
    stick.allow(1, 2, activate=2)
    stick.publish()
    assert stick.plug_in().ok
    assert stick.world.ask(What.ROLLBACK).ok
    assert stick.plug_in().ok
    assert stick.world.active == stick.world.digests["bundle-1"]
    stick.allow(1, 2, activate=2, change_control="CC-8")
    stick.publish()
    assert stick.plug_in().ok
    assert stick.world.active == stick.world.digests["bundle-2"]


def test_a_check_says_what_an_update_would_do_and_installs_nothing(stick: Stick) -> None:
    answer = stick.plug_in(What.CHECK)
    assert answer.ok and "1 to have" in answer.text and "CC-7" in answer.text
    assert read_state(stick.world.store).installed == {}


def test_what_is_not_on_the_allow_list_is_not_installed_from_a_folder_either(stick: Stick) -> None:
    stick.plug_in()
    stick.world.make(2)
    answer = stick.world.ask(What.INSTALL, str(stick.world.source("bundle-2")))
    assert not answer.ok and "not on the allow-list" in answer.text
    assert stick.world.digests["bundle-2"] not in read_state(stick.world.store).installed


def test_a_revocation_holds_at_once_and_refuses_the_next_batch_and_not_the_store(stick: Stick) -> None:
    stick.plug_in()
    bundle, recipe = stick.world.digests["bundle-1"], stick.world.digests["recipe-1"]
    assert revocations.read(stick.world.state).why(bundle, recipe) == ""
    stick.builder.remove(Kind.BUNDLE.target(bundle), stick.now)
    stick.revoke(("bundle", bundle))
    stick.publish()
    assert stick.plug_in(What.CHECK).ok
    why = revocations.read(stick.world.state).why(bundle, recipe)
    assert bundle[:12] in why and "misses cracks" in why
    assert stick.world.active == bundle


def test_what_the_fleet_no_longer_lists_is_revoked_here(stick: Stick) -> None:
    stick.plug_in()
    bundle = stick.world.digests["bundle-1"]
    stick.builder.remove(Kind.BUNDLE.target(bundle), stick.now)
    stick.publish()
    stick.plug_in(What.CHECK)
    assert "does not list it" in revocations.read(stick.world.state).by_digest()[bundle]


def test_what_was_unlisted_stays_so_where_a_stick_lacks_the_list(stick: Stick) -> None:
    stick.plug_in()
    bundle = stick.world.digests["bundle-1"]
    stick.builder.remove(Kind.BUNDLE.target(bundle), stick.now)
    stick.publish()
    stick.plug_in(What.CHECK)
    assert bundle in revocations.read(stick.world.state).by_digest()
    stick.add(2)
    stick.publish()
    for file in (stick.builder.public / "metadata").glob("*.bundles.json"):
        file.unlink()
    assert stick.plug_in(What.CHECK).ok
    assert bundle in revocations.read(stick.world.state).by_digest()


def test_what_a_revoked_key_signed_is_revoked(stick: Stick) -> None:
    stick.plug_in()
    bundle, recipe = stick.world.digests["bundle-1"], stick.world.digests["recipe-1"]
    (signer, _) = read_state(stick.world.store).installed[bundle].signers
    stick.revoke(("key", signer))
    stick.publish()
    stick.plug_in(What.CHECK)
    found = revocations.read(stick.world.state)
    assert "misses cracks" in found.by_digest()[bundle] and found.why("", "", [signer]) != ""
    assert set(found.by_digest()) == {bundle, recipe}
    for what, subject in ((What.INSTALL, str(stick.world.source("bundle-1"))), (What.ACTIVATE, recipe)):
        answer = stick.world.ask(what, subject)
        assert not answer.ok and "revoked" in answer.text


def test_what_a_revoked_key_signs_later_is_not_taken(stick: Stick) -> None:
    """The trust document that still names the key is as new as the list that revokes it."""
    stick.plug_in()
    before = stick.world.active
    (signer, _) = read_state(stick.world.store).installed[before].signers
    stick.revoke(("key", signer))
    stick.add(2)
    stick.allow(1, 2, activate=2)
    stick.publish()
    answer = stick.plug_in()
    assert not answer.ok and f"key {signer[:12]} that signed it is revoked" in answer.text
    assert stick.world.active == before
    assert not stick.world.ask(What.INSTALL, str(stick.world.source("bundle-2"))).ok
    assert stick.world.digests["bundle-2"] not in read_state(stick.world.store).installed


def test_a_rotated_trust_installs_the_next_and_does_not_stop_what_is_installed(stick: Stick) -> None:
    stick.plug_in()
    before = read_state(stick.world.store).trust
    make_trust(stick.world.folder / "trust-2", {role: KEYS[role] for role in reversed(list(KEYS))})
    stick.builder.set_document("trust.json", (stick.world.folder / "trust-2" / "trust.json").read_bytes(), stick.now)
    stick.publish()
    assert stick.plug_in().ok
    state = read_state(stick.world.store)
    assert state.trust != before and trusts_of(state) == {state.trust, before}
    assert state.generations[state.active].trust == before
    assert (stick.world.store / "active" / "trust" / "trust.json").is_file()


def test_an_old_stick_is_refused_and_changes_nothing(stick: Stick, tmp_path: Path) -> None:
    shutil.copytree(stick.builder.public, tmp_path / "old")
    stick.revoke(("bundle", "0" * 64))
    stick.publish()
    assert stick.plug_in().ok
    before = (stick.world.store / "revoked.json").read_bytes()
    answer = stick.world.ask(What.CHECK, str(tmp_path / "old"))
    assert not answer.ok and "\n" not in answer.text
    assert (stick.world.store / "revoked.json").read_bytes() == before


def test_a_bundle_that_fails_here_leaves_the_rest_and_says_so(stick: Stick) -> None:
    stick.add(2)
    stick.allow(1, 2, activate=2)
    stick.publish()
    blob = json.loads(stick.builder.read_document(Kind.BUNDLE.target(stick.world.digests["bundle-2"])))
    sha256 = blob["files"]["signatures/qa.sig"]["sha256"]
    (stick.builder.public / "blobs" / sha256).write_bytes(b"x" * blob["files"]["signatures/qa.sig"]["size"])
    answer = stick.plug_in()
    assert not answer.ok and "refused" in answer.text
    assert not (stick.world.store / "active").exists()
    assert stick.world.recorder.told[-1] == ("update-apply", False)


def test_without_updates_in_the_station_file_it_says_what_to_write(tmp_path: Path) -> None:
    device = Device(tmp_path)
    answer = device.ask(What.APPLY, str(tmp_path))
    assert not answer.ok and "[updates]" in answer.text
