"""A serial line as a `Transport`: opened and set by pyserial, read and written without its waits."""

import contextlib
import os
import termios
from typing import Literal

import serial

from drivers.errors import DeviceLost

CHUNK = 4096
PARITIES = {"none": serial.PARITY_NONE, "even": serial.PARITY_EVEN, "odd": serial.PARITY_ODD}
Parity = Literal["none", "even", "odd"]
PTY_MAJORS = range(136, 144)
FAULTS = (OSError, ValueError, termios.error)


class SerialTransport:
    """A serial line, 8 data bits, ours alone (an advisory lock), as quick as its driver allows.

    Without parity a second stop bit is sent, so that a character always has 11 bits.
    """

    def __init__(self, device: str, baud: int, parity: Parity) -> None:
        self._device = device
        self._baud = baud
        self._parity = parity
        self._port: serial.Serial | None = None

    @property
    def name(self) -> str:
        return self._device

    def fileno(self) -> int:
        return int(self._port.fileno()) if self._port else -1

    def open(self) -> None:
        self.close()
        try:
            self._port = serial.Serial(
                self._device,
                self._baud,
                parity=serial.PARITY_NONE if _is_pty(self._device) else PARITIES[self._parity],
                stopbits=serial.STOPBITS_TWO if self._parity == "none" else serial.STOPBITS_ONE,
                timeout=0,
                inter_byte_timeout=0,
                exclusive=True,
            )
        except FAULTS as error:
            raise DeviceLost(f"cannot be opened: {said(error)}") from error
        with contextlib.suppress(*FAULTS):
            self._port.set_low_latency_mode(True)

    def ready(self) -> bool:
        return True

    def receive(self) -> bytes:
        try:
            data = os.read(self._number(), CHUNK)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise DeviceLost(said(error)) from error
        if not data:
            raise DeviceLost("hung up: the port is gone")
        return data

    def send(self, data: bytes) -> int:
        try:
            return os.write(self._number(), data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise DeviceLost(said(error)) from error

    def close(self) -> None:
        if self._port:
            with contextlib.suppress(*FAULTS):
                self._port.reset_output_buffer()
            with contextlib.suppress(OSError):
                self._port.close()
        self._port = None

    def _number(self) -> int:
        if self._port is None:
            raise DeviceLost("not open")
        return int(self._port.fileno())


def _is_pty(device: str) -> bool:
    """True for a pseudo-terminal (majors 136 to 143), which has no parity: glibc refuses to set it a second time."""
    return os.major(os.stat(device).st_rdev) in PTY_MAJORS


def said(error: Exception) -> str:
    """Return the system's words for an error, without the ones pyserial puts around them."""
    number = error.args[0] if isinstance(error, termios.error) else getattr(error, "errno", None)
    return os.strerror(number) if number else str(error)
