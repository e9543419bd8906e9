"""The device's driver and the reject board's core over a line: honest, noisy, cut, unplugged, in memory and on ptys."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from board_line import BAUD, MS, SPEC, BoardLine, Memory, Mischief, Pty

from daemon.config import SerialBoard
from drivers.errors import DeviceLost
from drivers.links import Reply
from drivers.plc_link import Closed, Created, EdgeLatched, EpochGranted, LinkDown, LinkUp, Overrun, PlcRestarted
from drivers.registers import permit_check
from drivers.serial_transport import SerialTransport
from drivers.sim.board_front import BoardFront
from drivers.sim.board_program import BoardProgram

BOARD = Path(__file__).resolve().parents[2] / "drivers" / "board"
MESS = {"noise": 0.03, "drop": 0.01, "flip": 0.02, "double": 0.02, "swap": 0.2, "cut": 0.01, "delay": 0.02}
SEEDS = range(4)


@pytest.fixture(params=["memory", "pty"])
def line(request: pytest.FixtureRequest) -> Iterator[BoardLine]:
    """A line that runs in an agreed epoch."""
    wire = Memory() if request.param == "memory" else Pty()
    line = BoardLine(wire)
    line.until(EpochGranted)
    yield line
    line.plc.close()
    if isinstance(wire, Pty):
        wire.close()


def settle(line: BoardLine) -> None:
    """An honest line from now on, nothing more comes in; let the board empty and the driver hear of it."""
    line.mischief, line.sending = (Mischief(), Mischief()), False
    line.step(900)


def nothing_lost_or_doubled(line: BoardLine) -> None:
    assert line.numbers(Created) == line.made
    assert line.numbers(Closed) == line.closed
    assert not any(isinstance(event, Overrun) for event in line.events)


def test_units_are_heard_of_permitted_and_spared(line: BoardLine) -> None:
    line.step(1500)
    settle(line)
    nothing_lost_or_doubled(line)
    assert len(line.spared) > 5 and line.spared <= line.permitted
    assert line.link.health.bad_here == line.link.health.bad_there == line.link.health.dropped == 0


def test_the_boards_clock_is_bounded_by_what_was_seen_here(line: BoardLine) -> None:
    line.step(400)
    times = [event.at_ns for event in line.events if isinstance(event, Created)]
    gaps = {(b - a) // MS for a, b in zip(times, times[1:], strict=False)}
    assert gaps <= {61, 62, 63, 64}
    assert all(abs(line.now_ns - at) < 500 * MS for at in times)


def test_a_reply_to_a_status_encloses_the_moment_it_tells_of(line: BoardLine) -> None:
    """Also while the line doubles, delays and swaps what is said."""
    line.mischief = Mischief(1, delay=0.1, double=0.1, swap=0.3), Mischief(2, delay=0.1, double=0.1, swap=0.3)
    replies: list[Reply] = []
    service = line.link.service
    line.link.service = lambda now: replies.extend(got := service(now)) or got  # type: ignore[method-assign]
    line.step(800)
    told = [reply for reply in replies if reply.tag == "read status"]
    assert len(told) > 20
    for reply in told:
        clock_us = line.true_us(reply.words[14] << 16 | reply.words[15])
        assert (clock_us - reply.sent_ns // 1000) & 0xFFFFFFFF <= (reply.received_ns - reply.sent_ns) // 1000


def test_a_status_never_comes_before_the_events_it_covers() -> None:
    line = BoardLine(Memory())
    line.until(EpochGranted)
    line.mischief = Mischief(), Mischief(5, drop=0.3)
    replies: list[Reply] = []
    service, head = line.link.service, line.plc._map.lane.at(0)
    line.link.service = lambda now: replies.extend(got := service(now)) or got  # type: ignore[method-assign]
    line.step(1500)
    told = [reply for reply in replies if reply.tag == "read status"]
    assert len(told) > 30
    for reply in told:
        made = sum(at < reply.sent_ns for at in line.made_ns)
        assert reply.words[head] << 16 | reply.words[head + 1] >= made


def test_a_permit_for_another_epoch_or_with_a_wrong_check_does_not_leave_the_device(line: BoardLine) -> None:
    line.step(200)
    epoch = line.plc.epoch
    at, slot = line.plc._map.permit.at(0, 5), 5
    for words in ([0, 5, epoch, 0], [0, 5, epoch + 1, permit_check(5, epoch + 1, 0, slot, 1001)], [0, 69, epoch, 1]):
        line.link.write("permit", at, words)
    assert line.link.health.dropped == 3
    line.step(20)
    assert line.link.health.refused_there == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_the_line_does_no_permit_is_conjured_up_and_no_event_is_lost_or_doubled(seed: int) -> None:
    line = BoardLine(Memory(), seed)
    line.until(EpochGranted)
    line.mischief = Mischief(seed, **MESS), Mischief(seed + 1000, **MESS)
    line.step(2000)
    settle(line)
    nothing_lost_or_doubled(line)
    assert line.spared <= line.granted
    assert line.link.health.bad_there > 0


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_so_on_a_real_pty(seed: int) -> None:
    wire = Pty()
    line = BoardLine(wire, seed)
    try:
        line.until(EpochGranted)
        line.mischief = Mischief(seed, **MESS), Mischief(seed + 1000, **MESS)
        line.step(2000)
        settle(line)
        nothing_lost_or_doubled(line)
        assert line.spared <= line.granted
    finally:
        line.plc.close()
        wire.close()


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_when_the_driver_permits_nothing_nothing_passes_whatever_the_line_makes_of_it(seed: int) -> None:
    line = BoardLine(Memory(), seed)
    line.permitting = False
    line.until(EpochGranted)
    line.mischief = Mischief(seed, **MESS), Mischief(seed + 1000, **MESS)
    line.step(1500)
    settle(line)
    assert len(line.made) > 15 and line.spared == set()


def test_a_permit_lost_on_the_way_is_sent_again(line: BoardLine) -> None:
    line.mischief = Mischief(3, drop=0.15), Mischief(4)
    line.step(1500)
    settle(line)
    assert line.link.health.resent > 0
    heard = {unit for unit in line.permitted if unit[0] == line.plc.epoch}
    assert len(line.spared & heard) > 0.7 * len(heard)


def test_silence_of_the_device_ejects_and_a_new_driver_hears_what_it_missed(line: BoardLine) -> None:
    line.step(600)
    line.plc.close()
    before = len(line.made)
    line.dead = True
    line.step(1000)
    missed = line.made[before:]
    assert len(missed) > 8 and not line.spared & set(missed)
    line.plc, line.dead = line.driver(), False
    line.plc.back_read = True
    line.events.clear()
    line.until(EpochGranted)
    settle(line)
    assert set(missed) <= set(line.numbers(Created)) and set(missed) <= set(line.numbers(Closed))


def test_a_pulled_plug_is_a_lost_device_and_a_new_epoch_after_it() -> None:
    wire = Memory()
    line = BoardLine(wire)
    line.until(EpochGranted)
    epoch = line.plc.epoch
    line.step(500)
    wire.there = False
    line.until(LinkDown)
    line.step(500)
    wire.there = True
    line.until(EpochGranted)
    assert line.plc.epoch > epoch
    settle(line)
    nothing_lost_or_doubled(line)


@pytest.mark.parametrize("retained", [True, False])
def test_a_board_that_restarts_is_noticed_and_agrees_anew(retained: bool) -> None:
    line = BoardLine(Memory())
    line.until(EpochGranted)
    line.step(700)
    before, epoch = set(line.made), line.plc.epoch
    line._out = line.board.stop()
    line.step(30)
    line.board.start(line._encoder, retained)
    line.until(PlcRestarted)
    told = next(event for event in line.events if isinstance(event, PlcRestarted))
    assert told.memory_lost is not retained
    line.until(EpochGranted)
    assert line.plc.epoch > epoch
    line.step(800)
    settle(line)
    assert set(line.made) - before <= set(line.numbers(Created))


def test_edges_of_the_trigger_outputs_are_heard_of() -> None:
    line = BoardLine(Memory())
    line.until(EpochGranted)
    line.plc.command(1 | 8, 2, 6)
    line.sending = False
    line.step(60)
    line.fire(0, 2, 77)
    line.until(EdgeLatched)
    edge = next(event for event in line.events if isinstance(event, EdgeLatched))
    assert (edge.station, edge.k, edge.number, edge.shot, edge.encoder) == (0, 1, 0, 2, 77)
    assert edge.uncertainty_ns < 5 * MS


def test_a_silent_board_is_lost_after_the_timeout(line: BoardLine) -> None:
    line.step(50)
    line.board.stop()
    line.until(LinkDown)
    (down,) = [event for event in line.events if isinstance(event, LinkDown)]
    assert "no answer within 80 ms" in down.cause
    assert not line.plc.up


def test_a_stall_of_the_device_itself_is_no_loss_of_the_board(line: BoardLine) -> None:
    line.step(50)
    for pause in (85, 120, 300):
        line.dead = True
        line.step(pause)
        line.dead = False
        line.step(100)
    assert not [event for event in line.events if isinstance(event, LinkDown)] and line.plc.up


def test_a_port_is_ours_alone_and_a_missing_one_is_no_traceback() -> None:
    wire = Pty()
    try:
        wire.transport.open()
        other = SerialTransport(os.ttyname(wire.ends[1]), BAUD, "none")
        with pytest.raises(DeviceLost):
            other.open()
        wire.transport.close()
    finally:
        wire.close()
    with pytest.raises(DeviceLost, match="No such file"):
        SerialTransport("/dev/no-such-port", BAUD, "none").open()


def test_the_boxs_plug_can_be_pulled_and_put_back(tmp_path: Path) -> None:
    device = tmp_path / "board.tty"
    front = BoardFront(BoardProgram(SPEC), SerialBoard(device=str(device)))
    transport = SerialTransport(str(device), BAUD, "none")
    try:
        transport.open()
        assert transport.receive() == b""
        front.shut()
        assert not device.exists()
        with pytest.raises(DeviceLost):
            transport.receive()
        transport.close()
        front.open()
        transport.open()
        assert transport.receive() == b""
    finally:
        transport.close()
        front.close()
        front.close()
    assert not device.exists()


def test_the_core_survives_random_bytes_under_the_sanitisers(tmp_path: Path) -> None:
    """Random bytes, random well-formed frames of a stranger, edges, clocks, restarts: nothing spared, no finding."""
    subprocess.run(["make", "-s", "-C", str(BOARD), "fuzz", f"BUILD={tmp_path}"], check=True)
    for seed in ("1", "2"):
        done = subprocess.run(
            [str(tmp_path / "board_fuzz"), seed, "20000"], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


def test_the_core_compiles_without_a_warning(tmp_path: Path) -> None:
    for standard in ("c99", "c11"):
        command = ["gcc", f"-std={standard}", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wno-sign-conversion"]
        command += ["-Werror", "-ffreestanding", "-c", str(BOARD / "board_core.c"), "-o", str(tmp_path / "core.o")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_linkup_is_said_once_per_connection(line: BoardLine) -> None:
    line.step(300)
    assert sum(isinstance(event, LinkUp) for event in line.events) == 1
