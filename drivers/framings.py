"""How a Modbus client puts requests on a wire and finds their answers: TCP (TLS too) and RTU. No I/O in here.

TCP answers carry the number of their request. RTU answers carry nothing of the kind: there an answer is what has the
unit, the function, the length, the echoed address and the checksum that the one outstanding request asks for.
"""

import struct
from typing import Protocol

from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest

from drivers.serial_timing import READ_ANSWER, READ_REQUEST, WRITE_ANSWER, WRITE_REQUEST, characters_ns, gap_ns

HEADER = 8
MAX_PDU = 253
MAX_TCP = 260
MAX_RTU = 512
REFUSED, REFUSAL = 0x80, 5


class Framing(Protocol):
    """Used by one ModbusLink, with one request outstanding.

    `gap_ns` is the silence before a request, `limit` the most bytes kept while an answer is looked for, `tolerant`
    says that bytes nobody asked for are noise of the wire and no breach by the peer.
    """

    gap_ns: int
    limit: int
    tolerant: bool

    def request(self, pdu: ModbusPDU) -> bytes:
        """Return the frame of a request; numbers it where the framing numbers."""

    def flights_ns(self, asked: ModbusPDU) -> tuple[int, int]:
        """Return the least time that this request and its answer spend on the wire."""

    def answer(self, received: bytes, asked: ModbusPDU) -> tuple[int, ModbusPDU | None]:
        """Return how many bytes are dealt with and the answer, None if it is not whole yet.

        Raises:
            ModbusException, ValueError, IndexError, struct.error: what came can be no answer.
        """


class TcpFraming:
    """MBAP header with unit and transaction number; an answer to another request is a breach."""

    gap_ns = 0
    limit = 4 * MAX_TCP
    tolerant = False

    def __init__(self, unit: int) -> None:
        self._unit = unit
        self._framer = FramerSocket(DecodePDU(False))
        self._transaction = 0

    def request(self, pdu: ModbusPDU) -> bytes:
        self._transaction = self._transaction % 0xFFFF + 1
        pdu.transaction_id = self._transaction
        return self._framer.buildFrame(pdu)

    def flights_ns(self, asked: ModbusPDU) -> tuple[int, int]:
        return 0, 0

    def answer(self, received: bytes, asked: ModbusPDU) -> tuple[int, ModbusPDU | None]:
        if len(received) < HEADER:
            return 0, None
        transaction, protocol, length, unit = struct.unpack(">HHHB", received[:7])
        if protocol or not 3 <= length <= MAX_PDU + 1:
            raise ValueError(f"no Modbus header: protocol {protocol}, length {length}")
        if transaction != asked.transaction_id or (self._unit and unit != self._unit):
            raise ValueError(f"from unit {unit} to request {transaction}, not to {asked.transaction_id}")
        if len(received) < length + 6:
            return 0, None
        return self._framer.handleFrame(received[: length + 6], self._unit, transaction)


class RtuFraming:
    """Unit, PDU, CRC. Whatever stands before the answer is noise: it is searched for at every byte."""

    limit = MAX_RTU
    tolerant = True

    def __init__(self, unit: int, baud: int) -> None:
        self.gap_ns = gap_ns(baud)
        self._baud = baud
        self._unit = unit
        self._decoder = DecodePDU(False)
        self._framer = FramerRTU(self._decoder)

    def request(self, pdu: ModbusPDU) -> bytes:
        pdu.transaction_id = 0
        return self._framer.buildFrame(pdu)

    def flights_ns(self, asked: ModbusPDU) -> tuple[int, int]:
        words, read = 2 * asked.count, isinstance(asked, ReadHoldingRegistersRequest)
        there, back = (READ_REQUEST, READ_ANSWER + words) if read else (WRITE_REQUEST + words, WRITE_ANSWER)
        return characters_ns(there, self._baud), characters_ns(back, self._baud)

    def answer(self, received: bytes, asked: ModbusPDU) -> tuple[int, ModbusPDU | None]:
        at = received.find(self._unit)
        while at >= 0:
            size = _size(received[at + 1 : at + 6], asked)
            if size and len(received) - at >= size:
                used, _, _, pdu = self._framer.decode(received[at : at + size])
                if used and pdu:
                    return len(received), self._decoder.decode(pdu)
            at = received.find(self._unit, at + 1)
        return 0, None


def _size(pdu: bytes, asked: ModbusPDU) -> int:
    """Return the size of the RTU frame whose PDU begins so, 0 if it cannot be the answer (or is too short to say)."""
    if len(pdu) < 2:
        return 0
    if pdu[0] == asked.function_code | REFUSED:
        return REFUSAL
    if pdu[0] != asked.function_code:
        return 0
    if isinstance(asked, ReadHoldingRegistersRequest):
        return READ_ANSWER + pdu[1] if pdu[1] == 2 * asked.count else 0
    return WRITE_ANSWER if pdu[1:5] == struct.pack(">HH", asked.address, asked.count) else 0


UNREADABLE = (ModbusException, ValueError, IndexError, struct.error)
