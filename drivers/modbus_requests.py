"""What a Modbus server answers, whatever carries the request: function codes 3 and 4 (one area), 6, 16 and 23. Pure."""

from collections.abc import Sequence
from typing import Protocol, cast

from pymodbus.constants import ExcCodes
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.register_message import (
    ReadWriteMultipleRegistersRequest,
    WriteMultipleRegistersRequest,
    WriteMultipleRegistersResponse,
    WriteSingleRegisterResponse,
)

MAX_READ, MAX_WRITE, MAX_WRITE_23 = 125, 123, 121
READ, READ_INPUT, WRITE_ONE, WRITE, READ_WRITE = 3, 4, 6, 16, 23


class Refused(Exception):
    """Raised by `Registers.write`: these values are not taken; nothing was set. `code` goes to the client."""

    def __init__(self, code: ExcCodes) -> None:
        super().__init__(code.name)
        self.code = code


class Registers(Protocol):
    """The registers a server shows. `Bank` (drivers/gate/plc_bank.py) is one, `LowFirst` another way to see it."""

    def covers(self, address: int, count: int) -> bool:
        """True if all these registers exist."""

    def writable(self, address: int, count: int) -> bool:
        """True if a client may write all these registers."""

    def read(self, address: int, count: int) -> bytes:
        """Return registers as Modbus sends them, big endian."""

    def write(self, address: int, values: Sequence[int]) -> None:
        """Set registers, all at once.

        Raises:
            Refused: not from this client, or not these values.
        """


def answer(registers: Registers, request: bytes) -> bytes:
    """Return the response PDU of one request PDU of at least one byte; never raises for what a client sent."""
    function = request[0]
    if function not in _HANDLERS:
        return refusal(function, ExcCodes.ILLEGAL_FUNCTION)
    if len(request) < _SHORTEST[function]:
        return refusal(function, ExcCodes.ILLEGAL_VALUE)
    try:
        pdu = _DECODER.decode(request)
    except ModbusException:
        pdu = None
    if pdu is None:
        return refusal(function, ExcCodes.ILLEGAL_VALUE)
    try:
        return _HANDLERS[function](registers, pdu)
    except Refused as error:
        return refusal(function, error.code)


def refusal(function: int, code: ExcCodes) -> bytes:
    """Return the exception PDU that answers a request of that function code."""
    pdu = ExceptionResponse(function, int(code))
    return bytes((pdu.function_code,)) + pdu.encode()


def _range_fault(registers: Registers, address: int, count: int, most: int, write: bool) -> ExcCodes | None:
    if not 1 <= count <= most:
        return ExcCodes.ILLEGAL_VALUE
    if not registers.covers(address, count) or (write and not registers.writable(address, count)):
        return ExcCodes.ILLEGAL_ADDRESS
    return None


def _read(registers: Registers, pdu: ModbusPDU) -> bytes:
    fault = _range_fault(registers, pdu.address, pdu.count, MAX_READ, write=False)
    if fault:
        return refusal(pdu.function_code, fault)
    return bytes((pdu.function_code, 2 * pdu.count)) + registers.read(pdu.address, pdu.count)


def _write_one(registers: Registers, pdu: ModbusPDU) -> bytes:
    fault = _range_fault(registers, pdu.address, 1, 1, write=True)
    if fault:
        return refusal(pdu.function_code, fault)
    registers.write(pdu.address, pdu.registers)
    response = WriteSingleRegisterResponse(address=pdu.address, registers=pdu.registers)
    return bytes((WRITE_ONE,)) + response.encode()


def _write(registers: Registers, pdu: ModbusPDU) -> bytes:
    request = cast(WriteMultipleRegistersRequest, pdu)
    fault = _range_fault(registers, request.address, request.count, MAX_WRITE, write=True)
    if request.byte_count != 2 * request.count or len(request.registers) != request.count:
        fault = ExcCodes.ILLEGAL_VALUE
    if fault:
        return refusal(WRITE, fault)
    registers.write(request.address, request.registers)
    return bytes((WRITE,)) + WriteMultipleRegistersResponse(address=request.address, count=request.count).encode()


def _read_write(registers: Registers, pdu: ModbusPDU) -> bytes:
    request = cast(ReadWriteMultipleRegistersRequest, pdu)
    read = _range_fault(registers, request.read_address, request.read_count, MAX_READ, write=False)
    write = _range_fault(registers, request.write_address, request.write_count, MAX_WRITE_23, write=True)
    whole = request.write_byte_count == 2 * request.write_count and len(request.write_registers) == request.write_count
    fault = write or read or (None if whole else ExcCodes.ILLEGAL_VALUE)
    if fault:
        return refusal(READ_WRITE, fault)
    registers.write(request.write_address, request.write_registers)
    return bytes((READ_WRITE, 2 * request.read_count)) + registers.read(request.read_address, request.read_count)


_DECODER = DecodePDU(True)
_HANDLERS = {READ: _read, READ_INPUT: _read, WRITE_ONE: _write_one, WRITE: _write, READ_WRITE: _read_write}
_SHORTEST = {READ: 5, READ_INPUT: 5, WRITE_ONE: 5, WRITE: 6, READ_WRITE: 10}
