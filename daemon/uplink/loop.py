"""The one blocking loop of uplink: whichever duty is due first has its turn; while it rests it feeds the watchdog."""

import select
import sys
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from daemon import notify

WAKE_S = 1.0

Advance = Callable[[], None]


class Stopping(Exception):
    """SIGTERM came; what was done stays, the next life goes on."""


class Duty(Protocol):
    """One kind of work of this process. A turn ends within seconds, or calls `advance` as often."""

    @property
    def said(self) -> str:
        """How it stands, one line; "" while there is nothing to say."""

    def turn(self, advance: Advance) -> float:
        """Do what is due and return in how many seconds something is due again.

        Raises:
            Stopping: out of `advance`.  ConfigError: it cannot be done as configured.
        """

    def asked(self) -> bool:
        """True if somebody wants a turn now; looked at once a second."""


class Loop:
    """Time and the watchdog. `stop` is a file descriptor that becomes readable at SIGTERM."""

    def __init__(self, duties: Sequence[Duty], stop: int) -> None:
        self._duties = duties
        self._due = [time.monotonic()] * len(duties)
        self._said = [""] * len(duties)
        self._stop = stop
        self._watchdog = notify.Watchdog()

    def run(self) -> None:
        """Work until SIGTERM.

        Raises:
            ConfigError: a duty cannot be done as configured.
        """
        try:
            while True:
                number = self._rest()
                self._due[number] = time.monotonic() + self._duties[number].turn(self._advance)
                self._say(number)
        except Stopping:
            pass

    def _rest(self) -> int:
        """Wait for the next turn and return whose it is. A duty is looked after even while others are always due."""
        self._advance()
        while True:
            number = min(range(len(self._duties)), key=self._due.__getitem__)
            left = self._due[number] - time.monotonic()
            if left <= 0:
                return number
            for asked, duty in enumerate(self._duties):
                if duty.asked():
                    return asked
            self._advance(min(left, WAKE_S))

    def _advance(self, wait_s: float = 0.0) -> None:
        self._watchdog.advanced()
        if select.select([self._stop], [], [], wait_s)[0]:
            raise Stopping

    def _say(self, number: int) -> None:
        """Say what is new: to the journal once, to systemd's status."""
        text = self._duties[number].said
        if text and text != self._said[number]:
            say(text)
        if text != self._said[number]:
            self._said[number] = text
            notify.status(" | ".join(said for said in self._said if said))


def say(text: str) -> None:
    """Write one line to the journal."""
    print(f"uplink: {text}", file=sys.stderr, flush=True)
