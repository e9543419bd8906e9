"""Each attack on an update is refused by name, in one line, and leaves the device as it was."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import MetaFile

from signing.update_errors import UpdateError, UpdateRefused
from tests.contract.attack import Attack
from tests.contract.update_attacks import ATTACKS
from tests.contract.update_world import World, build_world, forge, forge_online
from tests.proof.attacks_main import outcome


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("fleet") / "world")


@pytest.fixture
def world(built: World, tmp_path: Path) -> Iterator[World]:
    yield built.copy(tmp_path / "world")


def test_the_world_is_sound(world: World) -> None:
    assert world.device.install(world.public, world.index("1.1.0")).version == "1.1.0"


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_is_refused(world: World, attack: Attack) -> None:
    attempt = attack.prepare(world)
    before = world.device.state()
    with pytest.raises(UpdateError) as refused:
        attempt()
    text = str(refused.value)
    assert attack.expected in f"{type(refused.value).__name__}: {text}"
    assert "\n" not in text and len(text) < 600
    after = world.device.state()
    new = {name for name in after if after[name] != before.get(name)}
    assert after.keys() >= before.keys()
    # An attack on one file of a bundle comes after its smaller files, which are whole.
    assert all(_whole(name, after[name]) for name in new), new


def test_a_delegated_role_that_has_a_number_for_a_name_is_refused(world: World) -> None:
    """Two people signed it, so it is the newest; nothing can be read by it."""
    evil = world.stolen()

    def targets(signed: Any) -> None:
        signed.version = 2
        signed.delegations.roles["bundles"].name = 7

    data = forge(evil, "1.targets.json", world.keys.top, targets, "2.targets.json")
    forge_online(evil, world, {"targets.json": MetaFile.from_data(2, data, ["sha256"])})
    with pytest.raises(UpdateRefused, match="TypeError"):
        world.device.install(evil, world.index("1.0.0"))


def test_make_attacks_tells_an_accepted_attack_and_a_wrong_reason(world: World) -> None:
    accepted = outcome(Attack("nothing at all", "DownloadError", lambda world: lambda: None), world)
    assert not accepted.good and accepted.refused_with == ""
    replay = Attack("whole old repository", "ExpiredMetadataError", lambda world: lambda: world.device.open(world.old))
    assert not outcome(replay, world).good


def _whole(name: str, data: bytes) -> bool:
    """A blob of the store under its own digest, the only thing an attempt may add."""
    return name == f"store/{hashlib.sha256(data).hexdigest()}"
