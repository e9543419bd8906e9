"""What `linewarden status` says about the store."""

from pathlib import Path

from daemon.config import load
from daemon.store_requests import What
from provisioning.store_status import document, text
from tests.unit.store_world import Device


def test_it_shows_what_is_active_what_waits_the_pins_and_the_floor(tmp_path: Path) -> None:
    assert text(document(load(Device(tmp_path / "other").station), tmp_path)) == ""
    device = Device(tmp_path / "device")
    station = load(device.station)
    assert text(document(station, device.state)).startswith("no bundle is active")
    for number in (1, 2):
        device.install(number)
    device.activate(1)
    device.batch(1)
    device.activate(2)
    device.ask(What.PIN, device.digests["bundle-2"])
    found = document(station, device.state)
    assert (found["active"]["bundle"], found["staged"]["number"]) == (device.digests["bundle-1"], 2)
    assert text(found) == (
        "generation 1 (new): bundle tiny 1.0.0, recipe tiny-recipe 1.0.0; "
        "staged 2 (new): bundle tiny 2.0.0, recipe tiny-recipe 2.0.0, active after this batch; "
        f"pinned {device.digests['bundle-2'][:12]}; floor: file, weaker than a TPM"
    )
