"""Roll-outs judged by what devices signed: too many failures, and the pause that people then sign."""

import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from fleet.authority import open_authority
from signing import status_note
from signing.certificates import Usage, read_certificate
from signing.device_status import DeviceStatus, Failed, as_document
from signing.identity import open_identity
from signing.permission import Pair
from signing.utc import utc_text
from tests.contract.enrolment_world import request_of
from tests.contract.fleet_world import Reader, World, done, run


@pytest.fixture(scope="module")
def rolled(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Pair]:
    """A fleet with an authority and a roll-out to line-1, and one device that could not install it."""
    world = World(tmp_path_factory.mktemp("fleet"))
    world.done("publish")
    pair = world.published("1.0.0")
    words = ["--bundle", pair.bundle, "--recipe", pair.recipe, "--reason", "first"]
    world.done("rollout", "new", "r1", *words, "--percent", "100", "--line", "line-1")
    world.done("publish")
    world.done("ca", "init")
    (world.folder / "statuses").mkdir()
    _report(world, failed=(Failed(*pair, "no room"),))
    return world, pair


def _report(world: World, **said: object) -> None:
    token = world.folder / "token"
    world.done("token", "box-1", "--line", "line-1", "--out", token, "--reason", "new")
    identity = open_identity("development", world.folder, "", production=False, make=True)
    with closing(open_authority(world.fleet / "authority", world.fleet / "trust.json")) as authority:
        issued = authority.enrol(request_of(identity, "box-1", "line-1"), token.read_bytes())
        raw = issued.public_bytes(Encoding.DER)
        certificate = read_certificate(raw, Usage.IDENTITY, [authority.certificate], "answer")
    base = {"format": 1, "device": "box-1", "line": "line-1", "utc": utc_text(datetime.now(UTC)), "number": 1}
    status = DeviceStatus(**{**base, **said})  # type: ignore[arg-type]
    signed = status_note.sign(identity, certificate, as_document(status))
    (world.folder / "statuses" / "box-1.json").write_bytes(signed)
    identity.close()


def test_too_many_failures_are_said_and_a_pause_is_staged(rolled: tuple[World, Pair], tmp_path: Path) -> None:
    world, pair = rolled
    device = Reader(tmp_path / "device", world)
    assert device.decide("line-1").download == (pair,)
    statuses = world.folder / "statuses"
    said = run("rollout", "status", statuses, "--fleet", world.fleet)
    assert (said.status, "too many failures in r1" in said.error) == (1, True)
    assert "1 failed (limit 0); box-1: no room" in said.out
    paused = world.done("rollout", "status", statuses, "--pause", "--reason", "box-1 failed", "--json").document
    assert paused["rollouts"][0]["failures"] == {"box-1": "no room"}
    assert paused["staged"] == ["allowlists/rollout.json"]
    world.done("publish")
    assert device.decide("line-1").download == ()
    again = done("rollout", "status", statuses, "--fleet", world.fleet)
    assert "100 % paused" in again.out


def test_a_device_is_shown_until_it_is_revoked(rolled: tuple[World, Pair]) -> None:
    world, _ = rolled
    statuses = world.folder / "statuses"
    (row,) = done("status", statuses, "--fleet", world.fleet, "--json").document["devices"]
    assert (row["line"], row["device"], row["standing"]) == ("line-1", "box-1", "fresh")
    (device,) = done("ca", "list", "--fleet", world.fleet, "--json").document["devices"]
    world.done("revoke", "device", device["id"], "--reason", "stolen")
    world.done("publish")
    (row,) = done("status", statuses, "--fleet", world.fleet, "--json").document["devices"]
    assert (row["standing"], row["note"]) == ("refused", "this device is revoked")
    (device,) = done("ca", "list", "--fleet", world.fleet, "--json").document["devices"]
    assert device["revoked"]
    assert "stolen" in json.dumps(done("show", "--fleet", world.fleet, "--json").document["revoked"])
