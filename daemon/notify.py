"""sd_notify: READY, WATCHDOG, STATUS to systemd (or to whoever plays its part), and its SIGTERM. The only user of
systemd-python.

The watchdog is fed by the loop that does the work and only when the work advanced (DESIGN section 2).
"""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator

from systemd import daemon

EXTEND_US, TOLD_NS = 30_000_000, 5_000_000_000
_told: dict[str, int] = {}


def _send(text: str) -> None:
    with contextlib.suppress(OSError):
        daemon.notify(text)


def ready(status: str) -> None:
    """Tell systemd that start-up is finished."""
    _send(f"READY=1\nSTATUS={status}")


def starting() -> None:
    """Tell systemd that start-up goes on and takes its time; called as often as its work advances."""
    now = time.monotonic_ns()
    if now - _told.get("starting", -TOLD_NS) >= TOLD_NS:
        _told["starting"] = now
        _send(f"EXTEND_TIMEOUT_USEC={EXTEND_US}")


def stopping(status: str) -> None:
    """Tell systemd that the process ends on purpose."""
    _send(f"STOPPING=1\nSTATUS={status}")


def status(text: str) -> None:
    """Set the one-line status shown by `systemctl status`."""
    _send(f"STATUS={text}")


class Watchdog:
    """Pings at a third of WATCHDOG_USEC. Owned by the loop whose progress it proves."""

    def __init__(self) -> None:
        limit_us = int(os.environ.get("WATCHDOG_USEC", "0"))
        self._period_ns = limit_us * 1000 // 3
        self._next_ns = 0

    def advanced(self) -> None:
        """Say that the work advanced. Called by the work loop at least every period; cheap when nothing is due."""
        if not self._period_ns:
            return
        now = time.monotonic_ns()
        if now >= self._next_ns:
            self._next_ns = now + self._period_ns
            _send("WATCHDOG=1")


@contextlib.contextmanager
def stop_signal() -> Iterator[int]:
    """Yield a file descriptor that becomes readable at SIGTERM or SIGINT."""
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        try:
            yield reader.fileno()
        finally:
            signal.set_wakeup_fd(-1)
