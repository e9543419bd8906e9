"""A strobe controller on a pseudo-terminal: the other end of drivers/light.py, with lamps that can be broken."""

import os
import select
import threading
import tty

from drivers.light import Health

LIMITS = (2_000, 5_000, 100_000)
CHANNELS = range(1, 5)


class SimStrobe:
    """Serves in a thread of its own until `close`. `device` is what the driver opens."""

    def __init__(self) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.device = os.ttyname(self._slave)
        self.health = dict.fromkeys(CHANNELS, Health.OK)
        self.mute = False
        self.sticky = False
        self._set: dict[int, tuple[int, ...]] = dict.fromkeys(CHANNELS, (0, 0, 0))
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._serve, name="strobe")
        self._thread.start()

    def close(self) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join()
        for fd in (self._master, self._slave, self._stop_read, self._stop_write):
            os.close(fd)

    def answer(self, line: str) -> str:
        """Return the answer to one command; `sticky` says OK and sets nothing."""
        words = line.split()
        try:
            numbers = [int(word) for word in words[1:]]
        except ValueError:
            return "ERR not a number"
        match words[:1], numbers:
            case ["ID"], []:
                return "ID linewarden sim 1"
            case ["SET"], [channel, *values] if channel in CHANNELS and len(values) == len(LIMITS):
                if not all(0 <= value <= limit for value, limit in zip(values, LIMITS, strict=True)):
                    return "ERR out of limits"
                self._set[channel] = self._set[channel] if self.sticky else tuple(values)
                return "OK"
            case ["GET"], [channel] if channel in CHANNELS:
                return " ".join(["CH", str(channel), *map(str, self._set[channel]), self.health[channel].value])
        return "ERR unknown command"

    def _serve(self) -> None:
        buffer = b""
        while True:
            ready, _, _ = select.select([self._master, self._stop_read], [], [])
            if self._stop_read in ready:
                return
            *lines, buffer = (buffer + os.read(self._master, 4096)).split(b"\n")
            for line in lines:
                if not self.mute:
                    os.write(self._master, self.answer(line.decode("ascii", "replace")).encode() + b"\n")
