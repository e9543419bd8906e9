"""What must not keep slots from ever working again, nor let it spin: reports that wait, folders nobody can remove."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import revocations
from daemon.revocations import RevocationsUnreadable
from daemon.slots import main
from daemon.store_requests import REPORTS, REQUESTS, VisionReport, What, new_id, report
from signing.store import REVOKED
from signing.store_state import StoreRefused
from tests.unit.store_world import Device, in_memory

NOBODY = 65534


@pytest.fixture
def device() -> Iterator[Device]:
    with in_memory() as folder:
        device = Device(folder / "device")
        for number in (1, 2):
            device.install(number)
        assert device.activate(1).ok
        yield device


def run(device: Device, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("STATE_DIRECTORY", str(device.state))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(device.state))
    return main.main(device.station)


def test_a_report_that_waits_for_the_recorder_is_tried_again_and_not_at_once(device: Device, monkeypatch) -> None:
    assert run(device, monkeypatch) == 0
    report(device.state, VisionReport(1, False, "no memory"))
    assert run(device, monkeypatch) == main.EXIT_AGAIN == os.EX_TEMPFAIL
    device.run()
    assert run(device, monkeypatch) == 0


def test_a_folder_among_the_reports_is_thrown_away(device: Device) -> None:
    (device.state / REPORTS / "1.json" / "x").mkdir(parents=True)
    assert device.activate(2).ok
    assert not list((device.state / REPORTS).iterdir())


def test_a_folder_of_somebody_else_does_not_stand_before_every_later_request(tmp_path: Path) -> None:
    if os.getuid():
        pytest.skip("needs root, to own what another user cannot remove")
    tmp_path.chmod(0o755)
    requests = tmp_path / REQUESTS
    requests.mkdir()
    os.chown(requests, NOBODY, NOBODY)
    foreign = requests / f"{new_id()}.json"
    (foreign / "x").mkdir(parents=True)
    parents = [tmp_path.parent, tmp_path.parent.parent]
    modes = [path.stat().st_mode for path in parents]
    try:
        for path in parents:
            path.chmod(0o755)
        os.seteuid(NOBODY)
        main._remove(foreign)
        assert main._waiting(requests) == []
    finally:
        os.seteuid(0)
        for path, mode in zip(parents, modes, strict=True):
            path.chmod(mode)


def test_nobody_goes_back_to_what_vision_refused(device: Device) -> None:
    device.activate(2)
    device.vision_says(2, ok=False, text="no memory")
    assert device.active == device.digests["bundle-1"]
    answer = device.ask(What.ROLLBACK)
    assert not answer.ok and "no memory" in answer.text
    assert device.active == device.digests["bundle-1"]
    assert device.activate(2).ok


def test_revocations_that_cannot_be_read_are_one_line_for_everybody(device: Device) -> None:
    (device.store / REVOKED).write_bytes(b"\xff")
    with pytest.raises(RevocationsUnreadable):
        revocations.read(device.state)
    with pytest.raises(StoreRefused, match="update check"):
        device.shop().revocations()
