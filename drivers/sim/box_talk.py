"""How the box talks with whoever started it: JSON lines out on standard output, JSON lines in on standard input.

Neither ever blocks the loop: what a slow reader does not take is kept up to KEPT bytes, then progress lines go first.
"""

import json
import os
import stat
from typing import Any

KEPT = 1 << 20
PROGRESS = "progress"


def _is_stream(fd: int) -> bool:
    """True for a pipe or socket: made by a supervisor for this process, so its flags are ours to change."""
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


class Speaker:
    """Owned by the box's loop; `flush` is called with every scan."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._unsent = bytearray()
        if _is_stream(fd):
            os.set_blocking(fd, False)

    def say(self, event: str, **values: Any) -> None:
        """Send one event. A progress line is dropped if the reader is far behind."""
        if event == PROGRESS and len(self._unsent) > KEPT:
            return
        self._unsent += json.dumps({"event": event} | values, separators=(",", ":")).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Hand on what the reader takes. A reader that went away is not an error: its end of stdin says so too."""
        if not self._unsent:
            return
        try:
            del self._unsent[: os.write(self._fd, self._unsent)]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._unsent.clear()


class Listener:
    """Commands of the supervisor; `take_out` are orders to empty the machine by hand.

    `fileno` is -1 where standard input is no stream: then only SIGTERM ends the box.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd if _is_stream(fd) or os.isatty(fd) else -1
        self._buffer = b""
        self.quit = False
        self.take_out: list[int] = []
        if self._fd >= 0 and _is_stream(fd):
            os.set_blocking(fd, False)

    def fileno(self) -> int:
        return self._fd

    def service(self) -> None:
        """Read what is there; sets `quit` on the command or at the end of the stream."""
        try:
            data = os.read(self._fd, 4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        orders = [_order(line) for line in lines]
        self.quit |= not data or any(order.get("cmd") == "quit" for order in orders)
        self.take_out += [int(order.get("behind", 0)) for order in orders if order.get("cmd") == "take-out"]


def _order(line: bytes) -> dict[str, Any]:
    try:
        order = json.loads(line)
    except ValueError:
        return {}
    return order if isinstance(order, dict) else {}
