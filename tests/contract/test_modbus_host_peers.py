"""Wiring modbus-server under a foreign PLC: libmodbus (tests/peers/modbus_peer.c) holds the pen."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from foreign_modbus import Foreign, compile_peer, served
from host_box import MAP, PLC_IDENTITY, HostBench

from drivers.plc_link import EpochGranted, Event, LinkUp, Snapshot

TURN_ECHO = MAP.registers["turn_echo"].offset
MAIL, MAIL_WORDS = MAP.mail.base, MAP.order.base - MAP.mail.base


class Device:
    """The line's loop over HostLink, for a thread of its own."""

    def __init__(self, bench: HostBench) -> None:
        self._bench = bench
        self.fileno = bench.link.fileno
        self.events: list[Event] = []

    def service(self) -> None:
        for _ in range(8):
            self.events += self._bench.device()


class ForeignPlc:
    """As many registers of a PLC as the link needs, over libmodbus."""

    def __init__(self, peer: Foreign) -> None:
        self._peer = peer
        self.words = [0] * MAP.status_words
        self.words[0], self.words[2], self.words[3] = 1, PLC_IDENTITY >> 16, PLC_IDENTITY & 0xFFFF
        self.words[21] = 1

    def read(self, address: int, count: int) -> list[int]:
        return self._values(self._peer.ask(f"r {address} {count}"))

    def write(self, address: int, words: list[int]) -> str:
        return self._peer.ask(f"w {address} {' '.join(map(str, words))}")

    def status(self, turn: int) -> list[int]:
        """Write the status and read the next mail in one request (function code 23)."""
        self.words[4] += 1
        self.words[TURN_ECHO] = turn
        return self._values(self._peer.ask(f"x {MAIL} {MAIL_WORDS} 0 {' '.join(map(str, self.words))}"))

    def grant(self) -> None:
        """Grant an epoch to a new nonce, once."""
        nonce, proposal = (self.read(MAP.registers[name].offset, 2) for name in ("epoch_nonce", "epoch_proposal"))
        if nonce != self.words[10:12]:
            self.words[8:12] = [*proposal, *nonce]

    @staticmethod
    def _values(answer: str) -> list[int]:
        word, *values = answer.split()
        assert word == "ok", answer
        return [int(value) for value in values]


@pytest.fixture
def bench() -> Iterator[HostBench]:
    bench = HostBench()
    yield bench
    bench.close()


def test_a_libmodbus_plc_brings_the_link_up_and_agrees_on_an_epoch(bench: HostBench, tmp_path: Path) -> None:
    program = str(compile_peer(tmp_path))
    device = Device(bench)
    with served(device):
        peer = Foreign(program, "client", "tcp", str(bench.port))
        try:
            plc = ForeignPlc(peer)
            turn = plc.read(MAIL, 1)[0]
            for _ in range(5):
                turn = plc.status(turn)[0]
            assert plc.write(MAP.permit.at(0, 1), [0, 1, 1, 1]) == "error Illegal data address"
            bench.plc.ask_epoch(7)
            for _ in range(50):
                turn = plc.status(turn)[0]
                plc.grant()
        finally:
            peer.close()
    kinds = {type(event) for event in device.events}
    assert {LinkUp, EpochGranted, Snapshot} <= kinds
    granted = [event.epoch for event in device.events if isinstance(event, EpochGranted)]
    assert granted == [7]
