"""Each attack is refused by name, in one line, and changes nothing; untouched, all of it is accepted."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract import attacks
from tests.contract.attack import Attack, Grounds, Section
from tests.contract.attacks import every_attack
from tests.contract.door_attacks import build_stick
from tests.contract.door_world import Counter, Door
from tests.contract.paper_world import Delivery
from tests.contract.swap_orders import swap
from tests.contract.update_world import build_world
from tests.proof.attacks_main import main
from tests.unit.store_world import in_memory


@pytest.fixture(scope="module")
def grounds() -> Iterator[Grounds]:
    with in_memory() as folder:
        yield Grounds(folder)


def _case(section: Section[Any], attack: Attack[Any]) -> Any:
    return pytest.param(section, attack, id=f"{section.title}: {attack.name}")


@pytest.mark.clause("21 CFR 11.10(a)", "21 CFR 11.10(g)", "21 CFR 11.30", "21 CFR 11.70", "21 CFR 11.300")
@pytest.mark.clause("21 CFR 211.68(b)", "IEC 62443-4-2 CR 1.2", "IEC 62443-4-2 CR 3.1", "IEC 62443-4-2 CR 3.4")
@pytest.mark.parametrize(("section", "attack"), [_case(*one) for one in every_attack()])
def test_an_attack_is_refused(grounds: Grounds, section: Section[Any], attack: Attack[Any]) -> None:
    outcome = grounds.outcome(section, attack)
    assert outcome.wrong == "", f"{outcome.refused_with}: {outcome.text}"


def test_no_two_attacks_have_one_name() -> None:
    names = [f"{section.title}: {attack.name}" for section, attack in every_attack()]
    assert len(set(names)) == len(names)


def test_untouched_everything_is_accepted(tmp_path: Path) -> None:
    delivery = Delivery.made(tmp_path / "delivery")
    delivery.admits()
    assert {delivery.install(one).digest for one in (delivery.bundle, delivery.recipe)}
    update = build_world(tmp_path / "update")
    assert update.device.install(update.public, update.index("1.1.0")).version == "1.1.0"
    door = Door(tmp_path / "door")
    assert door.enrols(door.device, door.site.token())()
    stick = build_stick(tmp_path / "stick")
    stick.allow(1, 2, activate=2)
    stick.publish()
    stick.apply()
    assert stick.world.active == stick.pair(2)[0]
    assert "sub-lot 2" in Counter.made(tmp_path / "counter").does(swap())


def _installs(world: Delivery) -> Any:
    return world.takes_bundle


def _fails(world: Delivery) -> Any:
    (world.bundle / "tiny.onnx").unlink()
    return world.takes_bundle


def _leaves(world: Delivery) -> Any:
    def attempt() -> None:
        (world.store / "left").write_bytes(b"behind")
        _fails(world)()

    return attempt


@pytest.mark.parametrize(
    ("attack", "shown"),
    [
        (Attack("planted", "DirectoryRefused", _installs), "ACCEPTED"),
        (Attack("planted", "DigestMismatch", _fails), "expected DigestMismatch"),
        (Attack("planted", "DirectoryRefused", _fails, "other words"), "it does not say 'other words'"),
        (Attack("planted", "DirectoryRefused", _leaves), "changed: left"),
    ],
)
def test_make_attacks_fails_where_one_is_accepted_or_refused_otherwise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], attack: Attack[Delivery], shown: str
) -> None:
    good = Attack("good", "DirectoryRefused", _fails, "tiny.onnx: missing")
    monkeypatch.setattr(attacks, "SECTIONS", (Section("planted", Delivery.made, [good, attack]),))
    assert main([]) == 1
    said = capsys.readouterr().out
    assert shown in said and "1 of 2 attacks" in said
    assert main(["--only", "good"]) == 0
    assert main(["--only", "no such attack"]) == 1
