"""Leaves of `linewarden audit`: search the trail, verify it, take it out of the box."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from daemon import restored
from daemon.documents import documents_of
from daemon.ledger_file import LEDGER, reading
from daemon.restored import NEW, Restored
from daemon.uplink.opening import open_archive, verifier
from daemon.uplink.sources import Sources
from daemon.uplink.stores import Store, StoreError
from provisioning import audit_search, audit_text, audit_verify, places
from provisioning.archives import archive_of, one_line, progress
from provisioning.audit_search import Query
from provisioning.audit_text import AuditTrail, Happening
from provisioning.cli_trace import window_of
from provisioning.export import Exported, ExportError, export
from provisioning.lineacts import ROLE, ActRefused, add_reason, person, why
from provisioning.whole_file import whole_file
from signing.durable import write_durably

DONE = 0
SHOWN = 100
WIDE = 160
COLUMNS = ("when (UTC)", "what", "who (role)", "old \N{RIGHTWARDS ARROW} new", "why", "answer", "batch", "entry")
PAPERS = (".html", ".pdf", ".json")


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the leaves to the tree."""
    audit = commands.add_parser("audit", help="the audit trail: search it, take it out of the box")
    leaves = audit.add_subparsers(required=True, metavar="WHAT")
    _add_search(leaves.add_parser("search", help="who did what, when and why, and what rang"))
    _add_verify(leaves.add_parser("verify", help="is the trail whole, signed, and do the tables say what it says?"))
    _add_begin(leaves.add_parser("begin", help="begin a new trail where one was lost and no archive has it"))
    _add_export(leaves.add_parser("export", help="records that verify_records.py checks, or a list to read"))


def _add_search(parser: argparse.ArgumentParser) -> None:
    _state(parser)
    for name, what in (("who", "a person or process"), ("what", "a kind of act or an alarm code")):
        parser.add_argument(f"--{name}", default="", metavar="WORD", help=f"{what}, or a part of it")
    for name in ("since", "until"):
        parser.add_argument(
            f"--{name}", default="", metavar="TIME", help="UTC: 2026-11-22T21:18, a day, or 22:10 today"
        )
    parser.add_argument("--batch", default="", metavar="ID", help="of this batch only")
    parser.add_argument("--text", default="", metavar="WORD", help="anywhere in who, what, old, new, why, answer")
    parser.add_argument(
        "--limit", type=_limit, default=SHOWN, metavar="N", help=f"the newest N (default {SHOWN}, 0 all)"
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.set_defaults(run=_search)


def _add_verify(parser: argparse.ArgumentParser) -> None:
    _state(parser)
    parser.add_argument(
        "--witness", type=Path, action="append", default=[], metavar="NOTE", help="a head kept elsewhere, or a folder"
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.set_defaults(run=_verify)


def _verify(parsed: argparse.Namespace) -> int:
    return audit_verify.run(places.find_state(parsed.state), parsed.witness, parsed.json, Console())


def _add_begin(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", type=Path, required=True, metavar="DIR", help="state folder, without a ledger")
    add_reason(parser)
    parser.set_defaults(run=_begin)


def _begin(parsed: argparse.Namespace) -> int:
    if (parsed.state / LEDGER).exists():
        raise ActRefused(f"{parsed.state / LEDGER} is there: a trail begins anew only where one was lost")
    if not parsed.state.is_dir():
        raise ActRefused(f"{parsed.state}: there is no such folder; name the device's state folder")
    said = Restored(person(), ROLE, why(parsed.reason, Console()), NEW, "")
    restored.write(parsed.state, said)
    print("the recorder begins a new trail at its next start, with your name and reason as its second entry")
    return DONE


def _add_export(parser: argparse.ArgumentParser) -> None:
    _state(parser)
    parser.add_argument("target", type=Path, metavar="DIR|FILE", help="a new folder; or FILE.html, FILE.pdf, FILE.json")
    parser.add_argument("--batch", default="", metavar="ID", help="only this batch, from its opening to its closing")
    parser.add_argument("--images", action="store_true", help="the retained images too")
    parser.set_defaults(run=_export)


def _state(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state", type=Path, metavar="DIR", help="state folder (default: the device's or newest run's)"
    )


def _limit(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines")
    return int(text)


def _found(named: Path | None) -> Path:
    """Return the state folder, and say on stderr which it is."""
    state = places.find_state(named)
    print(f"ledger {state / LEDGER}", file=sys.stderr)
    return state


def _search(parsed: argparse.Namespace) -> int:
    query = Query(parsed.who, parsed.what, parsed.text, parsed.batch, limit=parsed.limit)
    if parsed.since or parsed.until:
        window = window_of(f"{parsed.since}..{parsed.until}", datetime.now(UTC))
        query = Query(parsed.who, parsed.what, parsed.text, parsed.batch, window.begin_ns, window.end_ns, parsed.limit)
    with reading(_found(parsed.state) / LEDGER) as db:
        found = audit_search.find(db, query)
    if parsed.json:
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return DONE
    console = Console() if sys.stdout.isatty() else Console(width=WIDE)
    console.print(_table(found))
    if parsed.limit and len(found) == parsed.limit:
        console.print(f"the newest {parsed.limit}; --limit 0 shows all")
    return DONE


def _table(found: list[Happening]) -> Table:
    table = Table(*COLUMNS, box=None, pad_edge=False, header_style="dim")
    table.columns[0].no_wrap = True
    for item in found:
        when = item.at if item.clock == "ntp" else f"{item.at} {item.clock}"
        who = f"{item.who} ({item.role})" if item.role else item.who
        words = (when, f"{item.what} {item.unit}".strip(), who, item.change, item.why, item.result, item.batch)
        style = ("red" if not item.done else "yellow") if not item.done or item.kind == "alarm" else None
        table.add_row(*map(_plain, words), str(item.entry), style=style)
    return table


def _plain(text: str) -> str:
    """Return text without anything that a terminal or rich would take for an order."""
    return "".join(letter if letter.isprintable() else " " for letter in text).replace("[", "\\[")


def _export(parsed: argparse.Namespace) -> int:
    state = _found(parsed.state)
    if parsed.target.suffix in PAPERS:
        _write_paper(state, parsed.target, parsed.batch)
        print(parsed.target)
        return DONE
    station = places.station_of(state)
    with one_line(), _site_archive(station if parsed.images else None) as elsewhere:
        documents = (lambda: documents_of(station, state)) if station else dict
        sources = Sources(state, documents, verifier(), elsewhere)
        with progress(Console(stderr=True)) as step:
            exported = export(sources, parsed.target, parsed.batch, parsed.images, step)
    print(_told(exported, parsed.target))
    return DONE


@contextmanager
def _site_archive(station: Path | None) -> Iterator[Store | None]:
    """Yield the site archive: images that were released here lie there. None where there is none or it is away."""
    archive, found = archive_of(station), None
    if archive is not None and station is not None:
        with suppress(StoreError):
            found = open_archive(archive, station, None, writes=False)
    try:
        yield found
    finally:
        if found is not None:
            found.close()


def _told(exported: Exported, target: Path) -> str:
    part = exported.part
    documents = f"{exported.documents} documents" + ("" if exported.complete else " (not all that its batches pin)")
    return (
        f"{target}: entries {part.first} to {part.end - 1} of {part.origin}, {len(part.notes)} checkpoints, "
        f"{exported.images} images, {documents}\nto verify:  python {target / 'verify_records.py'} {target}"
    )


def _write_paper(state: Path, target: Path, batch: str) -> None:
    with reading(state / LEDGER) as db:
        trail = audit_search.trail_of(db, batch)
    if target.suffix == ".html":
        with whole_file(target) as file:
            file.write(audit_text.to_html(trail))
        return
    try:
        write_durably(target, audit_text.to_json(trail) if target.suffix == ".json" else _pdf(trail))
    except OSError as error:
        raise ExportError(f"{target}: not written: {error.strerror}; name another folder or make room") from error


def _pdf(trail: AuditTrail) -> bytes:
    from provisioning.audit_pdf import to_pdf  # noqa: PLC0415  # reportlab takes a quarter of a second to import

    return to_pdf(trail)
