"""The site acceptance test against the box's machine in virtual time: passes a right PLC, catches planted ones."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from daemon import config
from daemon.acceptance import Case, Finished, Refused, Result, line, word
from daemon.line.acceptance import Acceptance
from drivers.gate import plc_logic
from drivers.gate.plc_bank import Bank
from drivers.gate.plc_io import Cause, Flag, Key, Unit
from drivers.gate.plc_permits import Device
from drivers.links import Reply
from drivers.plc_link import Settings
from drivers.registers import load_map, permit_check, u32
from drivers.sim.belt import Belt, BeltSpec
from drivers.sim.box_setup import plc_spec
from drivers.sim.machine import SCAN_NS, Machine
from provisioning.simstation import Layout, station_text

MAP = load_map()
MS = 1_000_000
TURN_NS = MS
SETTINGS = Settings(1001, 2001, 1, (0, 1), 4 * MS, 20 * MS, 80 * MS)
MOST_TURNS = 200_000


class CheckBlind(Device):
    """Does not look at the check word."""

    def slot_cause(self, unit: Unit) -> Cause:
        cause = super().slot_cause(unit)
        return Cause.NONE if cause is Cause.BAD_CHECK else cause


class EpochBlind(Device):
    """Takes permits of the epoch before for its own."""

    def slot_cause(self, unit: Unit) -> Cause:
        cause, words, at = super().slot_cause(unit), self._bank.words, unit.slot_at
        if cause is not Cause.WRONG_EPOCH or u32(words, at) != unit.number:
            return cause
        before = permit_check(unit.number, self.epoch - 1, 0, unit.slot, self._expected)
        return Cause.NONE if words[at + 3] == before else cause


class UnitEpochBlind(Device):
    """Forgets that a unit belongs to the epoch in which it was created."""

    def slot_cause(self, unit: Unit) -> Cause:
        was, unit.epoch = unit.epoch, self.epoch
        cause = super().slot_cause(unit)
        unit.epoch = was
        return cause


class HeartbeatBlind(Device):
    """Once alive, always alive."""

    def scan(self, now_us: int) -> bool:
        fresh = self._fresh_us >= 0
        self._fresh_us = now_us if fresh else -1
        return super().scan(now_us)


class IdentityBlind(Device):
    """Takes every device for the expected one."""

    def scan(self, now_us: int) -> bool:
        at = self._identity_at
        shown = list(self._bank.words[at : at + 2])
        if any(shown):
            self._bank.put(at, self._expected)
        granted = super().scan(now_us)
        self._bank.write(at, shown)
        return granted


class IdOnly(Device):
    """Takes a unit's number in its slot for a permit."""

    def slot_cause(self, unit: Unit) -> Cause:
        return Cause.NONE if u32(self._bank.words, unit.slot_at) == unit.number else Cause.NO_PERMIT


class AnySlot(Device):
    """Looks for the unit's number in every slot."""

    def slot_cause(self, unit: Unit) -> Cause:
        slots = (self._permit.at(0, slot) for slot in range(self._permit.length))
        return Cause.NONE if any(u32(self._bank.words, at) == unit.number for at in slots) else Cause.NO_PERMIT


class AnyId(Device):
    """Takes anything in the unit's slot for a permit."""

    def slot_cause(self, unit: Unit) -> Cause:
        return Cause.NONE if u32(self._bank.words, unit.slot_at) else Cause.NO_PERMIT


class Open(Device):
    """Passes everything."""

    def cause(self, unit: Unit, key: int, legacy_accept: bool) -> Cause:
        return Cause.NONE


class Shut(Device):
    """Passes nothing."""

    def cause(self, unit: Unit, key: int, legacy_accept: bool) -> Cause:
        return Cause.NO_PERMIT


class BankLink:
    """A RegisterLink straight into a bank; answers come with the next `service`."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self._replies: list[Reply] = []
        self.now_ns = 0
        self.up = False

    @property
    def idle(self) -> bool:
        return not self._replies

    def fileno(self) -> int:
        return -1

    def read(self, tag: str, address: int, count: int, index: int = 0, seq: int = 0) -> None:
        words = [int.from_bytes(pair) for pair in _pairs(self._bank.read(address, count))]
        self._replies.append(Reply(tag, index, seq, words, self.now_ns, self.now_ns))

    def write(self, tag: str, address: int, words: Sequence[int], index: int = 0, seq: int = 0) -> None:
        assert self._bank.writable(address, len(words))
        self._bank.write(address, words)
        self._replies.append(Reply(tag, index, seq, [], self.now_ns, self.now_ns))

    def connect(self, now_ns: int) -> bool:
        was, self.up = self.up, True
        return not was

    def service(self, now_ns: int) -> list[Reply]:
        self.now_ns = now_ns
        replies, self._replies = self._replies, []
        return replies

    def close(self) -> None:
        self.up = False
        self._replies.clear()


def _pairs(data: bytes) -> Iterator[bytes]:
    return (data[at : at + 2] for at in range(0, len(data), 2))


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> config.Station:
    path = tmp_path_factory.mktemp("station") / "station.toml"
    path.write_text(station_text(1502, Path("/c"), 600.0, Layout()))
    return config.load(path)


class Site:
    """A belt with a PLC, a device that tests it, and a clock that both are told."""

    def __init__(self, station: config.Station, cases: Sequence[Case] = tuple(Case), vials: int = 0) -> None:
        geometry = station.geometry
        spec = BeltSpec(
            rate_per_min=600.0,
            counts_per_mm=geometry.counts_per_mm,
            cameras=tuple(camera.position_mm for camera in station.cameras),
            gate_mm=geometry.gate_mm,
            chute_eye_mm=geometry.chute_eye_mm,
            pass_eye_mm=geometry.pass_eye_mm,
            seed=1,
            vials=vials,
            pictures=1,
        )
        self.now_ns = 0
        self.bank = Bank(MAP)
        self.machine = Machine(Belt(spec, 0), plc_logic.Plc(plc_spec(station), self.bank), self.bank, 0)
        self.bank.refresh = lambda: self.machine.refresh(self.now_ns)
        self.link = BankLink(self.bank)
        self.test = Acceptance(station, self.link, MAP, SETTINGS, lambda: self.now_ns, cases)

    def play(self) -> dict[Case, Result]:
        """Run to the end and return the results."""
        for _ in range(MOST_TURNS):
            self.now_ns += TURN_NS
            if self.now_ns % SCAN_NS == 0:
                self.machine.scan(self.now_ns)
            self.test.turn(self.now_ns)
            if self.test.over:
                return {w.case: w for w in self.test.words if isinstance(w, Result)}
        raise AssertionError(self.test.words[-3:])

    @property
    def last(self) -> object:
        return self.test.words[-1]


CAUSES = {
    Case.CONTROL: "none",
    Case.NO_PERMIT: "no_permit",
    Case.STALE_PERMIT: "no_permit",
    Case.HEARTBEAT_STOPPED: "heartbeat_stale",
    Case.LINK_CUT: "no_permit",
    Case.SHIFTED_SLOT: "no_permit",
    Case.SHIFTED_UNIT: "no_permit",
    Case.OLD_EPOCH: "wrong_epoch",
    Case.EPOCH_CHANGED: "wrong_epoch",
    Case.TORN_WRITE: "wrong_epoch",
    Case.WRONG_CHECK: "bad_check",
    Case.FOREIGN_DEVICE: "foreign_device",
    Case.CONTROL_AGAIN: "none",
}


def test_a_right_plc_passes(station: config.Station) -> None:
    site = Site(station)
    results = site.play()
    assert {case: result.cause for case, result in results.items()} == CAUSES
    assert [case for case, result in results.items() if not result.ok] == []
    assert isinstance(site.last, Finished) and site.last.strays == 0
    numbers = [result.number for result in results.values()]
    assert numbers == sorted(set(numbers)), "each case has a unit of its own"
    assert site.machine.belt.ended[0] + site.machine.belt.ended[1] == len(Case), (
        "the infeed lets in no more than needed"
    )
    assert not site.machine.plc.scan(0, site.machine._inputs).belt, "the belt stands at the end"


PLANTED = {
    CheckBlind: {Case.WRONG_CHECK},
    EpochBlind: {Case.OLD_EPOCH},
    UnitEpochBlind: {Case.EPOCH_CHANGED},
    HeartbeatBlind: {Case.STALE_PERMIT, Case.HEARTBEAT_STOPPED, Case.LINK_CUT},
    IdentityBlind: {Case.FOREIGN_DEVICE},
    IdOnly: {Case.OLD_EPOCH, Case.EPOCH_CHANGED, Case.TORN_WRITE, Case.WRONG_CHECK},
    AnySlot: {Case.OLD_EPOCH, Case.EPOCH_CHANGED, Case.TORN_WRITE, Case.WRONG_CHECK, Case.SHIFTED_SLOT},
    AnyId: {Case.OLD_EPOCH, Case.EPOCH_CHANGED, Case.TORN_WRITE, Case.WRONG_CHECK, Case.SHIFTED_UNIT},
    Open: {case for case in Case if not case.must_pass},
    Shut: {Case.CONTROL, Case.CONTROL_AGAIN},
}


@pytest.mark.clause("21 CFR 211.68(a)")
@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.__name__)
def test_a_planted_plc_is_caught(
    station: config.Station, monkeypatch: pytest.MonkeyPatch, planted: type[Device]
) -> None:
    monkeypatch.setattr(plc_logic, "Device", planted)
    played = PLANTED[planted] | {Case.CONTROL, Case.NO_PERMIT}
    site = Site(station, [case for case in Case if case in played])
    results = site.play()
    assert {case for case, result in results.items() if not result.ok} == PLANTED[planted]
    escaped = {case for case, result in results.items() if result.text == "WENT PAST THE GATE"}
    assert escaped == {case for case in PLANTED[planted] if not case.must_pass}
    assert isinstance(site.last, Finished)


def test_every_negative_case_is_the_only_one_that_catches_something_or_says_so() -> None:
    """NO_PERMIT is caught by Open alone: a PLC that passes silence passes everything."""
    caught = set[Case]().union(*(cases for planted, cases in PLANTED.items() if planted is not Open))
    assert set(Case) - caught == {Case.NO_PERMIT}


def _refused(site: Site) -> str:
    assert site.play() == {}
    assert isinstance(site.last, Refused), site.last
    return site.last.text


def test_it_does_not_start_beside_a_running_line(station: config.Station) -> None:
    site = Site(station)
    site.bank.set("device_identity", 1001)
    machine_scan = site.machine.scan

    def scan(now_ns: int) -> object:
        site.bank.set("device_heartbeat", now_ns // SCAN_NS)
        return machine_scan(now_ns)

    site.machine.scan = scan  # type: ignore[method-assign, assignment]  # the other device
    assert "another device is alive" in _refused(site)


@pytest.mark.clause("21 CFR 11.10(h)")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"plc_identity": 7}, "this is PLC 2001; the station file says 7"),
        ({"identity": 7}, "expects another device"),
    ],
)
def test_it_refuses_the_wrong_plc(station: config.Station, change: dict[str, int], says: str) -> None:
    site = Site(station)
    site.test = Acceptance(replace(station, **change), site.link, MAP, SETTINGS, lambda: site.now_ns)
    assert says in _refused(site)


def test_it_refuses_a_belt_too_fast_for_it(station: config.Station) -> None:
    site = Site(station)
    fast = replace(station, geometry=replace(station.geometry, speed_mm_s=10_000.0))
    site.test = Acceptance(fast, site.link, MAP, SETTINGS, lambda: site.now_ns)
    assert "run the belt slower" in _refused(site)


def test_it_needs_the_key_switch(station: config.Station) -> None:
    site = Site(station)
    site.machine.authority = Key.BOTH
    assert "turn the key switch" in _refused(site)


def test_it_asks_for_units(station: config.Station) -> None:
    site = Site(station, (Case.NO_PERMIT, Case.WRONG_CHECK), vials=1)
    assert list(site.play()) == [Case.NO_PERMIT]
    assert isinstance(site.last, Refused) and "no unit came within 60 s" in site.last.text


def test_a_restart_of_the_plc_ends_it(station: config.Station) -> None:
    site = Site(station)
    for _ in range(2500):
        site.now_ns += TURN_NS
        if site.now_ns % SCAN_NS == 0:
            site.machine.scan(site.now_ns)
        site.test.turn(site.now_ns)
    site.machine.stop_plc(site.now_ns)
    site.machine.start_plc(site.now_ns, retained=True)
    site.play()
    assert isinstance(site.last, Refused)


def test_words_travel() -> None:
    result = Result(Case.CONTROL, 3, 0, 7, [Flag.PERMITTED.name or ""], "none", True, "passed")
    for said in (result, Refused("x"), Finished(0, 1, 2)):
        assert word(line(said)) == said
    with pytest.raises(ValueError, match="nonsense"):
        word(b"nonsense")
