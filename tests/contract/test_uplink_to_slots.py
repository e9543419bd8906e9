"""From what a fleet publishes to what a line runs: web server, uplink, slots. The mirror is all that lies between."""

import hashlib
from collections.abc import Iterator
from contextlib import closing

import pytest
from uplink_world import Uplink, enrol, open_uplink
from web_box import WebBox, web_box

from daemon import revocations
from signing.index import Kind
from signing.store import read_state
from tests.contract.stick_world import Stick
from tests.unit.store_world import in_memory


@pytest.fixture
def fleet() -> Iterator[Stick]:
    """A fleet whose allow-list activates pair 1, and its device, which has nothing yet."""
    with in_memory() as folder:
        fleet = Stick(folder / "made")
        fleet.add(1)
        fleet.allow(1, activate=1)
        fleet.publish()
        enrol(fleet.world.state, fleet.builder.root_bytes())
        yield fleet


@pytest.fixture
def server(fleet: Stick) -> Iterator[WebBox]:
    with web_box(fleet.builder.public) as box:
        yield box


@pytest.fixture
def uplink(fleet: Stick, server: WebBox) -> Iterator[Uplink]:
    opened = open_uplink(fleet.world.state, repository=server.url)
    with closing(opened.duty):
        yield opened


def update(fleet: Stick, uplink: Uplink) -> None:
    """Let uplink poll and slots do what it is asked for, until neither has more to do."""
    for _ in range(6):
        uplink.turn()
        assert uplink.status.ok, uplink.status.text
        if not uplink.requests():
            return
        fleet.world.run()
    raise AssertionError(f"uplink asks again and again: {uplink.requests()}")


def blobs(fleet: Stick, number: int) -> set[str]:
    """Return the files of a pair as the web server names them."""
    paths = [path for kind in Kind for path in fleet.world.source(f"{kind}-{number}").rglob("*") if path.is_file()]
    return {f"/blobs/{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in paths}


def test_what_is_published_runs_and_its_bytes_are_not_kept_twice(fleet: Stick, uplink: Uplink) -> None:
    update(fleet, uplink)
    assert fleet.world.active == fleet.world.digests["bundle-1"]
    assert uplink.blobs() == set()
    assert "slots:" not in uplink.duty.said
    assert ("bundle-activate", True) in fleet.world.recorder.told


def test_the_next_bundle_costs_what_changed(fleet: Stick, uplink: Uplink, server: WebBox) -> None:
    update(fleet, uplink)
    fleet.add(2)
    fleet.allow(1, 2, activate=2)
    fleet.publish()
    server.asked.clear()
    update(fleet, uplink)
    assert fleet.world.active == fleet.world.digests["bundle-2"]
    fetched = {path for _, path in server.asked if path.startswith("/blobs/")}
    assert fetched == blobs(fleet, 2) - blobs(fleet, 1)
    assert blobs(fleet, 2) & blobs(fleet, 1)


def test_going_back_is_an_activation_of_what_is_installed_and_fetches_nothing(
    fleet: Stick, uplink: Uplink, server: WebBox
) -> None:
    update(fleet, uplink)
    fleet.add(2)
    fleet.allow(1, 2, activate=2)
    fleet.publish()
    update(fleet, uplink)
    fleet.allow(1, 2, activate=1)
    fleet.publish()
    server.asked.clear()
    update(fleet, uplink)
    assert fleet.world.active == fleet.world.digests["bundle-1"]
    assert not [path for _, path in server.asked if path.startswith("/blobs/")]


def test_what_is_only_removed_from_the_repository_is_revoked_on_the_device_too(fleet: Stick, uplink: Uplink) -> None:
    update(fleet, uplink)
    bundle = fleet.world.digests["bundle-1"]
    fleet.builder.remove(Kind.BUNDLE.target(bundle), fleet.now)
    fleet.allow(activate=0)
    fleet.publish()
    update(fleet, uplink)
    assert "does not list it" in revocations.read(fleet.world.state).by_digest()[bundle]
    assert fleet.world.active == bundle


def test_a_mirror_that_was_tampered_with_is_refused_by_slots_and_filled_again(fleet: Stick, uplink: Uplink) -> None:
    uplink.turn()
    fleet.world.run()
    uplink.turn()
    blob = max((fleet.world.state / "incoming" / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    data = blob.read_bytes()
    blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    fleet.world.run()
    assert read_state(fleet.world.store).active == 0
    update(fleet, uplink)
    assert fleet.world.active == fleet.world.digests["bundle-1"]
