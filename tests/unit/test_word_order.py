"""32-bit values in either order: what is swapped, what is not, and that both ends of a wire agree."""

import struct
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.gate.plc_bank import Bank
from drivers.registers import load_map, map_path
from drivers.word_order import LowFirst, high_first, low_first, wide_fields

MAP = load_map()
SWAP = low_first(MAP)
FIRSTS = wide_fields(MAP)


def spans() -> list[tuple[int, int]]:
    """Return (address, words) of every field of the map, read from its file alone."""
    document = tomllib.loads(map_path().read_text(encoding="utf-8"))
    size = {"u16": 1, "u32": 2}
    found = [(r["address"], size[r["type"]]) for r in document["register"]]
    for block in (*document["block"].values(), *document["ring"].values()):
        slots = block.get("length", block.get("slots", 1))
        entry = block.get("entry", block.get("slot_stride", block["stride"]))
        starts = [block["base"] + i * block["stride"] + s * entry for i in range(block["count"]) for s in range(slots)]
        found += [(start + f["offset"], size[f["type"]]) for start in starts for f in block["fields"]]
    return found


SPANS = spans()


def test_every_wide_field_of_the_map_is_known_and_no_other() -> None:
    assert {at for at, words in SPANS if words == 2} == {at for at, first in enumerate(FIRSTS) if first}


def test_a_permit_and_a_status_low_word_first() -> None:
    permit = MAP.permit.at(0, 5)
    assert SWAP(permit, [0x0001, 0x0002, 7, 8]) == [0x0002, 0x0001, 7, 8]
    status = list(range(MAP.status_words))
    swapped = SWAP(0, status)
    assert swapped[:6] == [0, 1, 3, 2, 4, 5]
    assert swapped[MAP.lane.at(0) : MAP.lane.at(0) + 2] == [25, 24]
    assert high_first(0, status) == status


@given(st.sampled_from(SPANS), st.integers(1, 120), st.integers(0, 0xFFFF))
def test_swapping_twice_changes_nothing(span: tuple[int, int], count: int, seed: int) -> None:
    start = span[0]
    end = min(start + count, MAP.size)
    end += FIRSTS[end - 1]
    words = [(seed + 7 * at) & 0xFFFF for at in range(start, end)]
    assert SWAP(start, SWAP(start, words)) == words


@pytest.mark.parametrize(("address", "count"), [(3, 1), (2, 1), (3, 4), (0, 3)])
def test_a_link_never_cuts_a_value_in_two(address: int, count: int) -> None:
    with pytest.raises(ValueError, match="cut a 32-bit value"):
        SWAP(address, [0] * count)


@given(st.integers(0, MAP.size - 1), st.integers(1, 120))
def test_a_controller_shows_each_half_where_it_keeps_it(address: int, count: int) -> None:
    """Any range, also one that begins or ends inside a value, as mbpoll may ask for."""
    count = min(count, MAP.size - address)
    bank = Bank(MAP)
    bank.words[:] = type(bank.words)("H", (at % 65536 for at in range(MAP.size)))
    shown = struct.unpack(f">{count}H", LowFirst(bank, MAP).read(address, count))
    partner = {at: at + 1 for at, first in enumerate(FIRSTS) if first}
    partner |= {second: first for first, second in partner.items()}
    assert list(shown) == [partner.get(at, at) for at in range(address, address + count)]


@given(st.integers(0, 255), st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=12))
def test_what_is_written_is_shown_and_nothing_else_changes(offset: int, values: list[int]) -> None:
    bank = Bank(MAP)
    view = LowFirst(bank, MAP)
    address = MAP.permit.at(1) + offset
    before = struct.unpack(">300H", view.read(MAP.permit.at(1) - 20, 300))
    view.write(address, values)
    after = list(struct.unpack(">300H", view.read(MAP.permit.at(1) - 20, 300)))
    assert after[offset + 20 : offset + 20 + len(values)] == values
    assert (after[: offset + 20], after[offset + 20 + len(values) :]) == (
        list(before[: offset + 20]),
        list(before[offset + 20 + len(values) :]),
    )


def test_a_permit_written_low_first_is_the_permit_that_the_gate_reads() -> None:
    bank = Bank(MAP)
    slot = MAP.permit.at(0, 3)
    wire = SWAP(slot, [0x1234, 0x5678, 9, 10])
    LowFirst(bank, MAP).write(slot, wire)
    assert MAP.permit.read(bank.words, slot) == {"id": 0x12345678, "epoch_low": 9, "check": 10}
