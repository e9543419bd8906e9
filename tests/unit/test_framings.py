"""Finding an answer among bytes: whatever comes, nothing but the answer to the one request is taken."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, WriteMultipleRegistersRequest

from drivers.framings import MAX_RTU, UNREADABLE, RtuFraming, TcpFraming
from drivers.registers import crc16

UNIT = 17
words = st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=120)
noise = st.binary(max_size=40)


def read(count: int) -> ReadHoldingRegistersRequest:
    return ReadHoldingRegistersRequest(address=5, count=count, dev_id=UNIT)


def write(registers: list[int]) -> WriteMultipleRegistersRequest:
    return WriteMultipleRegistersRequest(address=1000, registers=registers, dev_id=UNIT)


def rtu(pdu: bytes, unit: int = UNIT) -> bytes:
    body = bytes((unit,)) + pdu
    return body + struct.pack("<H", crc16(body))


def answer_to_read(registers: list[int]) -> bytes:
    return struct.pack(f">BB{len(registers)}H", 3, 2 * len(registers), *registers)


@given(words, noise, noise)
def test_an_rtu_answer_is_found_between_noise(registers: list[int], before: bytes, after: bytes) -> None:
    framing, asked = RtuFraming(UNIT, 115_200), read(len(registers))
    sent = framing.request(asked)
    assert sent == rtu(struct.pack(">BHH", 3, 5, len(registers)))
    data = before + rtu(answer_to_read(registers)) + after
    used, pdu = framing.answer(data, asked)
    assert pdu is not None and list(pdu.registers) == registers and used == len(data)


@pytest.mark.clause("Annex 11 §5", "IEC 62443-4-2 CR 3.1")
@given(words, st.integers(1, 120), st.data())
def test_an_rtu_answer_that_is_damaged_cut_or_anothers_is_no_answer(
    registers: list[int], other: int, data: st.DataObject
) -> None:
    framing, asked = RtuFraming(UNIT, 115_200), read(len(registers))
    frame = bytearray(rtu(answer_to_read(registers)))
    assert framing.answer(bytes(frame[:-1]), asked) == (0, None)
    assert framing.answer(rtu(answer_to_read(registers), UNIT + 1), asked)[1] is None
    if other != len(registers):
        assert framing.answer(bytes(frame), read(other))[1] is None
    assert framing.answer(rtu(struct.pack(">BHH", 16, 1000, len(registers))), asked)[1] is None
    at, flip = data.draw(st.integers(0, len(frame) - 1)), data.draw(st.integers(1, 255))
    frame[at] ^= flip
    assert framing.answer(bytes(frame), asked)[1] is None


@given(words)
def test_an_rtu_acknowledgement_must_echo_place_and_count(registers: list[int]) -> None:
    framing, asked = RtuFraming(UNIT, 921_600), write(registers)
    assert framing.answer(framing.request(asked), asked)[1] is None, "its own echo is no answer"
    for address, count in ((1000, len(registers)), (1001, len(registers)), (1000, len(registers) + 1)):
        _, pdu = framing.answer(rtu(struct.pack(">BHH", 16, address, count)), asked)
        assert (pdu is not None) == ((address, count) == (1000, len(registers)))
    _, refusal = framing.answer(b"\x11" + rtu(b"\x90\x02"), asked)
    assert refusal is not None and refusal.isError()


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 120))
def test_no_bytes_at_all_upset_a_framing(chunks: list[bytes], count: int) -> None:
    """Random bytes give no answer, or a refusal that they spell by chance, and never an exception of another kind."""
    for framing in (RtuFraming(UNIT, 115_200), TcpFraming(UNIT)):
        asked, buffer = read(count), b""
        framing.request(asked)
        for chunk in chunks:
            buffer += chunk
            with contextlib.suppress(*UNREADABLE):
                used, _ = framing.answer(buffer, asked)
                assert 0 <= used <= len(buffer)
                buffer = buffer[used:][-MAX_RTU:]


@given(words, st.integers(1, 0xFFFE), noise)
def test_a_tcp_answer_to_another_request_or_of_another_unit_is_a_breach(
    registers: list[int], shift: int, after: bytes
) -> None:
    framing, asked = TcpFraming(UNIT), read(len(registers))
    framing.request(asked)
    pdu = answer_to_read(registers)

    def framed(transaction: int, unit: int) -> bytes:
        return struct.pack(">HHHB", transaction & 0xFFFF, 0, len(pdu) + 1, unit) + pdu

    number = asked.transaction_id
    for wrong in (framed(number + shift, UNIT), framed(number, UNIT + 1)):
        with pytest.raises(ValueError, match="from unit"):
            framing.answer(wrong, asked)
    whole = framed(number, UNIT)
    assert framing.answer(whole[:-1], asked) == (0, None)
    used, found = framing.answer(whole + after, asked)
    assert found is not None and list(found.registers) == registers and used == len(whole)
