"""Plans in the store: built by slots, measured, signed by a person, loaded as vision loads them; or refused."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import structs
from onnx import ModelProto

from daemon import revocations
from daemon.revocations import Revoked
from daemon.slots.plan_bench import build_missing
from daemon.slots.plans import opened as installed_bundle
from daemon.slots.shop import fit_to_run
from daemon.store_requests import What
from engines.errors import EngineError, PlanMissing, PlanRefused
from engines.load import load as load_engine
from engines.onnx_plan import OnnxPlanMaker
from engines.plan_file import EVIDENCE, PLAN
from engines.plan_shelf import KEY_FILE, PLANS, Shelf
from engines.tensor_rt_build import BuiltPlan
from fleet.building import trust_document
from signing.durable import write_durably
from signing.errors import SigningError
from signing.manifest import Model
from signing.plan_approval import ApprovedPlan
from signing.store import REVOKED, put_trust
from signing.store_state import StoreRefused
from signing.trust import Role, key_id_of
from tests.contract.plan_world import PARTS, PlanDevice
from tests.contract.tensor_rt_graphs import needs_no_gpu
from tests.unit.store_world import Device, in_memory
from tests.vectors.bundle_1 import KEYS, NAMES, STRANGER, bundle_description, flip, make_bundle, tiny_model
from tests.vectors.plan_approval_1 import BACKEND, ROOT, sign


@pytest.fixture(scope="module")
def model_device() -> Iterator[PlanDevice]:
    with in_memory() as folder:
        device = PlanDevice(folder / "device")
        device.inspects()
        yield device


@pytest.fixture
def device(model_device: PlanDevice) -> Iterator[PlanDevice]:
    """A device that inspects with a signed plan; whatever a test does to it is its own."""
    with in_memory() as folder:
        yield model_device.copied(folder / "device")


@pytest.fixture
def fresh() -> Iterator[PlanDevice]:
    """A device with a bundle and a recipe installed, their plan built and nobody's signature on it."""
    with in_memory() as folder:
        device = PlanDevice(folder)
        device.install(1)
        yield device


def refusal(device: PlanDevice) -> str:
    """Why vision would not load what is active, in one line."""
    with pytest.raises((EngineError, SigningError)) as caught:
        device.opened()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_station_that_asks_for_none_builds_none(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.install(1)
    assert device.activate(1).ok and not (device.store / PLANS).exists()
    answer = device.ask(What.BUILD_PLANS)
    assert not answer.ok and "runs no plans" in answer.text
    answer = device.ask(What.APPROVE_PLAN, (ROOT / "good.plan-approval").read_text())
    assert not answer.ok


def test_an_installed_bundle_is_built_measured_and_waits_for_a_person(fresh: PlanDevice) -> None:
    evidence = fresh.evidence
    assert [one.file for one in evidence.golden] == [one.file for one in evidence.equivalence] == ["golden.png"]
    assert max(one.worst_absolute for one in (*evidence.golden, *evidence.equivalence)) < 0.001
    assert (fresh.plans / KEY_FILE).stat().st_mode & 0o777 == 0o640
    answer = fresh.activate(1)
    assert not answer.ok and "nobody has signed its plan" in answer.text and "\n" not in answer.text
    assert fresh.recorder.told[-1] == ("bundle-activate", False)
    assert fresh.approve(sign(fresh.asked())).ok
    assert fresh.activate(1).ok
    with closing(fresh.opened()) as plan:
        assert plan.approvers == (key_id_of(KEYS[Role.QA].public_key()),)
        assert set(plan.approvers) <= set(plan.loaded.signers)
        (used,) = plan.lookers.values()
        assert (used.engine.info.backend, used.engine.info.plan) == (BACKEND, evidence.plan_sha256)


def test_a_plan_that_holds_is_used_again(device: PlanDevice) -> None:
    before = device.evidence
    answer = device.ask(What.BUILD_PLANS)
    assert answer.ok and "is there" in answer.text
    assert device.evidence == before
    device.opened().close()


OTHER = {"side": ApprovedPlan("0" * 64, "0" * 64)}
UNFIT = {
    "another plan": (lambda d: sign(d.changed(OTHER)), "it is for plan 000000000000"),
    "other evidence": (lambda d: sign(d.changed(same_plan(d))), "was shown other evidence"),
    "another bundle": (lambda d: sign(d.changed(bundle="0" * 64)), "is not installed"),
    "another station": (lambda d: sign(d.changed(station="line-9")), "it is for station line-9, here is box"),
    "another back end": (lambda d: sign(d.changed(backend="tensorrt")), "it is for back end tensorrt"),
    "no such model": (lambda d: sign(d.changed({"top": OTHER["side"]})), "has no model 'top'"),
    "by release": (lambda d: sign(d.asked(), KEYS[Role.RELEASE], NAMES[Role.RELEASE]), "does not have role 'qa'"),
    "by a stranger": (lambda d: sign(d.asked(), STRANGER, "Mallory"), "is nobody's in the trust store"),
    "no approval": (lambda d: b"{}", "plan approval"),
}


def same_plan(device: PlanDevice) -> dict[str, ApprovedPlan]:
    return {"side": ApprovedPlan(device.evidence.plan_sha256, "0" * 64)}


@pytest.mark.clause("21 CFR 11.10(g)", "21 CFR 11.70")
@pytest.mark.parametrize("why", UNFIT)
def test_an_approval_of_anything_else_is_not_taken(device: PlanDevice, why: str) -> None:
    """What is refused at the door is refused as well where it lies beside the plan, by whatever way it came there."""
    make, shown = UNFIT[why]
    raw = make(device)
    before = device.file(f"{device.digests['bundle-1']}.approval").read_bytes()
    answer = device.approve(raw)
    assert not answer.ok and shown in answer.text and "\n" not in answer.text
    assert device.recorder.told[-1] == ("bundle-approve-plan", False)
    assert device.file(f"{device.digests['bundle-1']}.approval").read_bytes() == before
    if why != "other evidence":
        device.file(f"{device.digests['bundle-1']}.approval").write_bytes(raw)
        assert "approv" in refusal(device)


def test_without_the_recorder_nobody_approves(fresh: PlanDevice) -> None:
    fresh.recorder.there = False
    answer = fresh.approve(sign(fresh.asked()))
    assert not answer.ok and "the recorder does not answer" in answer.text
    assert not fresh.file(f"{fresh.digests['bundle-1']}.approval").exists()


@pytest.mark.clause("21 CFR 11.10(a)")
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("damage", ["flipped", "missing", "cut"])
def test_a_damaged_plan_is_refused_and_built_again(device: PlanDevice, part: str, damage: str) -> None:
    path, before = device.file(part), device.evidence.plan_sha256
    if damage == "flipped":
        flip(path)
    else:
        path.write_bytes(path.read_bytes()[:7]) if damage == "cut" else path.unlink()
    assert "build-plans" in refusal(device)
    answer = device.ask(What.BUILD_PLANS)
    assert answer.ok and "was built" in answer.text
    if part == EVIDENCE:  # of what graph it was nobody can say: all of it is swept, signature included
        assert "nobody has signed" in refusal(device)
    if part == EVIDENCE or device.evidence.plan_sha256 != before:
        assert device.approve(sign(device.asked())).ok
    device.opened().close()


def test_a_flipped_approval_is_refused(device: PlanDevice) -> None:
    flip(device.file(f"{device.digests['bundle-1']}.approval"), 300)
    assert "approval" in refusal(device)


def test_an_approval_that_cannot_be_read_is_one_line(device: PlanDevice) -> None:
    path = device.file(f"{device.digests['bundle-1']}.approval")
    path.unlink()
    path.mkdir()
    assert "cannot be read" in refusal(device)


def test_a_key_of_another_device_vouches_for_nothing(device: PlanDevice) -> None:
    flip(device.plans / KEY_FILE)
    assert "another device wrote them" in refusal(device)
    (device.plans / KEY_FILE).unlink()
    assert "build-plans" in refusal(device)
    assert device.ask(What.BUILD_PLANS).ok
    device.opened().close()


def test_a_plan_of_another_bundle_with_the_same_graph_needs_its_own_signature(device: PlanDevice) -> None:
    device.install(2)
    assert len(list(device.plans.glob(f"*/{PLAN}"))) == 1
    answer = device.activate(2)
    assert not answer.ok and "bundle tiny 2.0.0" in answer.text and "nobody has signed" in answer.text
    place = device.file(f"{device.digests['bundle-2']}.approval")
    place.write_bytes(device.file(f"{device.digests['bundle-1']}.approval").read_bytes())
    answer = device.activate(2)
    assert not answer.ok and "it is for bundle" in answer.text


def test_a_cleared_plan_is_good_for_its_own_bundle_alone(device: PlanDevice) -> None:
    device.install(2)
    shop = device.shop()
    first, second = (installed_bundle(shop, device.digests[f"bundle-{number}"]) for number in (1, 2))
    cleared = shop.shelf(shop.book.state.trust).approved(first, "side")
    with pytest.raises(PlanRefused, match="the plan of another one"):
        load_engine(second, "side", cleared)


class Restless(OnnxPlanMaker):
    """A runtime that builds other bytes each time, as those do that time their kernels."""

    def build(self, model: Model, graph: bytes) -> BuiltPlan:
        proto = ModelProto.FromString(graph)
        proto.metadata_props.add(key="built", value=secrets.token_hex())
        return super().build(model, proto.SerializeToString())


@pytest.mark.clause("21 CFR 11.10(a)")
def test_a_rebuilt_plan_of_other_bytes_needs_a_new_signature(device: PlanDevice) -> None:
    before, shop = device.evidence, device.shop()
    flip(device.file(PLAN))
    shelf = Shelf(device.plans, "box", Restless(), shop.trust(shop.book.state.trust))
    build_missing(shelf, installed_bundle(shop, device.digests["bundle-1"]))
    after = device.evidence
    assert (
        (before.source, before.plan_sha256) == (after.source, before.plan_sha256) != (after.source, after.plan_sha256)
    )
    assert f"it is for plan {before.plan_sha256[:12]}, here is {after.plan_sha256[:12]}" in refusal(device)
    assert device.approve(sign(device.asked())).ok
    device.opened().close()


class Older(OnnxPlanMaker):
    """ONNX Runtime as it was before the system was updated: another version in every source."""

    def __init__(self) -> None:
        super().__init__("1.0.0")


def test_after_an_update_of_the_runtime_the_old_plan_is_named_and_a_new_one_needs_a_new_signature(
    fresh: PlanDevice,
) -> None:
    (fresh.plans / fresh.evidence.source.key).rename(fresh.folder / "away")
    shop = fresh.shop()
    trust = shop.trust(shop.book.state.trust)
    build_missing(Shelf(fresh.plans, "box", Older(), trust), installed_bundle(shop, fresh.digests["bundle-1"]))
    shelf = shop.shelf(shop.book.state.trust)
    with pytest.raises(PlanMissing, match=r"one was built for version 1\.0\.0, here it is 1\."):
        shelf.sound(installed_bundle(shop, fresh.digests["bundle-1"]), "side")
    answer = fresh.activate(1)
    assert not answer.ok and "nobody has signed" in answer.text
    assert len(list(fresh.plans.glob(f"*/{PLAN}"))) == 2
    answer = fresh.ask(What.COLLECT)
    assert answer.ok and "another runtime or device" in answer.text
    assert fresh.evidence.source.version != "1.0.0"


class Skewed(OnnxPlanMaker):
    """A runtime that builds something else than it was given: every score is `by` times too large."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def build(self, model: Model, graph: bytes) -> BuiltPlan:
        proto = tiny_model()
        proto.graph.initializer[0].float_data[0] *= self.by
        return super().build(model, proto.SerializeToString())


@pytest.mark.parametrize(("by", "shown"), [(1.1, "fails the golden set"), (1.001, "other numbers than onnxruntime")])
def test_a_plan_that_differs_is_not_kept(by: float, shown: str) -> None:
    with in_memory() as folder:
        device = Device(folder)
        golden = {**bundle_description()["golden"], "raw_tolerance": 0.0001}
        digest = make_bundle(device.source("bundle-1"), golden=golden)
        assert device.ask(What.INSTALL, str(device.source("bundle-1"))).ok
        shop = device.shop()
        shelf = Shelf(device.store / PLANS, "box", Skewed(by), shop.trust(shop.book.state.trust))
        with pytest.raises(StoreRefused, match=shown) as caught:
            build_missing(shelf, installed_bundle(shop, digest))
        assert "\n" not in str(caught.value) and "not kept" in str(caught.value)
        assert not (device.store / PLANS).exists()


def test_a_bundle_with_another_golden_answer_is_not_installed_and_leaves_no_plan() -> None:
    with in_memory() as folder:
        device = PlanDevice(folder)
        golden = bundle_description()["golden"]
        golden["cases"][0]["scores"]["grey"] += 0.1
        make_bundle(device.source("bundle-1"), golden=golden)
        answer = device.ask(What.INSTALL, str(device.source("bundle-1")))
        assert not answer.ok and "golden" in answer.text
        assert list(device.plans.glob("*")) == []


def test_what_is_not_installed_any_more_keeps_no_plan(device: PlanDevice) -> None:
    """A crash between a plan and the state that names its bundle leaves a plan that the next run sweeps."""
    other = tiny_model()
    other.doc_string = "another graph"
    made = make_bundle(device.source("bundle-9"), other.SerializeToString())
    store = device.store
    state = (store / "state.json").read_bytes()
    assert device.ask(What.INSTALL, str(device.source("bundle-9"))).ok
    assert len(list(device.plans.glob(f"*/{PLAN}"))) == 2 and made
    (store / "state.json").write_bytes(state)
    device.run()
    assert [path.parent.name for path in device.plans.glob(f"*/{PLAN}")] == [device.evidence.source.key]
    device.opened().close()


def test_collecting_a_bundle_takes_its_plan_and_says_so(device: PlanDevice) -> None:
    other, active = tiny_model(), device.evidence.source.key
    other.doc_string = "another graph"
    make_bundle(device.source("bundle-9"), other.SerializeToString(), version="0.9.0")
    assert device.ask(What.INSTALL, str(device.source("bundle-9"))).ok
    (key,) = {path.parent.name for path in device.plans.glob(f"*/{PLAN}")} - {active}
    for number in (2, 3):
        device.install(number)
    answer = device.ask(What.COLLECT)
    assert answer.ok and f"plans removed: plan {key[:12]}: no installed bundle has its graph" in answer.text
    assert not (device.plans / key).exists()
    device.opened().close()


def test_what_a_power_cut_left_beside_a_plan_is_swept(device: PlanDevice) -> None:
    device.file(".plan.4711.tmp").write_bytes(b"half")
    (device.plans / ".key.4711.new").write_bytes(b"half")
    before = sorted(path.name for path in device.plans.rglob("*") if not path.name.startswith("."))
    device.run()
    assert sorted(path.name for path in device.plans.rglob("*")) == before
    device.opened().close()


def test_rolling_back_needs_a_plan_too(device: PlanDevice) -> None:
    device.inspects(2)
    shutil.rmtree(device.plans)
    answer = device.ask(What.ROLLBACK)
    assert not answer.ok and "nobody has signed" in answer.text
    assert (device.store / "active" / "bundle").resolve().name == device.digests["bundle-2"]


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt-rtx"])
def test_a_back_end_that_is_not_there_builds_nothing(device: PlanDevice, backend: str) -> None:
    """Nothing of it: no runtime, or a runtime and no GPU. The other chain is the same as everywhere in this file."""
    needs_no_gpu()
    device.station.write_text(device.station.read_text().replace(BACKEND, backend))
    before = device.evidence
    for text in (refusal(device), device.ask(What.BUILD_PLANS).text, device.ask(What.ROLLBACK).text):
        assert text and "\n" not in text
    answer = device.ask(What.INSTALL, str(device.source("bundle-1")))
    assert not answer.ok and "\n" not in answer.text
    assert device.evidence == before


def test_who_signs_is_looked_up_in_the_trust_of_the_generation_and_a_new_person_takes_a_new_generation(
    device: PlanDevice,
) -> None:
    shop, keys = device.shop(), {NAMES[role]: key for role, key in KEYS.items()} | {"Eva Lind": STRANGER}
    people = [(name, key.public_key()) for name, key in keys.items()]
    roles = {Role.QA: (NAMES[Role.QA], "Eva Lind"), Role.RELEASE: (NAMES[Role.RELEASE],)}
    newer = put_trust(device.store, trust_document(people, roles, development=True))
    shop.book.commit(structs.replace(shop.book.state, trust=newer))
    answer = device.approve(sign(device.asked(), STRANGER, "Eva Lind"))
    assert answer.ok, answer.text
    assert "is nobody's in the trust store" in refusal(device)
    answer = device.activate(1)
    assert answer.ok and answer.text.startswith("generation 2 is active")
    with closing(device.opened()) as plan:
        assert plan.approvers == (key_id_of(STRANGER.public_key()),)
        assert set(plan.approvers) < set(plan.loaded.signers)


def test_slots_and_vision_see_the_same_processor() -> None:
    """ProcSubset=pid would hide /proc/cpuinfo from one of them, and every plan would be for another device."""
    for name in ("slots", "vision"):
        unit_file = Path(__file__).parents[2] / "systemd" / f"linewarden-{name}.service"
        assert "\nProcSubset" not in unit_file.read_text()


@pytest.mark.clause("21 CFR 11.10(g)")
def test_a_revoked_key_approves_nothing_and_what_it_approved_is_not_activated_again(device: PlanDevice) -> None:
    raw = device.file(f"{device.digests['bundle-1']}.approval").read_bytes()
    key = key_id_of(KEYS[Role.QA].public_key())
    entry = Revoked("key", key, "lost token", "Jonas Weber", "2026-11-23T00:00:00Z")
    write_durably(device.store / REVOKED, revocations.encode((entry,)))
    answer = device.approve(raw)
    assert not answer.ok and "is revoked: lost token" in answer.text
    shop, one = device.shop(), device.shop().book.state.generations[1]
    with pytest.raises(StoreRefused, match="plan approval by Anna Berg: key .* is revoked: lost token"):
        fit_to_run(shop, one.bundle, one.recipe, one.trust)
