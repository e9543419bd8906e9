"""What a device says of its plans, what it hands to QA, and what QA's command makes of that."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs

from daemon.slots.plan_bench import build_missing
from daemon.slots.plans import opened as installed_bundle
from daemon.store_requests import What
from engines.onnx_plan import OnnxPlanMaker
from engines.plan_file import Evidence
from engines.plan_shelf import Shelf
from fleet.folder import Folder
from provisioning import cli
from signing.keyring import STORE_DOCUMENT, load_trust
from signing.plan_approval import read_plan_approval
from signing.store import put_trust
from tests.contract.fleet_world import ANNA, JONAS, Answer, World
from tests.contract.plan_world import PlanDevice
from tests.unit.store_world import Device, in_memory
from tests.vectors.plan_approval_1 import BACKEND, REASON, sign


@pytest.fixture
def device() -> Iterator[PlanDevice]:
    """A bundle and a recipe are installed, their plan is built, nobody has signed it."""
    with in_memory() as folder:
        made = PlanDevice(folder)
        made.install(1)
        yield made


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("fleet"))


def linewarden(device: Device, *words: str) -> int:
    return cli.main(["bundle", *words, "--station", str(device.station)])


def rows(device: Device, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert linewarden(device, "plans", "--json") == 0
    return list(json.loads(capsys.readouterr().out))


def test_a_plan_that_nobody_signed_says_what_to_do(device: PlanDevice, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = rows(device, capsys)
    evidence = device.evidence
    assert (row["bundle"], row["model"], row["backend"]) == (device.digests["bundle-1"], "side", BACKEND)
    assert (row["plan"], row["built"], row["seconds"]) == (evidence.plan_sha256, evidence.built_utc, evidence.seconds)
    assert row["golden"] == evidence.golden[0].worst_absolute and row["equivalence"] == 0.0
    assert row["approved_by"] == "" and "nobody has signed its plan" in row["text"]
    assert linewarden(device, "plans") == 0
    assert "not to be loaded: bundle tiny 1.0.0, model 'side': nobody has signed" in capsys.readouterr().out


@pytest.mark.clause("21 CFR 11.50")
def test_a_signed_plan_names_who_when_and_why(device: PlanDevice, capsys: pytest.CaptureFixture[str]) -> None:
    assert device.approve(sign(device.asked())).ok
    (row,) = rows(device, capsys)
    assert (row["approved_by"], row["approved_why"], row["text"]) == (ANNA, REASON, "")
    assert linewarden(device, "plans") == 0
    assert f"approved by {ANNA}, 2026-11-23T00:00:00Z: {REASON}" in capsys.readouterr().out


def test_a_missing_plan_and_one_of_another_runtime_are_both_shown(
    device: PlanDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = device.shop()
    (device.plans / device.evidence.source.key).rename(device.folder / "away")
    shelf = Shelf(device.plans, "box", OnnxPlanMaker("1.0.0"), shop.trust(shop.book.state.trust))
    build_missing(shelf, installed_bundle(shop, device.digests["bundle-1"]))
    missing, other = rows(device, capsys)
    assert missing["plan"] == "" and "one was built for version 1.0.0" in missing["text"]
    assert other["device"].startswith("1.0.0 on ") and "`collect` removes it" in other["text"]


def test_a_damaged_plan_is_shown_as_one(device: PlanDevice, capsys: pytest.CaptureFixture[str]) -> None:
    device.file("plan").write_bytes(b"x")
    (row, *_) = rows(device, capsys)
    assert row["plan"] == "" and "was changed" in row["text"]


def test_a_station_that_runs_no_plans_has_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    device = Device(tmp_path)
    device.install(1)
    assert rows(device, capsys) == []
    assert linewarden(device, "plans") == 0 and "there are no plans" in capsys.readouterr().out


def test_a_back_end_that_is_not_there_is_one_line(device: PlanDevice, capsys: pytest.CaptureFixture[str]) -> None:
    device.station.write_text(device.station.read_text().replace(BACKEND, "tensorrt"))
    assert linewarden(device, "plans") == 1
    assert capsys.readouterr().err.startswith("linewarden: tensorrt: not installed")


def test_a_request_is_of_a_named_or_the_active_bundle_and_replaces_nothing(
    device: PlanDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    path = device.folder / "r.json"
    assert linewarden(device, "plans", "--request", str(path)) == 1
    assert "no bundle is active" in capsys.readouterr().err
    assert linewarden(device, "plans", device.digests["bundle-1"][:8], "--request", str(path)) == 0
    found = json.loads(path.read_text())
    assert found["plans"] == {"side": device.file("evidence.json").read_text()}
    assert linewarden(device, "plans", "tiny", "--request", str(path)) == 1
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"x" * 5000])
def test_what_is_no_approval_is_not_handed_in(
    device: PlanDevice, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (device.folder / "a").write_bytes(content)
    before = list(device.recorder.rows)
    assert linewarden(device, "approve-plan", str(device.folder / "a"), "--reason", "x") == 1
    assert capsys.readouterr().err.count("\n") == 1 and list(device.recorder.rows) == before


def requested(device: PlanDevice, change: Callable[[Evidence], Evidence] | None = None, **changes: Any) -> Path:
    """Write a request, changed on its way to QA if so wanted."""
    path = device.folder / "line-4.json"
    path.unlink(missing_ok=True)
    assert linewarden(device, "plans", "tiny", "--request", str(path)) == 0
    found = json.loads(path.read_text()) | changes
    if change:
        evidence = msgspec.json.decode(found["plans"]["side"], type=Evidence)
        found["plans"]["side"] = msgspec.json.encode(change(evidence)).decode()
    path.write_text(json.dumps(found))
    return path


def approve(world: World, device: PlanDevice, path: Path, *more: str, name: str = ANNA) -> Answer:
    words = ["plan", "approve", path, "--bundle", device.source("bundle-1"), "--as", name, *more]
    return world.run(*words, *(() if "--reason" in more else ("--reason", "seen")))


def trusts(device: PlanDevice, world: World) -> Path:
    """Let the device's newest trust be the fleet's."""
    raw = Folder(world.fleet).builder.read_document(STORE_DOCUMENT)
    assert raw is not None
    shop = device.shop()
    digest = put_trust(device.store, raw)
    shop.book.commit(structs.replace(shop.book.state, trust=digest))
    return device.store / "trusts" / digest / "trust.json"


@pytest.mark.clause("21 CFR 11.50", "21 CFR 11.70")
def test_qa_sees_what_was_built_and_signs_it_and_the_device_takes_it(world: World, device: PlanDevice) -> None:
    path = requested(device)
    answer = approve(world, device, path, "--role", "qa", "--reason", "JetPack 7.2")
    assert answer.status == 0, answer.error
    shown = answer.out.splitlines()[0]
    assert f"let box inspect with plan {device.evidence.plan_sha256[:12]} of model 'side'" in shown
    assert f"{BACKEND} {device.evidence.source.version} on {device.evidence.source.device}" in shown
    raw = path.with_name("line-4.plan-approval").read_bytes()
    found = read_plan_approval(raw, load_trust(trusts(device, world), production=False))
    assert (found.bundle, found.said.station, found.said.reason) == (device.digests["bundle-1"], "box", "JetPack 7.2")
    taken = device.approve(raw)
    assert taken.ok, taken.text
    assert (
        approve(world, device, path).error.startswith("linewarden-fleet: ")
        and raw == path.with_name("line-4.plan-approval").read_bytes()
    )


def test_only_qa_signs(world: World, device: PlanDevice) -> None:
    path = requested(device)
    answer = approve(world, device, path, name=JONAS)
    assert answer.status == 1 and "does not have role 'qa'" in answer.error
    assert approve(world, device, path, "--role", "release").status == 2
    assert not path.with_name("line-4.plan-approval").exists()


REFUSED: dict[str, tuple[Callable[[PlanDevice], Path], str]] = {
    "another bundle": (lambda d: requested(d, bundle="0" * 64), "it is about bundle 000000000000"),
    "a model too few": (lambda d: requested(d, plans={"top": "{}"}), "not one plan for each model"),
    "another graph": (
        lambda d: requested(d, lambda e: structs.replace(e, source=structs.replace(e.source, onnx_sha256="0" * 64))),
        "built of another graph",
    ),
    "no golden set": (lambda d: requested(d, lambda e: structs.replace(e, golden=())), "the whole golden set"),
    "no equivalence": (lambda d: requested(d, lambda e: structs.replace(e, equivalence=())), "whole equivalence set"),
    "no evidence": (lambda d: requested(d, plans={"side": "nothing"}), "have it written again"),
    "no request": (lambda d: d.station, "write it again"),
    "no file": (lambda d: d.folder / "none", "name a file"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_not_whole_is_not_signed(world: World, device: PlanDevice, why: str) -> None:
    make, shown = REFUSED[why]
    answer = approve(world, device, make(device))
    assert answer.status == 1 and shown in answer.error and answer.error.count("\n") == 1
    assert list(device.folder.glob("*.plan-approval")) == []


@pytest.mark.clause("21 CFR 11.70")
def test_a_person_who_was_shown_other_numbers_has_approved_nothing(world: World, device: PlanDevice) -> None:
    """The evidence is made to look better on its way to QA; the plan is the very same."""
    path = requested(device, lambda e: structs.replace(e, golden=(structs.replace(e.golden[0], worst_absolute=0.0),)))
    assert approve(world, device, path).status == 0
    trusts(device, world)
    taken = device.approve(path.with_name("line-4.plan-approval").read_bytes())
    assert not taken.ok and "was shown other evidence" in taken.text


def test_one_signature_for_many_devices(world: World, device: PlanDevice) -> None:
    first = requested(device)
    second = device.folder / "line-5.json"
    second.write_text(first.read_text().replace('"box"', '"line-5"'))
    out = device.folder / "signed"
    out.mkdir()
    words = ["plan", "approve", first, second, "--bundle", device.source("bundle-1"), "--as", ANNA, "--reason", "all"]
    assert world.run(*words, "--out", out).status == 0
    trusts(device, world)
    assert device.approve((out / "line-4.plan-approval").read_bytes()).ok
    taken = device.ask(What.APPROVE_PLAN, (out / "line-5.plan-approval").read_text())
    assert not taken.ok and "it is for station line-5, here is box" in taken.text
