"""`linewarden map`: the register map as tables and as tag files for the integrator's tools, from the one map file.

Both numbers of a register are printed: the PDU offset that goes over the wire (0-based) and the 4xxxx number that many
tools ask for (offset + 40001, 400001 and up beyond 9998).
"""

import csv
import enum
import io
import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from daemon.config import WordOrder
from drivers.registers import SIZE, load_map, map_path
from provisioning import regtags

LAST_SHORT_NUMBER = 9998
GROUPS = ("block", "ring")


class Format(enum.StrEnum):
    """What `linewarden map --format` writes."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    CODESYS = "codesys"
    TIA = "tia"
    ROCKWELL = "rockwell"
    ST = "st"


@dataclass(frozen=True, slots=True)
class Row:
    """One register, or the first of a series: `repeats` holds (times, registers apart), outermost first."""

    name: str
    offset: int
    kind: str
    access: str
    text: str
    repeats: tuple[tuple[int, int], ...] = ()

    @property
    def number(self) -> int:
        """The 4xxxx number; six digits where five cannot hold it."""
        return self.offset + (40001 if self.offset <= LAST_SHORT_NUMBER else 400001)

    @property
    def last(self) -> int:
        """PDU offset of the last register of this row."""
        return self.offset + sum((times - 1) * apart for times, apart in self.repeats) + SIZE[self.kind] - 1

    @property
    def series(self) -> str:
        """How it repeats, in words."""
        return ", ".join(f"{times}x every {apart}" for times, apart in self.repeats if times > 1)


def document() -> dict[str, Any]:
    """Return the map file as it is written."""
    return tomllib.loads(map_path().read_text(encoding="utf-8"))


def rows(*, every: bool) -> list[Row]:
    """Return the registers by address; repeated ones once with their stride, or each of them with `every`."""
    found = list(_rows(document()))
    if every:
        found = [single for row in found for single in _single(row)]
    return sorted(found, key=lambda row: row.offset)


def _rows(source: dict[str, Any]) -> Iterator[Row]:
    for entry in source["register"]:
        yield Row(entry["name"], entry["address"], entry["type"], entry["access"], entry["text"])
    for group in GROUPS:
        for name, block in source[group].items():
            inner = (block.get("length", block.get("slots", 1)), block.get("entry", block.get("slot_stride", 0)))
            repeats = ((block["count"], block["stride"]), inner)
            for field in block["fields"]:
                offset, label = block["base"] + field["offset"], f"{name}.{field['name']}"
                yield Row(label, offset, field["type"], block["access"], field["text"], repeats)


def _single(row: Row) -> Iterator[Row]:
    if not row.repeats:
        yield row
        return
    (groups, stride), (length, entry) = row.repeats
    block, _, field = row.name.partition(".")
    for group in range(groups):
        for slot in range(length):
            place = f"[{group}][{slot}]" if length > 1 else f"[{group}]"
            name = f"{block}{place}.{field}"
            yield Row(name, row.offset + group * stride + slot * entry, row.kind, row.access, row.text)


def export(kind: Format, order: WordOrder, *, every: bool) -> str:
    """Return the map in one of the file formats (all but TABLE), ending with a newline."""
    match kind:
        case Format.CSV:
            return _csv(_header(order), [_cells(row) for row in rows(every=every)])
        case Format.JSON:
            return json.dumps(_json(order, every=every), indent=2) + "\n"
        case Format.CODESYS:
            return regtags.codesys(_tags(order, every=every), load_map().size)
        case Format.TIA:
            return regtags.tia(_tags(order, every=every))
        case Format.ROCKWELL:
            return regtags.rockwell(_tags(order, every=every), load_map().size)
        case _:
            return regtags.structured_text(document(), load_map().size)


def _tags(order: WordOrder, *, every: bool) -> Iterator[regtags.Tag]:
    """Yield one tag for each 16-bit register; rings and permit slots by their first entry unless `every`."""
    singles = (single for row in rows(every=False) for single in (_single(row) if _few(row) or every else [row]))
    for row in sorted(singles, key=lambda row: row.offset):
        if SIZE[row.kind] == 1:
            yield regtags.Tag(row.name, row.offset, row.text)
            continue
        ends = ("hi", "lo") if order is WordOrder.HIGH_FIRST else ("lo", "hi")
        for step, end in enumerate(ends):
            yield regtags.Tag(f"{row.name}.{end}", row.offset + step, row.text)


def _few(row: Row) -> bool:
    return all(length == 1 for length, _ in row.repeats[1:])


def show(console: Console, order: WordOrder, *, every: bool) -> None:
    """Print the map as a table, with the meaning of bits and causes below it."""
    source, words = document(), load_map()
    title = f"Linewarden register map, version {source['version']} (u32: {_in_words(order)})"
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False)
    for name in ("offset", "4xxxx"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("type", "writer", "name"):
        table.add_column(name, no_wrap=True)
    table.add_column("meaning", overflow="fold")
    for row in rows(every=every):
        text = f"{row.series}: {row.text}" if row.series else row.text
        cells = (str(row.offset), str(row.number), row.kind, row.access, row.name, text)
        table.add_row(*(escape(cell) for cell in cells))
    console.print(table)
    console.print(f"{words.size} holding registers, digest {words.digest[:16]}; offset = PDU address from 0")
    for title, lines in _meanings(source):
        console.print(f"{title}: {', '.join(lines)}", highlight=False)


def _in_words(order: WordOrder) -> str:
    return "high word first" if order is WordOrder.HIGH_FIRST else "low word first"


def _meanings(source: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    for title in ("command", "lamp", "flag"):
        yield f"{title} bits", [f"{1 << entry['bit']} {entry['name']}" for entry in source[title]]
    for title in ("cause", "channel"):
        yield f"{title}s", [f"{entry['value']} {entry['name']}" for entry in source[title]]


def _header(order: WordOrder) -> list[str]:
    return ["offset", "number", "last_offset", "name", f"type ({_in_words(order)})", "access", "repeats", "text"]


def _cells(row: Row) -> list[str]:
    return [str(row.offset), str(row.number), str(row.last), row.name, row.kind, row.access, row.series, row.text]


def _csv(header: list[str], lines: list[list[str]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return out.getvalue()


def _json(order: WordOrder, *, every: bool) -> dict[str, Any]:
    source, words = document(), load_map()
    found = [
        {
            "offset": row.offset,
            "number": row.number,
            "name": row.name,
            "type": row.kind,
            "access": row.access,
            "repeats": [{"times": times, "stride": apart} for times, apart in row.repeats if times > 1],
            "text": row.text,
        }
        for row in rows(every=every)
    ]
    head = {"version": source["version"], "word_order": order.value, "size": words.size, "digest": words.digest}
    meanings = {name: {e["name"]: 1 << e["bit"] for e in source[name]} for name in ("command", "lamp", "flag")}
    meanings |= {name: {e["name"]: e["value"] for e in source[name]} for name in ("cause", "channel")}
    return {**head, "registers": found, **meanings}
