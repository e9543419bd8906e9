"""The wire to the PLC as a RegisterLink: one request at a time, each as late as the wire is slow, cut or silent."""

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from proof_agenda import Agenda
from proof_plant import Plant

from drivers.errors import DeviceLost
from drivers.links import Reply

RETRY_NS = 100_000_000
TIMEOUT_NS = 80_000_000
RESENT_NS = 30_000_000


@dataclass(slots=True)
class Wire:
    """The cable, shared by every life of the line. `deaf`: nothing comes back (half open).

    While it is `cut` nothing arrives, and what was sent is sent again by TCP until it does, or until somebody severs
    the connection: a write may arrive long after its sender gave up.
    """

    plant: Plant
    chance: random.Random
    cut: bool = False
    deaf: bool = False
    slow_ns: int = 0
    beatless: bool = False
    generation: int = 0

    def delay_ns(self) -> int:
        """One way."""
        return self.slow_ns + self.chance.randrange(40_000, 300_000)

    def sever(self) -> None:
        """What is on the wire is gone."""
        self.generation += 1


@dataclass(slots=True)
class Request:
    """One read or, with words, one write."""

    tag: str
    address: int
    count: int
    words: list[int]
    index: int
    seq: int
    sent_ns: int = 0


class LocalLink:
    """RegisterLink over the Wire. `arrived` tells the truth log of each write.

    The answer to a write says nothing to the driver; where the loop is `awake`, the next request goes out with it and
    the loop sleeps on.
    """

    def __init__(
        self, agenda: Agenda, wire: Wire, wake: Callable[[int], None], awake: Callable[[], bool] = lambda: True
    ) -> None:
        self._awake = awake
        self.arrived: Callable[[Request], None] = lambda _: None
        self.beat_ns = self.poll_ns = 0
        self._agenda, self._wire, self._wake = agenda, wire, wake
        self._up = False
        self._next_try_ns = 0
        self._queue: deque[Request] = deque()
        self._pending: Request | None = None
        self._ready: list[Reply] = []
        self._generation = 0

    @property
    def up(self) -> bool:
        return self._up

    @property
    def idle(self) -> bool:
        return self._pending is None and not self._queue

    def fileno(self) -> int:
        return -1

    def read(self, tag: str, address: int, count: int, index: int = 0, seq: int = 0) -> None:
        self._queue.append(Request(tag, address, count, [], index, seq))

    def write(self, tag: str, address: int, words: Sequence[int], index: int = 0, seq: int = 0) -> None:
        request = Request(tag, address, len(words), list(words), index, seq)
        if tag == "beat":
            self.beat_ns = self._agenda.now
            if self._wire.beatless:
                return
        place = next((i for i, other in enumerate(self._queue) if not other.words), len(self._queue))
        self._queue.insert(place, request)

    def connect(self, now_ns: int) -> bool:
        if self._up or now_ns < self._next_try_ns:
            return False
        self._next_try_ns = now_ns + RETRY_NS
        self._up = not self._wire.cut
        self._generation = self._wire.generation
        return self._up

    def service(self, now_ns: int) -> list[Reply]:
        if not self._up:
            return []
        if self._wire.generation != self._generation:
            self.close()
            raise DeviceLost("closed by the PLC")
        replies, self._ready = self._ready, []
        self._send_next(now_ns)
        if self._pending and now_ns - self._pending.sent_ns > TIMEOUT_NS:
            self.close()
            raise DeviceLost("no answer within 80 ms")
        return replies

    def close(self) -> None:
        self._up = False
        self._queue.clear()
        self._ready.clear()
        self._pending = None

    def _send_next(self, now_ns: int) -> None:
        if self._pending or not self._queue:
            return
        request = self._pending = self._queue.popleft()
        request.sent_ns = now_ns
        if request.tag == "read status":
            self.poll_ns = now_ns
        generation = self._wire.generation
        self._agenda.after(self._wire.delay_ns(), lambda: self._arrive(request, generation))
        self._wake(now_ns + TIMEOUT_NS + 1)

    def _arrive(self, request: Request, generation: int) -> None:
        wire = self._wire
        if generation != wire.generation:
            return
        if wire.cut:
            self._agenda.after(RESENT_NS, lambda: self._arrive(request, generation))
            return
        bank = wire.plant.bank
        if request.words:
            wire.plant.write(request.address, request.words)
            self.arrived(request)
            answer: Sequence[int] = ()
        else:
            if not request.address and bank.refresh:
                bank.refresh()
            answer = bank.words[request.address : request.address + request.count]
        if not wire.deaf:
            self._agenda.after(wire.delay_ns(), lambda: self._answer(request, answer, generation))

    def _answer(self, request: Request, words: Sequence[int], generation: int) -> None:
        if generation != self._wire.generation or self._pending is not request:
            return
        self._pending = None
        reply = Reply(request.tag, request.index, request.seq, words, request.sent_ns, self._agenda.now)
        self._ready.append(reply)
        if request.words and self._awake():
            self._send_next(self._agenda.now)
        else:
            self._wake(self._agenda.now)
