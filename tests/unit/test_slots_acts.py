"""Slots over real files: what it does, what it refuses and why; each act is on record before it is answered."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from daemon import store_requests
from daemon.slots import main
from daemon.store_requests import ANSWERS, REPORTS, REQUESTS, Request, What, drop, new_id, wake
from signing.errors import SigningError
from signing.store import found_store, read_state
from signing.store_state import Health, StoreError
from tests.unit.store_world import Device, in_memory
from tests.vectors.bundle_1 import KEYS, flip, make_bundle, make_trust


@pytest.fixture(scope="module")
def made() -> Iterator[Device]:
    """A device with bundle 1 active and bundle 2 installed; tests take a copy."""
    with in_memory() as folder:
        device = Device(folder / "made")
        for number in (1, 2):
            device.install(number)
        assert device.activate(1).ok
        yield device


@pytest.fixture
def device(made: Device) -> Iterator[Device]:
    with in_memory() as folder:
        yield made.copied(folder / "copy")


@pytest.mark.clause("21 CFR 11.10(e)")
def test_an_activation_is_on_record_with_person_role_reason_and_both_states(device: Device) -> None:
    assert device.activate(2).ok
    (row,) = device.recorder.rows.values()
    assert (row.what, row.role, row.why, row.done) == ("bundle-activate", "operator", "test", True)
    assert row.who.endswith("a.person")
    assert device.digests["bundle-1"][:12] in row.old and device.digests["bundle-2"][:12] in row.new
    assert device.active == device.digests["bundle-2"]


def test_a_file_of_two_bundles_is_one_file_on_the_disk(made: Device) -> None:
    shared = [made.store / "bundles" / made.digests[f"bundle-{number}"] / "tiny.onnx" for number in (1, 2)]
    assert shared[0].samefile(shared[1])
    assert shared[0].stat().st_nlink == 3


def test_what_is_not_signed_by_two_people_is_not_in_the_store(device: Device) -> None:
    before = sorted(str(path) for path in device.store.rglob("*"))
    make_bundle(device.source("bundle-9"), version="9.0.0")
    flip(device.source("bundle-9") / "tiny.onnx")
    answer = device.ask(What.INSTALL, str(device.source("bundle-9")))
    assert not answer.ok and "\n" not in answer.text
    assert sorted(str(path) for path in device.store.rglob("*")) == before
    assert device.recorder.told == [("bundle-install", False)]


def test_a_bundle_that_fails_its_golden_set_here_is_not_installed(device: Device) -> None:
    cases = [{"file": "golden.png", "model": "side", "scores": {"bright": 0.9, "grey": 0.2125}}]
    make_bundle(device.source("bundle-9"), golden={"tolerance": 0.001, "cases": cases})
    answer = device.ask(What.INSTALL, str(device.source("bundle-9")))
    assert not answer.ok and "golden" in answer.text and "bright" in answer.text


def test_a_recipe_for_another_machine_is_not_activated(device: Device) -> None:
    text = device.station.read_text().replace('name = "side"', 'name = "crimp"')
    device.station.write_text(text)
    answer = device.activate(2)
    assert not answer.ok and "camera" in answer.text
    assert device.active == device.digests["bundle-1"]


class TestBatch:
    @pytest.mark.clause("21 CFR 11.10(f)")
    def test_while_a_batch_is_open_an_activation_waits_and_says_so(self, device: Device) -> None:
        device.batch(1)
        answer = device.activate(2)
        assert answer.ok and "batch B-1 is open" in answer.text
        assert device.active == device.digests["bundle-1"]
        assert (device.store / "staged" / "bundle").resolve().name == device.digests["bundle-2"]
        device.run()
        assert device.active == device.digests["bundle-1"]
        device.batch_ends()
        wake(device.state, "vision")
        device.run()
        assert device.active == device.digests["bundle-2"]
        assert not (device.store / "staged").exists()
        assert device.recorder.told == [("bundle-activate", True), ("bundle-activate", True)]

    def test_nothing_is_rolled_back_inside_a_batch(self, device: Device) -> None:
        device.activate(2)
        device.batch(2)
        answer = device.ask(What.ROLLBACK)
        assert answer.ok and "staged" in answer.text
        assert device.active == device.digests["bundle-2"]

    def test_after_a_signed_swap_what_the_batch_runs_on_becomes_active(self, device: Device) -> None:
        device.batch(2)
        assert "is active" in device.activate(2).text

    def test_a_ledger_that_cannot_be_read_may_have_an_open_batch(self, device: Device) -> None:
        (device.state / "ledger.sqlite").write_bytes(b"no ledger")
        answer = device.activate(2)
        assert not answer.ok and "not known" in answer.text

    def test_what_is_due_waits_for_a_readable_ledger_and_requests_are_answered(self, device: Device) -> None:
        device.batch(1)
        device.activate(2)
        ledger = device.state / "ledger.sqlite"
        ledger.rename(device.state / "away")
        ledger.write_bytes(b"no ledger")
        assert device.ask(What.PIN, device.digests["bundle-1"]).ok
        assert device.ask(What.UNPIN, device.digests["bundle-1"]).ok
        (device.state / "away").replace(ledger)
        device.batch_ends()
        device.run()
        assert device.active == device.digests["bundle-2"]

    def test_a_pin_that_comes_while_an_activation_waits_ends_the_waiting(self, device: Device) -> None:
        device.batch(1)
        device.activate(2)
        device.ask(What.PIN, device.digests["bundle-1"])
        device.batch_ends()
        device.run()
        state = read_state(device.store)
        assert (device.active, state.staged, state.waiting) == (device.digests["bundle-1"], 0, None)
        assert device.recorder.told[-1] == ("bundle-activate", False)


class TestVision:
    def test_what_ran_is_good(self, device: Device) -> None:
        device.vision_says(1, ok=True)
        assert read_state(device.store).generations[1].health is Health.GOOD
        assert not list((device.state / REPORTS).iterdir())

    def test_what_never_ran_and_is_refused_is_rolled_back_by_itself(self, device: Device) -> None:
        device.activate(2)
        device.vision_says(2, ok=False, text="no memory")
        assert device.active == device.digests["bundle-1"]
        row = list(device.recorder.rows.values())[-1]
        assert (row.what, row.who, row.role, row.why) == ("bundle-refused", "vision", "machine", "no memory")
        assert "rolled back to generation 1" in row.answer

    def test_inside_a_batch_a_person_decides(self, device: Device) -> None:
        device.activate(2)
        device.batch(2)
        device.vision_says(2, ok=False, text="no memory")
        assert device.active == device.digests["bundle-2"]
        assert "call QA" in list(device.recorder.rows.values())[-1].answer

    def test_what_was_good_once_is_not_rolled_back_by_itself(self, device: Device) -> None:
        device.activate(2)
        device.vision_says(2, ok=True)
        device.vision_says(2, ok=False, text="a camera is gone")
        assert device.active == device.digests["bundle-2"]

    def test_a_refused_generation_that_was_staged_is_not_activated_later(self, device: Device) -> None:
        device.batch(1)
        device.activate(2)
        device.vision_says(2, ok=False, text="no memory")
        device.batch_ends()
        device.run()
        assert device.active == device.digests["bundle-1"]
        assert read_state(device.store).staged == 0

    def test_activated_again_by_a_person_it_is_a_new_generation(self, device: Device) -> None:
        device.activate(2)
        device.vision_says(2, ok=False, text="no memory")
        assert device.activate(2).ok
        assert read_state(device.store).active == 3

    def test_without_a_recorder_the_report_waits(self, device: Device) -> None:
        device.activate(2)
        device.recorder.there = False
        device.vision_says(2, ok=False, text="no memory")
        assert device.active == device.digests["bundle-2"]
        device.recorder.there = True
        device.run()
        assert device.active == device.digests["bundle-1"]

    def test_a_report_that_is_none_is_thrown_away(self, device: Device) -> None:
        (device.state / REPORTS / "1.json").write_text("{")
        device.run()
        assert not list((device.state / REPORTS).iterdir())


class TestRecord:
    def test_without_a_recorder_nothing_becomes_active_and_the_refusal_is_owed(self, device: Device) -> None:
        device.recorder.there = False
        answer = device.activate(2)
        assert not answer.ok and "recorder" in answer.text
        assert device.active == device.digests["bundle-1"]
        device.recorder.there = True
        device.run()
        assert device.recorder.told == [("bundle-activate", False)]

    @pytest.mark.parametrize("what", [What.ROLLBACK, What.PIN, What.COLLECT])
    def test_without_a_recorder_no_act_but_an_installation_is_done(self, device: Device, what: What) -> None:
        device.activate(2)
        before = (device.active, read_state(device.store).pins, sorted(device.store.rglob("*")))
        device.recorder.there = False
        answer = device.ask(what, device.digests["bundle-1"])
        assert not answer.ok and "recorder" in answer.text
        assert before == (device.active, read_state(device.store).pins, sorted(device.store.rglob("*")))

    def test_an_installation_waits_for_the_recorder_and_is_told_once(self, device: Device) -> None:
        device.make(3)
        device.recorder.there = False
        answer = device.ask(What.INSTALL, str(device.source("bundle-3")))
        assert answer.ok and "once the recorder is back" in answer.text
        device.recorder.there = True
        for _ in range(2):
            device.run()
        assert device.recorder.told == [("bundle-install", True)]
        assert [seq for _, seq in device.recorder.rows] == [1]

    def test_without_a_reason_it_is_not_done(self, device: Device) -> None:
        answer = device.ask(What.ACTIVATE, device.digests["bundle-2"], reason=" . ")
        assert not answer.ok and "reason" in answer.text

    def test_a_request_that_was_done_and_not_answered_is_answered_and_not_done_again(self, device: Device) -> None:
        request = Request(new_id(), What.ACTIVATE, "a.person", "operator", "test", device.digests["bundle-2"])
        drop(device.state, request)
        assert device.acts().perform(request, "a.person").ok
        device.run()
        told = msgspec.json.decode((device.state / ANSWERS / f"{request.id}.json").read_bytes())
        assert told["ok"] is True and "is active" in told["text"]
        assert device.recorder.told == [("bundle-activate", True)]
        assert read_state(device.store).told == {}

    def test_who_acts_is_whose_file_it_is(self, device: Device) -> None:
        if os.getuid():
            pytest.skip("needs root, to give a file away")
        request = Request(new_id(), What.ROLLBACK, "root", "qa", "test")
        drop(device.state, request)
        os.chown(device.state / REQUESTS / f"{request.id}.json", 65534, 65534)
        device.run()
        (row,) = device.recorder.rows.values()
        assert row.who == "nobody for root"


class TestRequests:
    @pytest.mark.parametrize("text", ["", "{", '{"id": "x"}', "[" * 5000, "\0" * 100_000])
    def test_what_is_no_request_is_thrown_away(self, device: Device, text: str) -> None:
        (device.state / REQUESTS / f"{new_id()}.json").write_text(text)
        device.run()
        assert not list((device.state / REQUESTS).iterdir())

    def test_a_link_and_a_folder_are_no_requests(self, device: Device) -> None:
        (device.state / REQUESTS / f"{new_id()}.json").symlink_to(device.station)
        (device.state / REQUESTS / f"{new_id()}.json").mkdir()
        device.run()
        assert not list((device.state / REQUESTS).iterdir())
        assert device.station.exists()

    def test_a_request_under_a_foreign_name_is_thrown_away(self, device: Device) -> None:
        drop(device.state, Request(new_id(), What.ROLLBACK, "a", "b", "c"))
        (path,) = (device.state / REQUESTS).iterdir()
        path.rename(path.with_name(f"{new_id()}.json"))
        device.run()
        assert device.recorder.rows == {}

    def test_waking_a_device_without_a_store_does_nothing(self, tmp_path: Path) -> None:
        store_requests.wake(tmp_path, "vision")
        store_requests.report(tmp_path, store_requests.VisionReport(1, True, ""))
        assert list(tmp_path.iterdir()) == []


class TestCollection:
    def test_it_keeps_what_is_used_pinned_or_on_record_and_says_why(self, device: Device) -> None:
        device.batch(1)
        for number in (3, 4, 5):
            device.install(number)
        device.ask(What.PIN, device.digests["bundle-3"])
        answer = device.ask(What.COLLECT)
        assert answer.ok
        here = {path.name for path in (device.store / "bundles").iterdir()}
        assert here == {device.digests[f"bundle-{number}"] for number in (1, 3, 4, 5)}
        assert f"{device.digests['bundle-3'][:12]}: pinned by" in answer.text
        assert f"{device.digests['bundle-1'][:12]}: generation 1 is active" in answer.text
        assert f"removed {', '.join(sorted(device.digests[f'{kind}-2'][:12] for kind in ('bundle', 'recipe')))}" in (
            answer.text
        )

    def test_what_no_archive_has_confirmed_is_kept_and_what_it_has_is_not(self, device: Device) -> None:
        device.batch(2)
        device.batch_ends()
        for number in (3, 4, 5):
            device.install(number)
        answer = device.ask(What.COLLECT)
        assert f"{device.digests['bundle-2'][:12]}: no archive has confirmed batch B-1" in answer.text
        device.archive_confirms(3)
        device.ask(What.COLLECT)
        here = {path.name for path in (device.store / "bundles").iterdir()}
        assert here == {device.digests[f"bundle-{number}"] for number in (1, 4, 5)}
        blobs = {path.name for path in (device.store / "blobs").iterdir()}
        state = read_state(device.store)
        assert blobs == {name for one in state.installed.values() for name in one.files.values()}

    def test_a_ledger_that_cannot_be_read_keeps_everything(self, device: Device) -> None:
        (device.state / "ledger.sqlite").write_bytes(b"no ledger")
        assert not device.ask(What.COLLECT).ok
        assert len(list((device.store / "bundles").iterdir())) == 2


class TestStore:
    def test_a_damaged_file_is_repaired_by_installing_again(self, device: Device) -> None:
        path = device.store / "bundles" / device.digests["bundle-2"] / "tiny.onnx"
        flip(path)
        assert not device.activate(2).ok
        assert device.ask(What.INSTALL, str(device.source("bundle-2"))).ok
        assert device.activate(2).ok

    def test_a_store_is_founded_once(self, device: Device, tmp_path: Path) -> None:
        trust = (device.folder / "trust" / "trust.json").read_bytes()
        assert found_store(device.store, trust) == read_state(device.store)
        make_trust(tmp_path / "other", {role: KEYS[role] for role in reversed(list(KEYS))})
        with pytest.raises(StoreError, match="holds a store already"):
            found_store(device.store, (tmp_path / "other" / "trust.json").read_bytes())

    def test_a_damaged_state_is_one_line(self, device: Device) -> None:
        (device.store / "state.json").write_bytes(b"\xff")
        with pytest.raises(SigningError) as found:
            device.run()
        assert "\n" not in str(found.value)

    def test_production_installs_nothing_that_the_fleet_never_listed(self, tmp_path: Path) -> None:
        device = Device(tmp_path, production=True)
        device.make(1)
        answer = device.ask(What.INSTALL, str(device.source("bundle-1")))
        assert not answer.ok and "update" in answer.text

    def test_without_a_store_slots_ends_with_one_line(self, tmp_path: Path, monkeypatch, capsys) -> None:
        device = Device(tmp_path)
        for name in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY"):
            monkeypatch.setenv(name, str(tmp_path))
        assert main.main(device.station) == main.EXIT_CONFIG
        assert capsys.readouterr().err.count("\n") == 1
