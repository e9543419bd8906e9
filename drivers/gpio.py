"""Digital lines of this computer behind one small Protocol: edges with kernel times in, levels out.

The direct wiring (drivers/direct.py) is the only user. `GpiodLines` is the body for a real gpiochip; the line-level
fake of the line in a box is reached through drivers/gpio_socket.py. One contract suite runs over both.
"""

import contextlib
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from drivers.errors import DeviceLost, DeviceRefused

CONSUMER = "linewarden"
KERNEL_EVENTS = 1024
AT_ONCE = timedelta(0)


@dataclass(frozen=True, slots=True)
class Edge:
    """One edge of an input line. `at_ns` CLOCK_MONOTONIC, taken where the edge was noticed, not where it is read."""

    offset: int
    rising: bool
    at_ns: int


@dataclass(frozen=True, slots=True)
class Use:
    """Which lines are asked for. `counted` tell rising edges only, `watched` both; `outputs` begin low."""

    counted: tuple[int, ...]
    watched: tuple[int, ...]
    outputs: tuple[int, ...]


class Lines(Protocol):
    """Owned by the line loop; nothing here waits."""

    def fileno(self) -> int:
        """A descriptor that is readable when `edges` has some."""

    def edges(self) -> Sequence[Edge]:
        """Return the edges since the last call, in order of time.

        Raises:
            DeviceLost: the lines are gone, or edges were lost on the way; close and open again.
        """

    def level(self, offset: int) -> bool:
        """Return the level of a watched line.

        Raises:
            DeviceLost: the lines are gone.
        """

    def set(self, offset: int, level: bool) -> None:
        """Drive an output.

        Raises:
            DeviceLost: the lines are gone.
        """

    def close(self) -> None:
        """Drive every output low and give the lines back. May be called twice."""


class GpiodLines:
    """Lines of a gpiochip through libgpiod 2 (python package gpiod, extra `gpio`), in one request: one queue of edges.

    Raises (constructor):
        DeviceRefused: gpiod is not installed, the chip is not there, or a line is in use.
    """

    def __init__(self, chip: str, use: Use) -> None:
        self._gpiod = library()
        line = self._gpiod.line
        self._outputs = use.outputs
        self._seen = 0
        clock = line.Clock.MONOTONIC
        rising = self._gpiod.LineSettings(
            direction=line.Direction.INPUT, edge_detection=line.Edge.RISING, event_clock=clock
        )
        both = self._gpiod.LineSettings(
            direction=line.Direction.INPUT, edge_detection=line.Edge.BOTH, event_clock=clock
        )
        low = self._gpiod.LineSettings(direction=line.Direction.OUTPUT, output_value=line.Value.INACTIVE)
        lines = {use.counted: rising, use.watched: both, use.outputs: low}
        try:
            self._request = self._gpiod.request_lines(
                chip, {k: v for k, v in lines.items() if k}, CONSUMER, KERNEL_EVENTS
            )
        except (OSError, ValueError) as error:
            raise DeviceRefused(
                f"{chip}: {error}; check $.wiring.chip, its lines and DeviceAllow= of the unit"
            ) from error

    def fileno(self) -> int:
        return int(self._request.fd)

    def edges(self) -> Sequence[Edge]:
        """As in Lines. The kernel keeps KERNEL_EVENTS edges; when it dropped one, the sequence number tells."""
        found: list[Edge] = []
        rising = self._gpiod.EdgeEvent.Type.RISING_EDGE
        try:
            while self._request.wait_edge_events(AT_ONCE):
                for event in self._request.read_edge_events():
                    self._in_sequence(event.global_seqno)
                    found.append(Edge(event.line_offset, event.event_type is rising, event.timestamp_ns))
        except OSError as error:
            raise DeviceLost(f"the gpiochip is gone: {error}") from error
        return found

    def level(self, offset: int) -> bool:
        try:
            return bool(self._request.get_value(offset) is self._gpiod.line.Value.ACTIVE)
        except OSError as error:
            raise DeviceLost(f"the gpiochip is gone: {error}") from error

    def set(self, offset: int, level: bool) -> None:
        value = self._gpiod.line.Value
        try:
            self._request.set_value(offset, value.ACTIVE if level else value.INACTIVE)
        except OSError as error:
            raise DeviceLost(f"the gpiochip is gone: {error}") from error

    def close(self) -> None:
        if not self._request:
            return
        value = self._gpiod.line.Value.INACTIVE
        with contextlib.suppress(OSError):
            self._request.set_values(dict.fromkeys(self._outputs, value))
        self._request.release()

    def _in_sequence(self, seqno: int) -> None:
        lost, self._seen = seqno - self._seen - 1, seqno
        if lost:
            raise DeviceLost(f"the kernel dropped {lost} edges: this process did not read them in time")


def library() -> Any:
    """Return gpiod, imported when it is needed: only a station with direct wiring has it.

    Raises:
        DeviceRefused: it is not installed.
    """
    try:
        return importlib.import_module("gpiod")
    except ImportError as error:
        raise DeviceRefused("gpiod is not installed: install the release with its extra, linewarden[gpio]") from error
