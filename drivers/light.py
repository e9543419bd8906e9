"""Strobe controllers: the lamp of a camera, set before a batch and asked for its health between batches.

`Strobe` is the Protocol. `AsciiStrobe` speaks a line protocol of our own over a serial line, through which a small
adapter can reach a controller of any make; no maker's dialect is built in. One command and one answer a line, ASCII,
ended by LF:

    ID                                  -> ID MAKER MODEL SERIAL
    SET channel current_ma width_us delay_us  -> OK
    GET channel                         -> CH channel current_ma width_us delay_us health      health: ok open short hot
    anything that cannot be done        -> ERR text

It waits for answers: not for a loop that must never wait. Wrong light is found by the reference patch of every frame,
whatever a controller says.
"""

import enum
from dataclasses import dataclass
from typing import Protocol

import serial

from drivers.errors import DeviceLost, DeviceRefused, DeviceTimeout

BAUD = 115_200
ANSWER_S = 0.5
LONGEST = 128


class Health(enum.StrEnum):
    """What a controller says of a lamp."""

    OK = "ok"
    OPEN = "open"
    SHORT = "short"
    HOT = "hot"


@dataclass(frozen=True, slots=True)
class Pulse:
    """One channel's flash: current in mA, width and delay after the trigger edge in us."""

    current_ma: int
    width_us: int
    delay_us: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """What a channel is set to, and how its lamp is."""

    pulse: Pulse
    health: Health


class Strobe(Protocol):
    """A strobe controller. Order: open, (identity, set, get)*, close. After DeviceLost: close, then open again."""

    def open(self) -> None:
        """Take the controller.

        Raises:
            DeviceLost.
        """

    def identity(self) -> str:
        """Return maker, model and serial number.

        Raises:
            DeviceLost, DeviceTimeout, DeviceRefused.
        """

    def set(self, channel: int, pulse: Pulse) -> None:
        """Set one channel and read it back.

        Raises:
            DeviceLost, DeviceTimeout, DeviceRefused (out of the controller's limits, or read back as something else).
        """

    def get(self, channel: int) -> Reading:
        """Return what one channel is set to, and the health of its lamp.

        Raises:
            DeviceLost, DeviceTimeout, DeviceRefused.
        """

    def close(self) -> None:
        """Give the controller back; its settings stay. May be called twice."""


class AsciiStrobe:
    """The line protocol above over a serial line."""

    def __init__(self, device: str, baud: int = BAUD, answer_s: float = ANSWER_S) -> None:
        self._device, self._baud, self._answer_s = device, baud, answer_s
        self._port: serial.Serial | None = None

    def open(self) -> None:
        self.close()
        try:
            self._port = serial.Serial(self._device, self._baud, timeout=self._answer_s, write_timeout=self._answer_s)
        except (OSError, ValueError) as error:
            raise DeviceLost(f"strobe {self._device}: cannot be opened: {error}; check the station file") from error

    def identity(self) -> str:
        return " ".join(self._ask("ID", "ID"))

    def set(self, channel: int, pulse: Pulse) -> None:
        self._ask(f"SET {channel} {pulse.current_ma} {pulse.width_us} {pulse.delay_us}", "OK")
        found = self.get(channel).pulse
        if found != pulse:
            raise DeviceRefused(f"strobe {self._device}: channel {channel} reads back {found}, not {pulse}")

    def get(self, channel: int) -> Reading:
        words = self._ask(f"GET {channel}", "CH")
        try:
            number, current, width, delay = map(int, words[:4])
            health = Health(" ".join(words[4:]))
        except ValueError as error:
            raise DeviceRefused(f"strobe {self._device}: answered {' '.join(words)!r} to GET {channel}") from error
        if number != channel:
            raise DeviceRefused(f"strobe {self._device}: answered for channel {number}, asked for {channel}")
        return Reading(Pulse(current, width, delay), health)

    def close(self) -> None:
        if self._port is not None:
            self._port.close()
            self._port = None

    def _ask(self, command: str, expected: str) -> list[str]:
        """Send one line and return the words behind the expected one; what an earlier answer left is thrown away."""
        if self._port is None:
            raise DeviceLost(f"strobe {self._device}: is not open")
        try:
            self._port.reset_input_buffer()
            self._port.write(f"{command}\n".encode("ascii"))
            answer = self._port.read_until(b"\n", LONGEST)
        except (OSError, serial.SerialException) as error:
            raise DeviceLost(f"strobe {self._device}: {error}; check its cable and supply") from error
        if not answer.endswith(b"\n"):
            raise DeviceTimeout(f"strobe {self._device}: no whole answer to {command!r} within {self._answer_s:g} s")
        words: list[str] = answer.decode("ascii", "replace").split()
        if not words or words[0] != expected:
            raise DeviceRefused(f"strobe {self._device}: {command!r} was answered with {' '.join(words)!r}")
        return words[1:]
