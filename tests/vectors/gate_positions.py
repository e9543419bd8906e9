"""Scenarios of where units are: re-sync eyes, pockets of a carrier, one picture of several pockets and lanes."""

from collections.abc import Callable

from drivers.gate.plc_io import Latch
from tests.vectors.gate_line import Line


def slipping(line: Line) -> None:
    """Bodies come late by each eye, within the window; the clock of positions follows them."""
    line.agree()
    for late in (0, 60, 140, -90):
        line.slip = [late, late + 20]
        line.unit()
        line.unit(lane=1)
        line.scan(4)
    line.through()


def lost_at_an_eye(line: Line) -> None:
    line.agree()
    line.slip = [160, 0]
    line.unit()
    line.scan(3)
    line.slip = [0, 0]
    line.unit()
    line.body(real=False)
    line.scan(4)
    line.unit()
    line.through()


def strangers_at_the_eyes(line: Line) -> None:
    """A body nobody expects, two at once, and one out of turn."""
    line.agree()
    for _ in range(3):
        line.unit()
        line.scan(2)
    for eye, counts in ((0, 0), (1, 0), (0, -120), (1, 4000)):
        line.inputs.eyes.append((eye, Latch(line.now_us, (line.encoder + counts) & 0xFFFFFFFF)))
        line.scan(2)
    line.pace = 40
    line.unit()
    line.scan(3)
    line.unit()
    line.through()


def restart_between_the_eyes(line: Line) -> None:
    line.agree().unit()
    line.scan(5)
    line.unit()
    line.restart(True)
    line.agree(9)
    line.through()


def pockets(line: Line) -> None:
    line.agree().pace = 100
    for _ in range(14):
        line.unit()
        line.scan(2)
    line.through()


def grid(line: Line) -> None:
    """One picture shows pockets of both lanes; the first unit of a group is ordered for."""
    line.agree().pace = 120
    for turn in range(20):
        line.body(lane=turn % 2)
        if turn % 3:
            line.body(lane=0)
        line.scan(3)
    line.restart(True)
    line.agree(9)
    line.body(lane=1)
    line.through()


def two_at_once(line: Line) -> None:
    """Two bodies are due at one eye at the same time: the nearer is credited, and at a re-sync eye both are barred."""
    line.agree().pace = 40
    for lane in (0, 1):
        for distance in (3, 2, 4):
            line.unit(lane=lane)
            line.scan(distance)
        line.scan(9)
    line.through()


def window_edges(line: Line) -> None:
    """Bodies exactly at the ends of the windows, and one count beyond."""
    line.agree().pace = 300
    for off in (150, -150, 151, -151):
        start = line.encoder
        line.unit(lane=1)
        line.body(real=False)
        line.scan(3)
        line.inputs.eyes.append((0, Latch(line.now_us, (start + 800 + off) & 0xFFFFFFFF)))
        line.scan(9)
        line.inputs.chute.append(Latch(line.now_us, (start + 3600 + off // 150 * 260 + off % 2) & 0xFFFFFFFF))
        line.through()


POSITIONS: tuple[Callable[[Line], None], ...] = (
    slipping,
    lost_at_an_eye,
    strangers_at_the_eyes,
    restart_between_the_eyes,
    pockets,
    grid,
    two_at_once,
    window_edges,
)
