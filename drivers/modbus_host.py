"""Wiring modbus-server: the device hosts register map v1, the customer's PLC polls it and writes the PLC's areas.

To the driver above it is a `RegisterLink` like any other: its reads are answered from the registers here, its writes
are done at once. A status counts only with proof of when it was taken: every answer that holds mail.turn carries a new
value, the PLC copies it to turn_echo, so the status was taken between that answer and its arrival. What carries no such
proof, or one older than the timeout, is not used; silence is a lost link.

One client holds the pen: the first whose status names the expected PLC. Everybody else may read.
"""

import errno
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pymodbus.constants import ExcCodes

from drivers.errors import DeviceLost
from drivers.gate.plc_bank import Bank
from drivers.handshake import Handshake
from drivers.links import Reply
from drivers.modbus_requests import Refused, Registers
from drivers.modbus_seat import KEPT_TURNS, Seat, plc_areas
from drivers.modbus_server import ModbusServer
from drivers.registers import MAP_VERSION, Block, Command, RegisterMap, u32
from drivers.word_order import LowFirst

RETRY_NS = 100_000_000
SAY_AGAIN_NS = 1_000_000_000
TURN_REQUESTS = 32
FILLING_TIMEOUTS = 10
AUTOMATIC = 2
REMEDY = {
    errno.EADDRNOTAVAIL: "write the address of this computer's card on the PLC's network as $.wiring.host",
    errno.EADDRINUSE: "another program listens there; stop it or change $.wiring.port",
    errno.EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE in the unit's drop-in; 1502 needs nothing",
}


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen, whom to admit (IPv4 addresses) and which PLC may write."""

    host: str
    port: int
    unit: int
    allow: frozenset[str]
    plc_identity: int
    lanes: int
    timeout_ns: int
    low_first: bool = False
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class _Sample:
    """One status as the PLC wrote it, taken at some moment between the two stamps."""

    words: Sequence[int]
    before_ns: int
    after_ns: int


@dataclass(frozen=True, slots=True)
class _Asked:
    tag: str
    address: int
    count: int
    index: int
    seq: int


class HostLink:
    """A `RegisterLink` to whichever PLC holds the pen. Owned by the line loop; `clock` is CLOCK_MONOTONIC in ns."""

    def __init__(self, registers: RegisterMap, listen: Listen, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._map = registers
        self._listen = listen
        self._clock = clock
        self._bank = Bank(registers)
        self._plc_areas = plc_areas(registers)
        self._status_size = registers.status_words
        self._handshake = Handshake(registers, listen.lanes)
        self._at = {name: field.offset for name, field in registers.registers.items()}
        self._server: ModbusServer | None = None
        self._next_try_ns = 0
        self._pen: Seat | None = None
        self._up = self._rising = False
        self._asked: deque[_Asked] = deque()
        self._done: list[Reply] = []
        self._sample: _Sample | None = None
        self._status: Sequence[int] = [0] * self._status_size
        self._moved_ns = 0
        self._epoch = 0
        self._turn = 0
        self._refused_writes = 0
        self._told: dict[str, int] = {}
        self._said: list[str] = []

    @property
    def up(self) -> bool:
        """True while a PLC with the expected identity holds the pen and its heartbeat moves."""
        return self._up

    @property
    def idle(self) -> bool:
        """True when nothing waits for its answer."""
        return not (self._asked or self._done)

    @property
    def port(self) -> int:
        """The TCP port, 0 before it listens."""
        return self._server.port if self._server else 0

    def fileno(self) -> int:
        """A descriptor that is readable when a client wants something, -1 before it listens."""
        return self._server.fileno() if self._server else -1

    def read(self, tag: str, address: int, count: int, index: int = 0, seq: int = 0) -> None:
        """Queue a read. One of the whole status waits for the next status that the PLC writes; others do not wait."""
        self._asked.append(_Asked(tag, address, count, index, seq))

    def write(self, tag: str, address: int, words: Sequence[int], index: int = 0, seq: int = 0) -> None:
        """Set registers at once; permits, withdrawals and channels go into the result queue too."""
        if not self._up:
            return
        now_ns = self._clock()
        self._done.append(Reply(tag, index, seq, (), now_ns, now_ns))
        if tag == "permit" and not self._permit(index, seq, words, now_ns):
            return
        if tag == "revoke":
            self._handshake.withdraw(index, seq, now_ns)
        if tag == "divert" and self._epoch:
            self._handshake.reject(index, seq, words[2], words[3], now_ns)
        self._bank.write(address, words)
        self._agree()

    def connect(self, now_ns: int) -> bool:
        """Listen when it is time to try; return True at the moment the link comes up."""
        if self._server is None and now_ns >= self._next_try_ns:
            self._next_try_ns = now_ns + RETRY_NS
            self._open()
        self._up, rises, self._rising = self._up or self._rising, self._rising, False
        return rises

    def service(self, now_ns: int) -> list[Reply]:
        """Answer clients, at most TURN_REQUESTS of their requests, and the reads that can be answered.

        Raises:
            DeviceLost: the PLC closed or fell silent; the link is down afterwards. While it is down: why it stays so,
                told when the reason is new and at most once a second.
        """
        if self._server:
            self._server.service(TURN_REQUESTS, self._pen.shown if self._pen else None)
            self._watch(self._server)
        if self._said and not self._up:
            said, self._said = self._said, []
            raise DeviceLost("; ".join(said))
        return self._answers()

    def remarks(self) -> list[str]:
        """Return what a person should hear of while the link is up, each text at most once a second."""
        said, self._said = self._said, []
        return said

    def close(self) -> None:
        """Stop listening and drop everybody."""
        self._reset()
        if self._server:
            self._server.close()
        self._server = None

    def writable(self, address: int, count: int) -> bool:
        """True if a PLC may write all these registers; who may, `take` decides."""
        return self._plc_areas[address : address + count] == b"\x01" * count

    def answer(self, seat: Seat, address: int, count: int) -> bytes:
        """Return registers for one client. An answer with mail.turn is a turn of its own."""
        mail, order = self._map.mail.base, self._map.order.base
        if address < order and address + count > mail:
            now_ns = self._clock()
            if address <= mail:
                self._turn = self._turn % 0xFFFF + 1
                seat.hand_out(self._turn, now_ns)
            self._bank.write(mail, self._handshake.words(self._turn, self._refused_writes & 0xFFFF))
            self._bank.write(self._map.result.base, self._handshake.results(now_ns))
        return self._bank.read(address, count)

    def take(self, seat: Seat, address: int, values: Sequence[int]) -> None:
        """Take what a client wrote into the PLC's areas.

        Raises:
            Refused: it does not hold the pen, or status or order are not written whole, or another PLC writes.
        """
        if seat is not self._pen and (self._pen or (address, len(values)) != (0, self._status_size)):
            self.refuse(seat, "it is not the only PLC" if self._pen else "the first write of a PLC is its status")
            raise Refused(ExcCodes.DEVICE_BUSY)
        is_status = self._whole(address, len(values), 0, self._status_size)
        is_order = self._whole(address, len(values), self._map.order.base, self._map.order.stride)
        if seat is not self._pen:
            self._claim(seat, values)
        if is_status:
            self._judge(seat, values)
        self._bank.write(address, values)
        if is_order:
            self._ordered(values)

    def _open(self) -> None:
        listen = self._listen
        try:
            self._server = ModbusServer(
                self._bank, listen.host, listen.port, listen.unit, tls=listen.tls, admit=self._admit
            )
        except OSError as error:
            remedy = REMEDY.get(error.errno or 0, "check $.wiring.host and port")
            self._say(f"cannot listen on {listen.host}:{listen.port}: {error.strerror}; {remedy}")

    def _admit(self, peer: str) -> Registers | None:
        if peer not in self._listen.allow:
            self._say(f"{peer}: turned away, it is not in $.wiring.allow")
            return None
        seat = Seat(self, self._bank, peer)
        seat.shown = LowFirst(seat, self._map) if self._listen.low_first else seat
        return seat.shown

    def _whole(self, address: int, count: int, start: int, size: int) -> bool:
        """True if that area is written, False if it is not touched.

        Raises:
            Refused: a part of it is written, or more than it.
        """
        if address >= start + size or address + count <= start:
            return False
        if (address, count) != (start, size):
            raise Refused(ExcCodes.ILLEGAL_ADDRESS)
        return True

    def refuse(self, seat: Seat, why: str) -> None:
        """Count a write that is not taken, and tell of it."""
        self._refused_writes += 1
        self._say(f"{seat.peer}: a write was refused; {why}")

    def _claim(self, seat: Seat, values: Sequence[int]) -> None:
        """Give the pen to a client that writes the status of the expected PLC, while nobody has it."""
        self._identify(seat, values)
        if self._taken_after(seat, values) is None:
            self.refuse(seat, "turn_echo is not the mail.turn that it was just given")
            raise Refused(ExcCodes.ILLEGAL_VALUE)
        self._reset()
        self._pen = seat
        self._moved_ns = self._clock()
        self._status = list(values)

    def _identify(self, seat: Seat, values: Sequence[int]) -> None:
        identity = u32(values, self._at["plc_identity"])
        if (values[self._at["map_version"]], identity) != (MAP_VERSION, self._listen.plc_identity):
            self.refuse(
                seat,
                f"it is PLC {identity} with map {values[self._at['map_version']]}, "
                f"the station expects PLC {self._listen.plc_identity} with map {MAP_VERSION}",
            )
            raise Refused(ExcCodes.ILLEGAL_VALUE)

    def _taken_after(self, seat: Seat, values: Sequence[int]) -> int | None:
        """Return when the turn was handed out that this status echoes, None if it proves nothing."""
        before_ns = seat.turns.get(values[self._at["turn_echo"]])
        if before_ns is None or self._clock() - before_ns > self._listen.timeout_ns:
            return None
        return before_ns

    def _judge(self, seat: Seat, values: Sequence[int]) -> None:
        """Use a status of the PLC if it proves when it was taken."""
        self._identify(seat, values)
        before_ns, now_ns = self._taken_after(seat, values), self._clock()
        if before_ns is None:
            return
        beat = self._at["plc_heartbeat"]
        if values[beat] != self._status[beat]:
            self._moved_ns = now_ns
            self._rising = not self._up
        self._status = list(values)
        self._sample = _Sample(self._status, before_ns, now_ns)
        self._handshake.in_flight = sum(self._in_flight(lane) for lane in range(self._listen.lanes))
        self._agree()

    def _in_flight(self, lane: int) -> int:
        heads = self._map.lane.read(self._status, self._map.lane.at(lane))
        return (heads["created_seq"] - heads["closed_seq"]) & 0xFFFFFFFF

    def _ordered(self, values: Sequence[int]) -> None:
        barred = self._handshake.order(values, self._clock())
        if barred:
            lane, number = barred
            block = self._map.permit
            self._bank.zero(block.at(lane, number % block.length), block.entry)

    def _permit(self, lane: int, number: int, words: Sequence[int], now_ns: int) -> bool:
        if not self._epoch or words[2] != self._epoch & 0xFFFF:
            return False
        return self._handshake.permit(lane, number, words[3], now_ns)

    def _agree(self) -> None:
        """Follow what PLC and device agree on; whenever it changes, no slot and no result counts any more."""
        nonce = self._bank.get("epoch_nonce")
        granted = u32(self._status, self._at["epoch_nonce_granted"])
        epoch = u32(self._status, self._at["epoch"]) if self._up and nonce and granted == nonce else 0
        if epoch != self._epoch:
            self._epoch = epoch
            self._handshake.begin(epoch)
            for block in (self._map.permit, self._map.channel):
                for lane in range(block.count):
                    self._bank.zero(block.at(lane), block.length * block.entry)
        bits = self._bank.get("command")
        runs = bits & Command.RUN and not bits & Command.ABORT
        self._handshake.ready = bool(epoch and runs and self._bank.get("line_mode") == AUTOMATIC)

    def _watch(self, server: ModbusServer) -> None:
        if self._pen is None:
            return
        silent_ns = self._clock() - self._moved_ns
        most_ns = self._listen.timeout_ns * (1 if self._up else FILLING_TIMEOUTS)
        if not server.serves(self._pen.shown):
            self._lost("closed by the PLC")
        elif silent_ns > most_ns:
            server.drop(self._pen.shown)
            self._lost(f"no moving heartbeat in a status of its own within {most_ns / 1e6:.0f} ms")

    def _lost(self, text: str) -> None:
        was_up, peer = self._up, self._pen.peer if self._pen else ""
        self._reset()
        if was_up:
            raise DeviceLost(f"PLC {peer}: {text}")
        self._say(f"PLC {peer}: {text}")

    def _reset(self) -> None:
        """Forget the PLC and everything that was for it."""
        self._pen = None
        self._up = self._rising = False
        self._asked.clear()
        self._done.clear()
        self._sample = None
        self._status = [0] * self._status_size
        self._epoch = 0
        self._bank.zero(0, len(self._bank.words))
        self._handshake.connected()
        self._handshake.ready = False

    def _answers(self) -> list[Reply]:
        replies, self._done = self._done, []
        while self._asked:
            reply = self._reply(self._asked[0])
            if reply is None:
                break
            self._asked.popleft()
            replies.append(reply)
        return replies

    def _reply(self, asked: _Asked) -> Reply | None:
        if (asked.address, asked.count) == (0, self._status_size):
            sample, self._sample = self._sample, None
            if sample is None:
                return None
            return Reply(asked.tag, asked.index, asked.seq, sample.words, sample.before_ns, sample.after_ns)
        now_ns = self._clock()
        words = list(self._bank.words[asked.address : asked.address + asked.count])
        self._note_read(asked)
        return Reply(asked.tag, asked.index, asked.seq, words, now_ns, now_ns)

    def _note_read(self, asked: _Asked) -> None:
        """Tell the PLC how far its rings were read."""
        rings: dict[str, Block] = {"unit": self._map.unit, "edge": self._map.edge, "closed": self._map.closed}
        ring = asked.tag.removeprefix("read ")
        if ring in rings and asked.seq:
            last = asked.seq + asked.count // rings[ring].entry - 1
            field = self._map.read.fields[f"{ring}_{asked.index}"]
            self._bank.put(self._map.read.base + field.offset, last, 1)

    def _say(self, text: str) -> None:
        now_ns = self._clock()
        if now_ns - self._told.get(text, -SAY_AGAIN_NS) >= SAY_AGAIN_NS:
            if len(self._told) >= KEPT_TURNS:
                self._told.clear()
            self._told[text] = now_ns
            self._said.append(text)
