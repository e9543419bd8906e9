"""Wiring modbus-server: the device is the server, the PLC's communication block polls it; the gate judges as ever."""

import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Authority
from host_box import HOST, IDENTITY, MAP, PATIENCE_NS, PLC_IDENTITY, HostBench, reading

from drivers.gate.plc_io import Inputs, Latch
from drivers.handshake import MailFlag, Nak
from drivers.links import Reply
from drivers.modbus import tcp_link
from drivers.plc_link import (
    Closed,
    Created,
    EdgeLatched,
    EpochGranted,
    LinkDown,
    LinkUp,
    Overrun,
    PlcRestarted,
)
from drivers.registers import Command, permit_check
from drivers.sim.box_poller import PollerFront
from drivers.tls import client_context, server_context


@pytest.fixture
def bench() -> Iterator[HostBench]:
    bench = HostBench()
    yield bench
    bench.close()


def test_an_epoch_is_agreed_and_a_unit_is_heard_of(bench: HostBench) -> None:
    bench.agree()
    before = bench.now_ns
    unit = bench.infeed()
    assert (unit.epoch, unit.number) == (bench.plc.epoch, 1)
    assert abs(unit.at_ns - before) < 20_000_000
    assert bench.plc.alive(bench.now_ns)


def test_a_permit_passes_the_unit_it_names_and_no_other(bench: HostBench) -> None:
    bench.run()
    first, second = bench.infeed(), bench.infeed()
    bench.plc.permit(0, first.number)
    bench.wait(lambda: bench.slot(first.number)[1] == first.number)
    bench.encoder = 11_800
    bench.step()
    bench.encoder = 14_000
    events = bench.until(Closed, Inputs(passed=[bench.latch()], chute=[bench.latch()]))
    events += bench.step(turns=30)
    causes = {e.number: e.cause for e in events if isinstance(e, Closed)}
    assert causes[first.number] == 0
    assert causes.get(second.number) != 0


def test_a_revoked_permit_is_worth_nothing(bench: HostBench) -> None:
    bench.run()
    unit = bench.infeed()
    bench.plc.permit(0, unit.number)
    bench.wait(lambda: bench.slot(unit.number)[1] == unit.number)
    bench.plc.revoke(0, unit.number)
    bench.wait(lambda: bench.slot(unit.number) == [0, 0, 0, 0])
    assert bench.judged(unit.number)[1] == MAP.causes["no_permit"]


def test_a_permit_of_another_epoch_goes_nowhere(bench: HostBench) -> None:
    bench.run()
    at = MAP.permit.at(0, 5)
    bench.link.write("permit", at, [0, 5, bench.plc.epoch + 1, 1], 0, 5)
    with bench.connect() as sock:
        assert bench.mail(sock)["result_head"] == 0
        assert bench.ask(sock, reading(at, 4)) == b"\x03\x08" + bytes(8)


def test_a_reject_channel_reaches_the_gate(bench: HostBench) -> None:
    bench.run()
    unit = bench.infeed()
    bench.plc.divert(0, unit.number, 1)
    at = MAP.channel.at(0, unit.number % 64)
    bench.wait(lambda: bench.bank.words[at + 1] == unit.number)
    flags, cause = bench.judged(unit.number)
    assert (flags >> 8 & 7, cause) == (1, MAP.causes["no_permit"])


def test_a_plc_that_never_takes_its_results_rejects(bench: HostBench) -> None:
    bench.run()
    bench.front.mailbox.take = lambda _: None  # type: ignore[method-assign]
    for _ in range(10):
        unit = bench.infeed()
        bench.plc.permit(0, unit.number)
    with bench.connect() as sock:
        assert MailFlag.OVERRUN in MailFlag(bench.mail(sock)["flags"])
    assert bench.judged(1)[1] == MAP.causes["no_permit"]


def test_a_trigger_is_acknowledged_or_refused_with_its_cause(bench: HostBench) -> None:
    bench.agree()
    unit = bench.infeed()
    with bench.connect() as sock:
        bench.wait(lambda: bench.front.mailbox.naks == 1)
        found = bench.mail(sock)
        assert found["nak_cause"] == Nak.NOT_READY and found["in_flight"] == 1
        bench.plc.command(Command.RUN, 2, 6)
        bench.wait(lambda: bench.bank.get("line_mode") == 2)
        second = bench.infeed()
        bench.wait(lambda: bench.mail(sock)["ack"] == 2)
        assert MailFlag.READY | MailFlag.BUSY in MailFlag(bench.mail(sock)["flags"])
    for number in (unit.number, second.number):
        bench.plc.permit(0, number)
    bench.wait(lambda: bench.slot(second.number)[1] == second.number)
    assert bench.slot(unit.number) == [0, 0, 0, 0]


def test_a_refused_trigger_takes_back_what_was_given_ahead(bench: HostBench) -> None:
    bench.run()
    at = MAP.permit.at(0, 1)
    bench.plc.permit(0, 1)
    with bench.connect() as sock:
        assert any(bench.ask(sock, reading(at, 4))[2:])
        bench.plc.command(0, 2, 2)
        bench.wait(lambda: bench.bank.get("command") == 0)
        bench.infeed()
        bench.wait(lambda: bench.front.mailbox.naks == 1)
        assert not any(bench.ask(sock, reading(at, 4))[2:])


def test_a_new_epoch_empties_every_slot(bench: HostBench) -> None:
    bench.run()
    at = MAP.permit.at(0, 1)
    bench.plc.permit(0, 1)
    bench.plc.divert(0, 2, 1)
    with bench.connect() as sock:
        assert any(bench.ask(sock, reading(at, 4))[2:])
        bench.plc.ask_epoch(9)
        bench.until(EpochGranted)
        assert not any(bench.ask(sock, reading(at, 4))[2:])
        assert not any(bench.ask(sock, reading(MAP.channel.at(0, 2), 4))[2:])


def test_sync_shots_come_as_edges_without_a_unit(bench: HostBench) -> None:
    bench.agree()
    bench.plc.command(Command.SYNC, 2, 3)
    bench.wait(lambda: len(bench.orders) == 8)
    events = bench.until(EdgeLatched, Inputs(fired=bench.orders)) + bench.step(turns=20)
    edges = [(e.station, e.k, e.number) for e in events if isinstance(e, EdgeLatched)]
    assert edges == [(station, k, 0) for station in (0, 1) for k in (1, 2, 3, 4)]


def test_a_burst_loses_nothing_and_an_overrun_is_told(bench: HostBench) -> None:
    bench.agree()
    now = bench.now_ns // 1000
    events = bench.until(Created, Inputs(infeed=[Latch(now, n * 1200) for n in range(20)])) + bench.step(turns=10)
    assert [e.number for e in events if isinstance(e, Created)] == list(range(1, 21))
    events = bench.until(Overrun, Inputs(infeed=[Latch(now, n * 1200) for n in range(40)])) + bench.step(turns=20)
    assert [e.missing for e in events if isinstance(e, Overrun)] == [8]
    assert [e.number for e in events if isinstance(e, Created)] == list(range(29, 61))


def test_how_far_the_rings_were_read_is_told(bench: HostBench) -> None:
    bench.agree()
    bench.infeed()
    bench.infeed()
    with bench.connect() as sock:
        words = struct.unpack(">16H", bench.ask(sock, reading(MAP.read.base, 16))[2:])
    assert words[MAP.read.fields["unit_0"].offset] == 2


@pytest.mark.parametrize("retained", [True, False])
def test_a_plc_restart_is_noticed_and_needs_a_new_epoch(bench: HostBench, retained: bool) -> None:
    bench.agree()
    old = bench.plc.epoch
    bench.infeed()
    bench.program.start(0, retained=retained)
    restarted = bench.until(PlcRestarted)
    assert [e.memory_lost for e in restarted if isinstance(e, PlcRestarted)] == [not retained]
    bench.plc.ask_epoch(old + 1)
    bench.until(EpochGranted)
    assert bench.plc.epoch > old
    assert bench.infeed().number == (2 if retained else 1)


def test_a_cold_start_behind_a_cut_link_is_noticed_by_the_rings(bench: HostBench) -> None:
    bench.agree()
    for _ in range(3):
        bench.infeed()
    bench.front.shut()
    bench.until(LinkDown)
    bench.program.start(0, retained=False)
    bench.front.open()
    restarted = bench.until(PlcRestarted)
    assert [e.memory_lost for e in restarted if isinstance(e, PlcRestarted)] == [True]


def test_a_cut_link_is_down_and_comes_back_with_nothing_permitted(bench: HostBench) -> None:
    bench.run()
    unit = bench.infeed()
    bench.plc.permit(0, unit.number)
    bench.wait(lambda: bench.slot(unit.number)[1] == unit.number)
    bench.front.shut()
    bench.until(LinkDown)
    bench.plc.permit(0, unit.number + 1)
    bench.link.write("beat", 100, [7] * 12)
    with bench.connect() as sock:
        for address, count in ((0, 100), (100, 12), (MAP.permit.at(0), 100), (MAP.unit.at(0), 100)):
            assert not any(bench.ask(sock, reading(address, count))[2:])
    bench.front.open()
    bench.until(LinkUp)
    bench.step(turns=20)
    assert bench.slot(unit.number) == bench.slot(unit.number + 1) == [0, 0, 0, 0]


def test_a_silent_plc_is_a_lost_link(bench: HostBench) -> None:
    bench.agree()
    events = [event for _ in range(1000) for event in bench.device()]
    assert [e.cause for e in events if isinstance(e, LinkDown)][0].startswith(f"PLC {HOST}: no moving heartbeat")


def test_a_plc_whose_program_stands_still_is_a_lost_link(bench: HostBench) -> None:
    bench.agree()
    bench.program.scan = lambda *_: bench.out  # type: ignore[method-assign,assignment]
    assert "no moving heartbeat" in next(e.cause for e in bench.until(LinkDown) if isinstance(e, LinkDown))


def test_a_device_that_stands_still_lets_nothing_pass(bench: HostBench) -> None:
    bench.run()
    unit = bench.infeed()
    bench.plc.permit(0, unit.number)
    bench.wait(lambda: bench.slot(unit.number)[1] == unit.number)
    bench.serving = False
    bench.wait(lambda: bench.slot(unit.number) == [0, 0, 0, 0])


def test_a_status_lies_between_its_two_stamps(bench: HostBench) -> None:
    """The PLC's clock is this machine's: what the link claims of it can be checked."""
    seen: list[Reply] = []
    service = bench.link.service

    def watched(now_ns: int) -> list[Reply]:
        replies = service(now_ns)
        seen.extend(reply for reply in replies if reply.tag == "read status")
        return replies

    bench.link.service = watched  # type: ignore[method-assign]
    bench.agree()
    bench.step(turns=60)
    clock = MAP.registers["clock_us"].offset
    assert len(seen) > 5
    assert len({reply.received_ns for reply in seen}) == len(seen)
    for reply in seen:
        taken = (reply.words[clock] << 16 | reply.words[clock + 1]) & 0xFFFFFFFF
        since = (taken - reply.sent_ns // 1000) & 0xFFFFFFFF
        assert since <= (reply.received_ns - reply.sent_ns) // 1000 + 1


@pytest.mark.clause("21 CFR 11.10(h)")
def test_the_status_of_another_plc_is_never_heard(bench: HostBench) -> None:
    other = HostBench(identity=PLC_IDENTITY + 1)
    try:
        events = other.until(LinkDown)
        assert not other.plc.up
        assert (
            f"it is PLC {PLC_IDENTITY} with map 1, the station expects PLC {PLC_IDENTITY + 1}"
            in [e.cause for e in events if isinstance(e, LinkDown)][0]
        )
    finally:
        other.close()


def test_words_with_the_low_half_first() -> None:
    bench = HostBench(low=True)
    try:
        bench.run()
        unit = bench.infeed()
        bench.plc.permit(0, unit.number)
        bench.wait(lambda: bench.slot(unit.number)[1] == unit.number)
        with bench.connect() as sock:
            assert struct.unpack(">HH", bench.ask(sock, reading(102, 2))[2:]) == (IDENTITY & 0xFFFF, IDENTITY >> 16)
    finally:
        bench.close()


def test_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    bench = HostBench(tls=server_context(authority.file, *authority.issue("device", HOST)))
    try:
        context = client_context(authority.file, *authority.issue("plc"))
        bench.front.close()
        bench.front = PollerFront(bench.bank, tcp_link(HOST, bench.port, 1, PATIENCE_NS, tls=context), 1, (0, 1))
        bench.run()
        assert bench.infeed().number == 1
    finally:
        bench.close()


def test_mbpoll_reads_the_live_state(bench: HostBench) -> None:
    program = shutil.which("mbpoll")
    if program is None:
        pytest.skip("mbpoll is not installed: apt-get install mbpoll")
    bench.run()
    bench.infeed()

    def poll(*arguments: str) -> list[str]:
        command = [program, "-m", "tcp", "-p", str(bench.port), "-a", "1", "-1", "-q", "-o", "2", *arguments, HOST]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            bench.wait(lambda: process.poll() is not None)
            text = process.stdout.read() if process.stdout else ""
        assert process.returncode == 0, text
        return [line.split("\t")[-1].strip() for line in text.splitlines() if line.startswith("[")]

    assert poll("-t", "4", "-r", "110", "-c", "2") == ["2", "6"]
    assert poll("-t", "4:int", "-B", "-r", "25", "-c", "1") == ["1"]
    first = poll("-t", "4", "-r", "101", "-c", "1")
    bench.step(turns=60)
    assert poll("-t", "4", "-r", "101", "-c", "1") != first
    ready = int(poll("-t", "4", "-r", "15102", "-c", "1")[0])
    assert MailFlag.READY | MailFlag.BUSY in MailFlag(ready)
    assert bench.plc.up and bench.infeed().number == 2


def test_mbpoll_writes_nothing(bench: HostBench) -> None:
    program = shutil.which("mbpoll")
    if program is None:
        pytest.skip("mbpoll is not installed: apt-get install mbpoll")
    bench.run()
    unit = bench.infeed()
    check = permit_check(unit.number, unit.epoch, 0, unit.number % 64, IDENTITY)
    address = MAP.permit.at(0, unit.number % 64) + 1
    command = [program, "-m", "tcp", "-p", str(bench.port), "-a", "1", "-1", "-q", "-o", "2", "-t", "4"]
    command += ["-r", str(address), HOST, "--", "0", str(unit.number), str(unit.epoch), str(check)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        bench.wait(lambda: process.poll() is not None)
        text = process.stderr.read() if process.stderr else ""
    assert process.returncode != 0 and "Illegal data address" in text
    assert bench.slot(unit.number) == [0, 0, 0, 0]
