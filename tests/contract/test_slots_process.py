"""The commands of bundles and updates, process slots and a real recorder over one device."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from recorder_box import LOADED, RecorderProcess, open_batch, talking

from daemon.ledger_file import LEDGER
from daemon.slots import main
from daemon.store_requests import ANSWERS, REPORTS, REQUESTS, STORE, What
from daemon.uplink.update_status import REQUESTS as UPLINK
from daemon.uplink.update_status import UpdateStatus, take_asked, write_update_status
from provisioning import cli, places, requests
from provisioning.requests import RequestFailed, Slots, ask
from signing.store import found_store, read_state
from tests.vectors.bundle_1 import KEYS, NAMES, make_bundle, make_recipe, make_trust


class Box(RecorderProcess):
    """A station folder with a store, as a kept simulation has it; `linewarden(...)` runs a command there."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder
        (folder / "state").mkdir()
        (folder / "run").symlink_to(folder)
        for name in (LEDGER, f"{LEDGER}-wal", f"{LEDGER}-shm"):
            (folder / "state" / name).symlink_to(folder / name)
        make_trust(folder / "trust", KEYS)
        found_store(self.store, (folder / "trust" / "trust.json").read_bytes())

    @property
    def store(self) -> Path:
        return self.folder / "state" / STORE

    def pair(self, number: int) -> tuple[str, str]:
        bundle = make_bundle(self.folder / f"bundle-{number}", version=f"{number}.0.0")
        return bundle, make_recipe(self.folder / f"recipe-{number}", bundle, version=f"{number}.0.0")

    def linewarden(self, *words: str) -> int:
        return cli.main([*words, "--station", str(self.station)])

    def installs(self, number: int) -> None:
        for kind in ("bundle", "recipe"):
            assert self.linewarden(kind, "install", str(self.folder / f"{kind}-{number}"), "--reason", "new") == 0


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    """Slots runs in this process; `test_the_commands_start_slots` starts a real one."""
    made = Box(tmp_path)

    def run_here(slots: Slots) -> None:
        monkeypatch.setenv("STATE_DIRECTORY", str(slots.state))
        monkeypatch.setenv("RUNTIME_DIRECTORY", str(slots.runtime))
        assert main.main(slots.station) == 0

    monkeypatch.setattr(requests, "_start", run_here)
    monkeypatch.setattr(main, "say", lambda text: None)
    made.start()
    with talking(made.socket, "cli"):
        pass
    try:
        yield made
    finally:
        made.stop()


@pytest.mark.clause("21 CFR 11.10(e)")
def test_the_commands_install_activate_and_roll_back_and_the_ledger_tells_who_and_why(box: Box, capsys) -> None:
    first, second = box.pair(1), box.pair(2)
    for number in (1, 2):
        box.installs(number)
    assert box.linewarden("bundle", "activate", first[0][:12], "--reason", "CC-1") == 0
    assert box.linewarden("recipe", "activate", second[1][:12], "--reason", "CC-2", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["answer"].startswith("generation 2 is active")
    assert box.linewarden("bundle", "rollback", "--reason", "misses cracks") == 0
    assert (box.store / "active" / "recipe").resolve().name == first[1]
    rows = box.look("SELECT what, why, done FROM audit WHERE origin = 'slots' ORDER BY entry")
    assert rows[-3:] == [
        ("bundle-activate", "CC-1", 1), ("bundle-activate", "CC-2", 1), ("bundle-rollback", "misses cracks", 1),
    ]  # fmt: skip
    assert len(rows) == 7


def test_the_commands_start_slots_where_no_unit_does(tmp_path: Path, capsys) -> None:
    box = Box(tmp_path)
    box.pair(1)
    assert box.linewarden("recipe", "install", str(tmp_path / "recipe-1"), "--reason", "x") == 0
    assert "once the recorder is back" in capsys.readouterr().out
    (box.store / "state.json").write_bytes(b"{}")
    assert box.linewarden("bundle", "collect", "--reason", "x") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "damaged" in error


def test_a_refusal_is_one_line_a_failure_and_on_record(box: Box, capsys) -> None:
    box.pair(1)
    assert box.linewarden("bundle", "activate", "deadbeef", "--reason", "x") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "not installed" in error
    assert box.look("SELECT what, done FROM audit WHERE origin = 'slots'") == [("bundle-activate", 0)]


def test_an_open_batch_of_the_real_ledger_keeps_what_it_runs_on(box: Box, capsys) -> None:
    first, second = box.pair(1), box.pair(2)
    for number in (1, 2):
        box.installs(number)
    box.linewarden("bundle", "activate", first[0], "--reason", "x")
    loaded = type(LOADED)(*first, "tiny", "tiny", LOADED.views, 120.0, 10.0, 20.0, 200.0)
    with closing(open_batch(box, loaded=loaded)):
        assert box.linewarden("bundle", "activate", second[0], "--reason", "x") == 0
    assert "batch B-1 is open" in capsys.readouterr().out
    assert (box.store / "active" / "bundle").resolve().name == first[0]


def test_show_tells_the_chain_and_diff_what_differs(box: Box, capsys) -> None:
    first, _ = box.pair(1)
    box.pair(2)
    box.installs(1)
    capsys.readouterr()
    assert box.linewarden("bundle", "show", first) == 0
    shown = capsys.readouterr().out
    words = ("approval", "release", "vectors", "commit 0000", "seed 7", "auroc 1", "sbom.cdx.json")
    assert [word for word in (*NAMES.values(), *words) if word not in shown] == []
    assert box.linewarden("bundle", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["digest"] == first
    assert box.linewarden("bundle", "diff", first, str(box.folder / "bundle-2"), "--json") == 0
    found = {row["what"]: (row["first"], row["second"]) for row in json.loads(capsys.readouterr().out)}
    assert found["version"] == ("1.0.0", "2.0.0")
    assert not [what for what in found if what.startswith(("models", "people"))]


def test_what_is_shown_was_verified(box: Box, capsys) -> None:
    first, _ = box.pair(1)
    box.installs(1)
    (box.store / "bundles" / first / "tiny.onnx").write_bytes(b"x")
    assert box.linewarden("bundle", "show", first) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_without_a_recorder_an_installation_is_owed_and_told_when_it_is_back(box: Box, capsys) -> None:
    box.pair(1)
    box.stop()
    assert box.linewarden("bundle", "install", str(box.folder / "bundle-1"), "--reason", "x") == 0
    assert "once the recorder is back" in capsys.readouterr().out
    assert box.linewarden("bundle", "rollback", "--reason", "x") == 1
    box.start()
    with talking(box.socket, "cli"):
        pass
    assert box.linewarden("recipe", "install", str(box.folder / "recipe-1"), "--reason", "x") == 0
    rows = box.look("SELECT what, done FROM audit WHERE origin = 'slots' ORDER BY entry")
    assert rows == [("bundle-install", 1), ("bundle-rollback", 0), ("bundle-install", 1)]
    assert read_state(box.store).owed == ()


def test_a_folder_with_a_link_in_it_is_not_carried(box: Box, capsys) -> None:
    box.pair(1)
    (box.folder / "bundle-1" / "more.onnx").symlink_to("/etc/passwd")
    assert box.linewarden("bundle", "install", str(box.folder / "bundle-1"), "--reason", "x") == 1
    assert "not a regular file" in capsys.readouterr().err
    assert list((box.folder / "state" / REQUESTS).iterdir()) == []


def test_a_folder_that_would_fill_the_disk_is_not_carried(box: Box, capsys) -> None:
    box.pair(1)
    with (box.folder / "bundle-1" / "sparse.onnx").open("wb") as file:
        file.truncate(1 << 40)
    assert box.linewarden("bundle", "install", str(box.folder / "bundle-1"), "--reason", "x") == 1
    assert "more than a bundle has" in capsys.readouterr().err
    assert list((box.folder / "state" / REQUESTS).iterdir()) == []


def test_an_update_lets_uplink_ask_first_and_says_what_came_of_it(tmp_path: Path, monkeypatch) -> None:
    slots = Slots(tmp_path / "station.toml", tmp_path, tmp_path)
    assert requests.poll(slots) == ""
    (tmp_path / UPLINK).mkdir()
    monkeypatch.setattr("provisioning.requests.POLL_S", 0.2)
    assert "did not answer" in requests.poll(slots)

    def uplink() -> None:
        while not take_asked(tmp_path):
            time.sleep(0.005)
        write_update_status(tmp_path, UpdateStatus(text="nothing is new"))

    (tmp_path / UPLINK / "poll-now").unlink()
    monkeypatch.setattr("provisioning.requests.POLL_S", 20.0)
    thread = threading.Thread(target=uplink)
    thread.start()
    assert requests.poll(slots) == "nothing is new"
    thread.join()


def test_an_installed_device_is_asked_and_not_started(tmp_path: Path, monkeypatch) -> None:
    state = tmp_path / "state"
    for name in (REQUESTS, ANSWERS, REPORTS):
        (state / name).mkdir(parents=True)
    monkeypatch.setattr("provisioning.requests.ANSWER_S", 0.2)
    with pytest.raises(RequestFailed, match="no answer within"):
        ask(Slots(places.INSTALLED_STATION, state, tmp_path), What.ROLLBACK, "x")
    assert len(list((state / REQUESTS).glob("*.json"))) == 1
    shutil.rmtree(state / REQUESTS)
    with pytest.raises(RequestFailed, match="nothing was asked for"):
        ask(Slots(places.INSTALLED_STATION, state, tmp_path), What.ROLLBACK, "x")
