"""The strobe driver over a pseudo-terminal: settings read back, broken lamps told, silence and nonsense translated."""

from collections.abc import Iterator

import pytest

from drivers.errors import DeviceLost, DeviceRefused, DeviceTimeout
from drivers.light import AsciiStrobe, Health, Pulse, Reading, Strobe
from drivers.sim.strobe import SimStrobe

PULSE = Pulse(current_ma=500, width_us=300, delay_us=10)


@pytest.fixture
def peer() -> Iterator[SimStrobe]:
    peer = SimStrobe()
    yield peer
    peer.close()


@pytest.fixture
def strobe(peer: SimStrobe) -> Iterator[Strobe]:
    strobe = AsciiStrobe(peer.device, answer_s=0.1)
    strobe.open()
    yield strobe
    strobe.close()


def test_who_it_is(strobe: Strobe) -> None:
    assert strobe.identity() == "linewarden sim 1"


def test_a_setting_is_read_back(strobe: Strobe) -> None:
    strobe.set(2, PULSE)
    assert strobe.get(2) == Reading(PULSE, Health.OK)
    assert strobe.get(1) == Reading(Pulse(0, 0, 0), Health.OK)


@pytest.mark.parametrize("health", list(Health))
def test_the_health_of_the_lamp(strobe: Strobe, peer: SimStrobe, health: Health) -> None:
    peer.health[3] = health
    assert strobe.get(3).health is health


def test_what_the_controller_did_not_take_is_refused(strobe: Strobe, peer: SimStrobe) -> None:
    with pytest.raises(DeviceRefused, match="out of limits"):
        strobe.set(1, Pulse(5_000, 300))
    with pytest.raises(DeviceRefused, match="unknown command"):
        strobe.get(9)
    peer.sticky = True
    with pytest.raises(DeviceRefused, match="reads back"):
        strobe.set(1, PULSE)


def test_silence_is_a_timeout(strobe: Strobe, peer: SimStrobe) -> None:
    peer.mute = True
    with pytest.raises(DeviceTimeout, match="no whole answer to 'ID'"):
        strobe.identity()
    peer.mute = False
    assert strobe.identity()


@pytest.mark.parametrize("nonsense", ["", "CH 1 2", "CH 1 a b c ok", "CH 2 1 1 1 ok", "CH 1 1 1 1 tired", "\xff\xfe"])
def test_nonsense_is_refused(strobe: Strobe, peer: SimStrobe, nonsense: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "answer", lambda _line: nonsense)
    with pytest.raises(DeviceRefused):
        strobe.get(1)


def test_no_device_is_one_line() -> None:
    with pytest.raises(DeviceLost, match="cannot be opened"):
        AsciiStrobe("/dev/nothing-here").open()
    with pytest.raises(DeviceLost, match="is not open"):
        AsciiStrobe("/dev/nothing-here").identity()
