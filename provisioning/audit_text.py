"""The audit trail for people and for other programs: one document, as HTML, and as JSON that reads back equal. Pure."""

from datetime import UTC, datetime, timedelta
from html import escape

import msgspec

FORMAT = 1
SECOND_NS = 1_000_000_000
COLUMNS = (
    "when (UTC)",
    "clock",
    "what",
    "who",
    "role",
    "old \N{RIGHTWARDS ARROW} new",
    "why",
    "answer",
    "batch",
    "entry",
)
HOW = (
    "How to verify: `linewarden audit export FOLDER` on the device writes the records behind this; verify_records.py "
    "there (needs Python and `cryptography`, nothing else) checks them against the signed tree head above."
)

_STYLE = """
body { font: 13px/1.45 system-ui, sans-serif; color: #22262b; margin: 2em auto; max-width: 1500px; padding: 0 1em }
h1 { font-size: 1.5em; margin: 0 } dl { display: grid; grid-template-columns: max-content 1fr; gap: .15em 1.2em }
dt { color: #6a7078 } dd { margin: 0; overflow-wrap: anywhere } table { border-collapse: collapse; width: 100% }
th { position: sticky; top: 0; background: #f1f3f5; text-align: left; color: #6a7078; font-weight: 600 }
th, td { padding: .3em .6em; border-bottom: 1px solid #c9ced4; vertical-align: top; overflow-wrap: anywhere }
td.when { white-space: nowrap; font-variant-numeric: tabular-nums } tr.alarm td { background: #fff8ec }
tr.refused td { color: #b3261e } @media print { th { position: static } thead { display: table-header-group } }
"""


class Happening(msgspec.Struct, frozen=True):
    """One act or alarm. `at_ns`: UTC ns since 1970; `clock`: ntp or unsynchronised; `kind`: act or alarm.

    Of an alarm `why` is its text, `new` the state of the line, `who` the process that raised it; `unit` is "" for none.
    `entry` 0: recorded under an older schema.
    """

    entry: int
    at_ns: int
    clock: str
    kind: str
    what: str
    who: str
    role: str
    old: str
    new: str
    why: str
    done: bool
    answer: str
    batch: str
    signature: str = ""
    unit: str = ""

    @property
    def at(self) -> str:
        return utc(self.at_ns)

    @property
    def change(self) -> str:
        return f"{self.old} \N{RIGHTWARDS ARROW} {self.new}" if self.old else self.new

    @property
    def result(self) -> str:
        """The answer; of what was refused it says so."""
        return self.answer if self.done else f"REFUSED: {self.answer}"


class Title(msgspec.Struct, frozen=True):
    """What the list is of. `size` entries have the tree head `root` (hex), signed in `note`; `batch` "" = all."""

    origin: str
    station: str
    batch: str
    size: int
    root: str
    note: str
    made_ns: int
    release: str


class AuditTrail(msgspec.Struct, frozen=True):
    """The document."""

    title: Title
    happenings: list[Happening]
    format: int = FORMAT


def utc(at_ns: int) -> str:
    """Return UTC in ISO 8601 with milliseconds and Z."""
    moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=at_ns // 1000)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def to_json(trail: AuditTrail) -> bytes:
    """Return the document as JSON, indented."""
    return msgspec.json.format(msgspec.json.encode(trail), indent=2) + b"\n"


def from_json(text: bytes) -> AuditTrail:
    """Return the document that `to_json` wrote.

    Raises:
        msgspec.MsgspecError: it did not.
    """
    return msgspec.json.decode(text, type=AuditTrail)


def cells(item: Happening) -> tuple[str, ...]:
    """Return one line of the list, in the order of COLUMNS."""
    what = f"{item.what} {item.unit}".strip()
    words = (item.at, item.clock, what, item.who, item.role, item.change, item.why, item.result, item.batch)
    return (*words, str(item.entry))


def title_lines(trail: AuditTrail) -> list[tuple[str, str]]:
    """Return what stands above the list."""
    title = trail.title
    acts = sum(item.kind == "act" for item in trail.happenings)
    return [
        ("station", f"{title.station} ({title.origin})"),
        ("batch", title.batch or "all"),
        ("holds", f"{acts} acts, {len(trail.happenings) - acts} alarms and automatic reactions, oldest first"),
        ("signed tree head", f"{title.size} entries, root {title.root}"),
        ("made", f"{utc(title.made_ns)} by release {title.release}"),
    ]


def to_html(trail: AuditTrail) -> str:
    """Return the document as one HTML page that needs nothing else."""
    name = f"Audit trail {trail.title.batch or trail.title.station}"
    about = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in title_lines(trail))
    heads = "".join(f"<th>{escape(column)}</th>" for column in COLUMNS)
    rows = "\n".join(_row(item) for item in trail.happenings)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(name)}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{escape(name)}</h1>\n<dl>{about}</dl>\n<p>{escape(HOW)}</p>\n"
        f"<table><thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></body></html>\n"
    )


def _row(item: Happening) -> str:
    kind = "" if item.done else " refused"
    first, *others = cells(item)
    inner = f'<td class="when">{escape(first)}</td>' + "".join(f"<td>{escape(cell)}</td>" for cell in others)
    return f'<tr class="{item.kind}{kind}">{inner}</tr>'
