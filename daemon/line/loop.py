"""The line's one loop: sockets in and out, the time, the watchdog. Every decision is made in control.py.

Nothing waits longer than TURN_S, nothing touches a disk.
"""

import select
import time
from pathlib import Path

import msgspec

from daemon.config import Station
from daemon.line.arming import Pinned
from daemon.line.control import Control
from daemon.line.lateness import Lateness
from daemon.line.peers import Peers
from daemon.messages import Act, Ask, Hello
from daemon.notify import Watchdog
from daemon.wire import Message, Peer
from drivers.plc_link import Plc
from drivers.registers import RegisterMap

TURN_S = 0.001
TURN_NS = 1_000_000


class Line:
    """`turn` does one round; `main` calls it for ever."""

    def __init__(self, station: Station, runtime: Path, plc: Plc, registers: RegisterMap, pinned: Pinned) -> None:
        self._plc = plc
        self._peers = Peers(runtime, self._gone)
        self._control = Control(station, plc, registers, pinned, self._peers)
        self._watchdog = Watchdog()
        self._lateness = Lateness()

    def turn(self) -> None:
        """Wait for something at most TURN_S, then do everything that is due."""
        watched = [fd for fd in (self._plc.fileno(), *self._peers.filenos()) if fd >= 0]
        slept_ns = time.monotonic_ns()
        ready = select.select(watched, [], [], TURN_S)[0]
        now = time.monotonic_ns()
        if not ready:
            self._lateness.add(now - slept_ns - TURN_NS)
        for event in self._plc.service(now) if self._control.ready else ():
            self._control.event(event, now)
        for peer, message in self._peers.service(now, ready):
            self._message(peer, message, now)
        self._control.tick(now)
        self._plc.flush()
        self._watchdog.advanced()

    def close(self) -> None:
        """Withdraw: the heartbeat stops, so the PLC rejects by itself."""
        self._plc.close()
        self._peers.close()

    def _message(self, peer: Peer, message: Message, now: int) -> None:
        match message:
            case Hello():
                self._control.hello(message.process)
            case Act():
                self._peers.answer(peer, self._control.act(message, now))
            case Ask(what="latches"):
                self._peers.answer(peer, self._control.latches.all())
            case Ask():
                status = msgspec.structs.replace(self._control.status(now), loop_us=self._lateness.take())
                self._peers.answer(peer, status)
            case _:
                self._control.message(message, now)

    def _gone(self, peer: Peer, why: str) -> None:
        self._control.gone(peer.process, peer.name, why, time.monotonic_ns())
