"""`linewarden-fleet` as publishers use it: what two people sign reaches devices, and nothing else does."""

import json
import shutil
from pathlib import Path

import pytest

from fleet import journal
from signing.permission import Pair
from tests.contract.fleet_world import ANNA, CARLA, JONAS, Reader, World, done, run


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Pair, Pair]:
    """A fleet with two published pairs, none on an allow-list."""
    world = World(tmp_path_factory.mktemp("fleet"))
    world.done("publish")
    return world, world.published("1.0.0"), world.published("2.0.0")


@pytest.fixture
def world(founded: tuple[World, Pair, Pair], tmp_path: Path) -> World:
    """A copy of it to be changed: keys and sources stay where they are."""
    return founded[0].copy(tmp_path / "fleet")


@pytest.fixture
def first(founded: tuple[World, Pair, Pair]) -> Pair:
    return founded[1]


@pytest.fixture
def second(founded: tuple[World, Pair, Pair]) -> Pair:
    return founded[2]


def _named(pair: Pair) -> list[str]:
    return ["--bundle", pair.bundle[:8], "--recipe", pair.recipe[:8], "--reason", "validated"]


def test_a_line_takes_what_two_people_activated_for_it(world: World, first: Pair, tmp_path: Path) -> None:
    device = Reader(tmp_path / "device", world)
    assert "no allow-list" in device.decide("line-1").why
    world.done("activate", "line-1", *_named(first), "--change-control", "CC-17")
    assert "no allow-list" in device.decide("line-1").why
    world.done("publish")
    decision = device.decide("line-1")
    assert decision.download == (first,)
    assert decision.activate is not None
    assert (decision.activate.change_control, decision.activate.printed_name) == ("CC-17", ANNA)
    assert "no allow-list" in device.decide("line-2").why


def test_one_person_alone_publishes_nothing(world: World, first: Pair, tmp_path: Path) -> None:
    device = Reader(tmp_path / "device", world)
    world.done("activate", "line-1", *_named(first), "--change-control", "CC-17")
    answer = world.done("publish", "--as", ANNA, "--json")
    assert answer.document["not_published"] == [f"allowlists 2 needs 1 more of {JONAS}"]
    assert "no allow-list" in device.decide("line-1").why
    again = world.run("publish", "--as", ANNA, "--json").document["not_published"]
    assert again == [f"allowlists 2 needs 1 more of {JONAS}"]
    stranger = world.run("publish", "--as", CARLA)
    assert (stranger.status, "nothing staged needs" in stranger.error) == (1, True)
    assert "published" in world.done("publish", "--as", JONAS).out
    assert device.decide("line-1").activate is not None


def test_two_people_of_one_role_publish_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, {ANNA: "qa", "Dora Lang": "qa", JONAS: "release"})
    assert f"by {JONAS}" in world.done("publish").out
    pair = world.published("1.0.0")
    world.done("activate", "line-1", *_named(pair), "--change-control", "CC-17")
    refused = world.run("publish", "--as", ANNA, "--as", "Dora Lang")
    assert (refused.status, "another of release must sign" in refused.error) == (1, True)
    assert "published" in world.done("publish", "--as", JONAS).out


def test_people_see_what_they_sign(world: World, first: Pair) -> None:
    world.done("rollout", "new", "r1", *_named(first), "--percent", "10", "--line", "line-1")
    said = world.done("publish").out.splitlines()
    assert f"will let line-1 take bundle {first.bundle[:12]}" in said
    bundle, recipe = first.bundle[:12], first.recipe[:12]
    assert f"will begin roll-out r1: bundle {bundle} with recipe {recipe} to 10 % of line-1" in said


def test_a_change_after_the_first_signature_takes_the_signature_away(world: World, first: Pair, second: Pair) -> None:
    world.done("activate", "line-1", *_named(first), "--change-control", "CC-17")
    world.done("publish", "--as", ANNA)
    world.done("activate", "line-1", *_named(second), "--change-control", "CC-18")
    waiting = world.done("publish", "--as", JONAS, "--json").document["not_published"]
    assert waiting == [f"allowlists 2 needs 1 more of {ANNA}"]


def test_a_revoked_bundle_is_gone_everywhere(world: World, first: Pair, second: Pair, tmp_path: Path) -> None:
    device = Reader(tmp_path / "device", world)
    world.done("rollout", "new", "r1", *_named(first), "--percent", "100", "--line", "line-1", "--line", "line-2")
    world.done("activate", "line-1", *_named(first), "--change-control", "CC-17")
    world.done("publish")
    assert device.decide("line-2").download == (first,)
    answer = world.done("revoke", "bundle", first.bundle[:8], "--reason", "cracks missed", "--json")
    assert answer.document["nothing_activates_there_now"] == ["line-1"]
    world.done("publish")
    for line in ("line-1", "line-2"):
        decision = device.decide(line)
        assert (decision.download, decision.activate) == ((), None)
    shown = world.run("show", "--json")
    assert shown.status == 2
    found = done("show", "--json", "--fleet", world.fleet).document
    assert found["revoked"] == [f"bundle {first.bundle[:12]} by {ANNA}: cracks missed"]
    assert len(found["bundles"]) == 1
    again = world.run("revoke", "bundle", first.bundle, "--reason", "cracks missed")
    assert (again.status, "none begins" in again.error) == (1, True)
    back = world.run("activate", "line-1", *_named(second), "--change-control", "CC-19")
    assert back.status == 0


def test_a_paused_roll_out_reaches_nobody_until_it_is_resumed(world: World, first: Pair, tmp_path: Path) -> None:
    device = Reader(tmp_path / "device", world)
    world.done("rollout", "new", "r1", *_named(first), "--percent", "100", "--line", "line-1")
    world.done("publish")
    for act, taken in (("pause", ()), ("resume", (first,)), ("end", ())):
        world.done("rollout", act, "r1", "--reason", "QA asked")
        world.done("publish")
        assert device.decide("line-1").download == taken


def test_a_stick_says_what_the_network_says(world: World, first: Pair, tmp_path: Path) -> None:
    device = Reader(tmp_path / "device", world)
    world.done("activate", "line-1", *_named(first), "--change-control", "CC-17")
    refused = world.run("export-usb", tmp_path / "stick")
    assert (refused.status, "not published" in refused.error) == (1, True)
    world.done("publish")
    document = world.done("export-usb", tmp_path / "stick", "--line", "line-1", "--json").document
    assert f"bundles/{first.bundle}.json" in document["documents"]
    assert device.decide("line-1", source=tmp_path / "stick").download == (first,)


def test_a_recipe_for_another_bundle_is_not_paired(world: World, first: Pair, second: Pair) -> None:
    answer = world.run("activate", "line-1", *_named(Pair(first.bundle, second.recipe)), "--change-control", "CC-1")
    assert (answer.status, "is for bundle" in answer.error) == (1, True)


def test_what_one_role_did_not_sign_is_not_published(world: World, tmp_path: Path) -> None:
    pair, bundle, _ = world.built("3.0.0")
    try:
        (bundle / "signatures" / "release.sig").unlink()
        answer = world.run("publish", bundle)
        assert answer.status == 1
        assert "release" in answer.error
        assert answer.error.count("\n") == 1
        assert pair.bundle not in (done("show", "--fleet", world.fleet).out)
    finally:
        for name in ("bundle-3.0.0", "recipe-3.0.0"):
            shutil.rmtree(world.folder / name)


def test_a_bundle_whose_golden_set_is_wrong_is_not_published(world: World) -> None:
    golden = {"tolerance": 0.001, "cases": [{"file": "golden.png", "model": "side", "scores": {}}]}
    golden["cases"][0]["scores"] = {"bright": 0.9, "grey": 0.2125}  # type: ignore[index]
    _, bundle, _ = world.built("4.0.0", golden=golden)
    answer = world.run("publish", bundle)
    assert (answer.status, "golden set" in answer.error) == (1, True)


@pytest.mark.parametrize("missing", ["training", "golden", "sbom"])
def test_no_bundle_is_built_without_its_records(world: World, missing: str, tmp_path: Path) -> None:
    answer = world.run("bundle", "build", world.spec(**{missing: None}), tmp_path / "bundle")
    assert answer.status == 1
    assert f"no '{missing}'" in answer.error
    assert not (tmp_path / "bundle").exists()


def test_nobody_signs_for_a_role_that_is_not_theirs(world: World) -> None:
    _, bundle, _ = world.built("5.0.0")
    answer = world.run("sign", bundle, "--role", "release", "--as", ANNA, "--reason", "in a hurry")
    assert (answer.status, f"{ANNA} does not have role 'release'" in answer.error) == (1, True)
    answer = world.run("sign", bundle, "--role", "qa", "--as", ANNA, "--reason", " ")
    assert (answer.status, "no reason" in answer.error) == (1, True)


def test_a_person_s_key_is_replaced_everywhere(world: World, first: Pair, tmp_path: Path) -> None:
    device = Reader(tmp_path / "device", world)
    device.open()
    new = f"file:{tmp_path / 'anna-2.pem'}"
    done("key", "new", new, "--fleet", tmp_path, "--yes")
    world.done("rotate-root", ANNA, "--key", new, "--reason", "token lost")
    world.done("publish", "--as", JONAS, "--as", CARLA, "--as", ANNA)
    repository = device.open()
    assert repository.versions.root == 2
    raw = repository.document("trust.json", 100_000)
    assert raw is not None
    keys = {person["name"]: key for key, person in json.loads(raw)["people"].items()}
    shown = done("key", "show", ANNA, "--fleet", world.fleet, "--json").document
    assert keys[ANNA] == shown["key_id"]
    world.done("activate", "line-1", *_named(first), "--change-control", "CC-17")
    world.done("publish")
    assert device.decide("line-1").activate is not None


def test_what_is_signed_again_is_published_again(world: World, first: Pair) -> None:
    bundle, recipe = world.folder / "bundle-1.0.0", world.folder / "recipe-1.0.0"
    assert world.run("publish", bundle, recipe).status == 1
    world.done("sign", bundle, "--role", "qa", "--as", ANNA, "--reason", "signed again")
    assert "signed: bundles by" in world.done("publish", bundle, recipe).out
    assert first.bundle in done("show", "--fleet", world.fleet).out


def test_a_key_is_revoked_once_its_owner_has_another(world: World, tmp_path: Path) -> None:
    device = Reader(tmp_path / "device", world)
    old = done("key", "show", ANNA, "--fleet", world.fleet, "--json").document["key_id"]
    refused = world.run("revoke", "key", old, "--reason", "token lost")
    assert (refused.status, "rotate-root" in refused.error) == (1, True)
    new = f"file:{tmp_path / 'anna-2.pem'}"
    done("key", "new", new, "--fleet", tmp_path, "--yes")
    world.done("rotate-root", ANNA, "--key", new, "--reason", "token lost")
    world.done("revoke", "key", old, "--reason", "token lost")
    assert "published" in world.done("publish").out
    repository = device.open()
    trust, revoked = (repository.document(path, 100_000) for path in ("trust.json", "allowlists/revoked.json"))
    assert trust is not None
    assert revoked is not None
    assert old not in json.loads(trust)["people"]
    assert [entry["id"] for entry in json.loads(revoked)["entries"]] == [old]


def test_every_act_is_in_the_journal_with_who_and_why(world: World, first: Pair) -> None:
    before = len(journal.entries(world.fleet))
    world.done("activate", "line-1", *_named(first), "--change-control", "CC-17")
    begun, ended = journal.entries(world.fleet)[before:]
    assert (begun["command"], begun["reason"], begun["digest"]) == ("activate", "validated", first.bundle)
    assert (begun["outcome"], ended["outcome"]) == ("begun", "done")
    world.run("publish", "--as", CARLA)
    assert "nothing staged needs" in journal.entries(world.fleet)[-1]["outcome"]


def test_a_swap_order_is_signed_by_qa_alone(world: World, first: Pair, tmp_path: Path) -> None:
    words = ["order", "swap", tmp_path / "order.json", "--batch", "B-7", *_named(first)]
    refused = world.run(*words, "--as", JONAS)
    assert (refused.status, "role 'qa'" in refused.error) == (1, True)
    world.done(*words, "--as", ANNA)
    assert 0 < (tmp_path / "order.json").stat().st_size < 3000


def test_two_people_make_a_token_nobody_else_may_read(world: World, tmp_path: Path) -> None:
    token = tmp_path / "token"
    answer = world.done("token", "box-1", "--line", "line-1", "--out", token, "--reason", "new box")
    assert oct(token.stat().st_mode)[-3:] == "600"
    nonce = token.read_text()[200:240]
    assert nonce not in answer.out + (world.fleet / journal.FILE).read_text()


def test_what_is_wrong_is_one_line(world: World, tmp_path: Path) -> None:
    for status, words in (
        (1, ["show", "--fleet", tmp_path]),
        (1, ["sign", tmp_path / "nothing", "--role", "qa", "--as", ANNA, "--reason", "x", "--fleet", world.fleet]),
        (1, ["sign", tmp_path, "--role", "qa", "--key", "file:nowhere.pem", "--reason", "x", "--fleet", world.fleet]),
        (
            1,
            ["activate", "rollout", *_named(Pair("0" * 64, "1" * 64)), "--change-control", "x", "--fleet", world.fleet],
        ),
        (1, ["publish", "--fleet", world.fleet, "--yes"]),
        (1, ["publish", "--timestamp", "--fleet", world.fleet]),
        (2, ["publish", "--nonsense"]),
        (2, ["activate"]),
        (1, ["bundle", "build", tmp_path / "none.toml", tmp_path / "out"]),
        (1, ["init", world.fleet, "--person", f"{ANNA},qa,file:x.pem"]),
        (1, ["init", tmp_path / "new", "--person", "Anna", "--yes"]),
        (1, ["init", tmp_path / "new", "--production", "--person", f"{ANNA},qa,file:x.pem", "--yes"]),
        (1, ["ca", "list", "--fleet", world.fleet]),
        (1, ["status", tmp_path / "nowhere", "--fleet", world.fleet]),
        (1, ["token", "box", "--line", "l", "--out", tmp_path / "t", "--fleet", world.fleet, "--yes"]),
    ):
        answer = run(*words)
        assert answer.status == status, (words, answer)
        assert answer.error.count("\n") == 1, answer.error
        assert "Traceback" not in answer.error
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "t").exists()


def test_the_timestamp_is_signed_again_without_people(world: World) -> None:
    assert "timestamp" in world.done("publish", "--timestamp").out
