"""The register map as a document: every register belongs to one field, and every 32-bit value is whole in its area."""

import tomllib
from collections import Counter
from typing import Any

from drivers.handshake import MailFlag, Nak, ResultReason
from drivers.modbus_seat import plc_areas
from drivers.registers import SIZE, Block, load_map, map_path
from drivers.word_order import wide_fields

MAP = load_map()
DOCUMENT: dict[str, Any] = tomllib.loads(map_path().read_text(encoding="utf-8"))
REPEATED = {**DOCUMENT["block"], **DOCUMENT["ring"]}


def addresses(entry: dict[str, Any]) -> list[int]:
    """Every address of a block or ring, once for each field that has it."""
    length = entry.get("length", entry.get("slots", 1))
    size = entry.get("entry", entry.get("slot_stride", entry["stride"]))
    return [
        entry["base"] + index * entry["stride"] + slot * size + field["offset"] + word
        for index in range(entry["count"])
        for slot in range(length)
        for field in entry["fields"]
        for word in range(SIZE[field["type"]])
    ]


def test_no_register_belongs_to_two_fields() -> None:
    used = Counter(r["address"] + word for r in DOCUMENT["register"] for word in range(SIZE[r["type"]]))
    for entry in REPEATED.values():
        used.update(addresses(entry))
    assert [address for address, times in used.items() if times > 1] == []
    assert max(used) < MAP.size


def test_the_plc_writes_what_the_map_gives_it_and_nothing_of_the_device() -> None:
    areas = plc_areas(MAP)
    for register in DOCUMENT["register"]:
        assert areas[register["address"]] == (register["access"] == "plc")
    for entry in REPEATED.values():
        assert {areas[address] for address in addresses(entry)} == {entry["access"] == "plc"}


def test_the_word_order_knows_every_wide_value() -> None:
    firsts = wide_fields(MAP)
    wide = {r["address"] for r in DOCUMENT["register"] if r["type"] == "u32"}
    blocks = [getattr(MAP, name) for name in REPEATED]
    assert all(isinstance(block, Block) for block in blocks)
    wide |= {
        block.at(index, slot) + field.offset
        for block in blocks
        for index in range(block.count)
        for slot in range(block.length)
        for field in block.fields.values()
        if field.words == 2
    }
    assert {address for address, first in enumerate(firsts) if first} == wide


def test_status_and_mail_each_fit_one_request() -> None:
    assert MAP.status_words <= 120
    assert MAP.order.base - MAP.mail.base <= 120
    assert MAP.read.at(0) == MAP.mail.base + MAP.mail.entry
    assert MAP.result.base == MAP.read.at(0) + MAP.read.entry


def test_the_words_of_the_handshake_are_those_of_the_map() -> None:
    assert {flag["name"]: 1 << flag["bit"] for flag in DOCUMENT["mail_flag"]} == {
        flag.name.lower(): flag.value for flag in MailFlag if flag.name
    }
    for name, words in (("nak", Nak), ("result_reason", ResultReason)):
        assert {entry["name"]: entry["value"] for entry in DOCUMENT[name]} == {w.name.lower(): w.value for w in words}
