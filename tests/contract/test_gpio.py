"""One contract for every body of drivers.gpio.Lines: the line-level fake of the box, and a gpiochip where there is one.

A real chip needs outputs wired back to inputs. Set LINEWARDEN_GPIO="/dev/gpiochipN OUT IN" to two offsets that are
joined by a wire, or by gpio-sim's pull: then the same tests run on it.
"""

import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from daemon.config import Diverter
from drivers.errors import DeviceLost, DeviceRefused
from drivers.gpio import Edge, GpiodLines, Lines, Use
from drivers.gpio_socket import SocketLines
from drivers.sim.bare_wires import BareWires, Wire
from drivers.sim.gpio_front import GpioFront

VARIABLE = "LINEWARDEN_GPIO"
PATIENCE_S = 5.0
MS = 1_000_000
WIRING = Diverter(
    chip="sim:nowhere",
    actuator="diverter",
    at_rest="reject",
    watchdog_ms=44.0,
    infeed=0,
    encoder=1,
    chute=2,
    passed=3,
    relay_closed=4,
    gate=5,
    watchdog=6,
    run=7,
    sync=8,
    admit=9,
    triggers=[],
    min_gap_mm=54.0,
)


class Bench(Protocol):
    """Lines under test with an output `out` that reaches an input `inp`, counted or watched."""

    out: int
    inp: int

    def open(self, *, watched: bool) -> Lines: ...

    def settle(self) -> None:
        """Let what was driven come through."""

    def close(self) -> None: ...


class FakeBench:
    """The box's front, whose machine joins the gate's line to the chute eye's, as a test wire would."""

    def __init__(self, folder: Path) -> None:
        self.out, self.inp = WIRING.gate, WIRING.chute
        self.path = folder / "gpio.sock"
        self.wires = BareWires(WIRING, ())
        self.front = GpioFront(self.wires, WIRING.relay_closed, self.path)
        self._level = False

    def open(self, *, watched: bool) -> Lines:
        counted, level = ((), (self.inp,)) if watched else ((self.inp,), ())
        lines = SocketLines(str(self.path), Use(counted, (WIRING.relay_closed, *level), (self.out, WIRING.watchdog)))
        self.settle()
        return lines

    def tell(self, offset: int, level: bool) -> None:
        self.wires.edges.append(Wire(offset, level, self.wires.scanned_us))
        self.front.scan(time.monotonic_ns())

    def settle(self) -> None:
        """One turn of the box: take the orders, carry the level over the wire."""
        self.front.service()
        for order in self.wires.hear():
            if order.offset == self.out and order.level != self._level:
                self._level = order.level
                self.tell(self.inp, order.level)

    def close(self) -> None:
        self.front.close()


class ChipBench:
    """Two lines of a gpiochip that a wire joins."""

    def __init__(self, chip: str, out: int, inp: int) -> None:
        self.chip, self.out, self.inp = chip, out, inp

    def open(self, *, watched: bool) -> Lines:
        counted, level = ((), (self.inp,)) if watched else ((self.inp,), ())
        return GpiodLines(self.chip, Use(counted, level, (self.out,)))

    def settle(self) -> None:
        time.sleep(0.002)

    def close(self) -> None:
        """Nothing to give back."""


@pytest.fixture(params=["fake", "gpiochip"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    made: FakeBench | ChipBench
    if request.param == "fake":
        made = FakeBench(tmp_path)
    elif VARIABLE in os.environ:
        chip, out, inp = os.environ[VARIABLE].split()
        made = ChipBench(chip, int(out), int(inp))
    else:
        pytest.skip(f'needs a /dev/gpiochip* with two lines joined by a wire, named as {VARIABLE}="CHIP OUT IN"')
    yield made
    made.close()


def drive(bench: Bench, lines: Lines, levels: str) -> None:
    for level in levels:
        lines.set(bench.out, level == "1")
        bench.settle()


def heard(lines: Lines, count: int) -> list[Edge]:
    """Wait for so many edges, as the line loop does: on the descriptor."""
    found: list[Edge] = []
    end = time.monotonic() + PATIENCE_S
    while len(found) < count and time.monotonic() < end:
        select.select([lines.fileno()], [], [], 0.1)
        found += lines.edges()
    return found


def test_a_counted_line_tells_its_rising_edges_with_their_times(bench: Bench) -> None:
    lines = bench.open(watched=False)
    before = time.monotonic_ns()
    drive(bench, lines, "1010010")
    found = heard(lines, 3)
    assert [(edge.offset, edge.rising) for edge in found] == [(bench.inp, True)] * 3
    times = [edge.at_ns for edge in found]
    assert times == sorted(times) and before - MS <= times[0] and times[-1] <= time.monotonic_ns()
    assert list(lines.edges()) == []
    lines.close()


def test_a_watched_line_tells_both_edges_and_its_level(bench: Bench) -> None:
    lines = bench.open(watched=True)
    assert lines.level(bench.inp) is False
    drive(bench, lines, "1")
    assert [edge.rising for edge in heard(lines, 1)] == [True] and lines.level(bench.inp)
    drive(bench, lines, "0")
    assert [edge.rising for edge in heard(lines, 1)] == [False] and not lines.level(bench.inp)
    lines.close()


def test_outputs_begin_low_and_fall_when_the_lines_are_closed(bench: Bench) -> None:
    lines = bench.open(watched=True)
    drive(bench, lines, "1")
    heard(lines, 1)
    lines.close()
    lines.close()
    bench.settle()
    again = bench.open(watched=True)
    bench.settle()
    list(again.edges())
    assert again.level(bench.inp) is False
    again.close()


def test_lines_that_are_not_there_are_refused(tmp_path: Path) -> None:
    use = Use((1,), (2,), (3,))
    with pytest.raises(DeviceRefused, match="no simulated lines there"):
        SocketLines(str(tmp_path / "nobody"), use)
    with pytest.raises(DeviceRefused, match=r"gpiochip-none|gpiod is not installed"):
        GpiodLines(str(tmp_path / "gpiochip-none"), use)


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeBench]:
    made = FakeBench(tmp_path)
    yield made
    made.close()


def test_the_relays_level_is_known_from_the_beginning(fake: FakeBench) -> None:
    fake.wires.relay_closed = True
    lines = fake.open(watched=False)
    assert list(lines.edges()) == [] and lines.level(WIRING.relay_closed)
    lines.close()


def test_an_edge_that_nobody_could_take_is_noticed(fake: FakeBench) -> None:
    lines = fake.open(watched=False)
    for _ in range(40_000):
        fake.tell(WIRING.chute, True)
    with pytest.raises(DeviceLost, match="edges were lost"):
        until_lost(lines, lambda: fake.tell(WIRING.chute, True))
    lines.close()


def test_a_cut_is_noticed_and_the_lines_may_be_opened_again(fake: FakeBench) -> None:
    lines = fake.open(watched=False)
    fake.front.shut()
    with pytest.raises(DeviceLost, match="are gone"):
        until_lost(lines, lambda: None)
    with pytest.raises(DeviceRefused):
        SocketLines(str(fake.path), Use((), (), ()))
    fake.front.open()
    again = fake.open(watched=False)
    drive(fake, again, "1")
    assert len(heard(again, 1)) == 1
    lines.close()
    again.close()


def test_a_newer_device_replaces_the_older(fake: FakeBench) -> None:
    older = fake.open(watched=False)
    newer = fake.open(watched=False)
    with pytest.raises(DeviceLost, match="are gone"):
        until_lost(older, lambda: None)
    drive(fake, newer, "1")
    assert len(heard(newer, 1)) == 1
    for lines in (older, newer):
        lines.close()


def test_an_order_is_sent_once(fake: FakeBench) -> None:
    lines = fake.open(watched=False)
    orders = [(order.offset, order.level) for order in fake.wires.hear()]
    lines.set(WIRING.watchdog, True)
    lines.set(WIRING.watchdog, True)
    fake.front.service()
    assert orders == [] and [(o.offset, o.level) for o in fake.wires.hear()] == [(WIRING.watchdog, True)]
    lines.close()


def until_lost(lines: Lines, act: Callable[[], None]) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        act()
        lines.edges()
