"""Leaves `linewarden batch report` and `linewarden batch list`; opening and closing are in batchacts.py."""

import argparse
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from daemon.recorder.report import utc_text
from daemon.units import Outcome
from provisioning import batch_report, batch_trail, batchacts, places, shares
from provisioning.asking import asking
from provisioning.batch_view import batch_list, summary
from provisioning.whole_file import NotWritten
from signing.durable import write_durably

DONE, NOT_IN_ORDER = 0, 1
SHOWN_BATCHES = 50
WIDE = 120


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the leaves to the tree."""
    batch = commands.add_parser("batch", help="open, close and list batches; the report for QA (PDF and JSON)")
    leaves = batch.add_subparsers(required=True, metavar="WHAT")
    report = leaves.add_parser("report", help="write PDF and JSON of a batch, open or closed, and show the summary")
    report.add_argument("batch", nargs="?", metavar="B", help="its id or the beginning of it (default: the newest)")
    report.add_argument("--pdf", type=Path, metavar="FILE", help="only the PDF, there (unless --json is given too)")
    report.add_argument("--json", type=Path, metavar="FILE", help="only the JSON, there (unless --pdf is given too)")
    _state(report)
    report.set_defaults(run=_report)
    listed = leaves.add_parser("list", help="id, state, times, counts and archived yes/no of each batch")
    listed.add_argument("--json", action="store_true", help="print all of them as JSON")
    listed.add_argument("--all", action="store_true", help=f"more than the newest {SHOWN_BATCHES}")
    _state(listed)
    listed.set_defaults(run=_list)
    batchacts.add(leaves)


def _state(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state", type=Path, metavar="DIR", help="state folder (default: the device's or newest run's)"
    )


def _report(parsed: argparse.Namespace) -> int:
    """Write the report; exit 1 where units are not reconciled or the record differs from itself."""
    state = places.find_state(parsed.state)
    with asking(state) as db:
        document = batch_report.build(db, parsed.batch or batch_report.newest(db), state)
    raw = (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
    name, both = f"{document['batch']['id']}-report", not parsed.pdf and not parsed.json
    files = {parsed.json or Path(f"{name}.json"): raw} if both or parsed.json else {}
    if both or parsed.pdf:
        from provisioning.batch_pdf import pdf  # noqa: PLC0415  # reportlab takes a quarter of a second to import

        files[parsed.pdf or Path(f"{name}.pdf")] = pdf(document, hashlib.sha256(raw).hexdigest())
    written = [_write(path, data) for path, data in files.items()]
    console = _console()
    console.print(summary(document))
    for path in written:
        console.print(f"written {path}", soft_wrap=True)
    in_order = document["reconciliation"]["agrees"] and not document["cross_check"]["differences"]
    return DONE if in_order or document["batch"]["state"] == "open" else NOT_IN_ORDER


def _write(path: Path, data: bytes) -> Path:
    try:
        write_durably(path, data)
    except OSError as error:
        raise NotWritten(f"{path}: not written: {error.strerror}; name another file or make room") from error
    return path


def _list(parsed: argparse.Namespace) -> int:
    with asking(places.find_state(parsed.state)) as db:
        every = shares.batches(db)
        shown = every if parsed.all or parsed.json else every[:SHOWN_BATCHES]
        rows = [_line(shares.whole(db, batch), batch_trail.archived(db, batch.id)) for batch in shown]
    console = _console()
    if parsed.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return DONE
    console.print(batch_list(rows))
    if len(every) > len(shown):
        console.print(f"and {len(every) - len(shown)} older ones: --all")
    return DONE


def _line(share: shares.Share, archived: str) -> dict[str, Any]:
    accepted = share.counts.get(Outcome.ACCEPTED, 0)
    return asdict(share.batch) | {
        "opened_utc": utc_text(share.batch.opened_wall_ns),
        "closed_utc": utc_text(share.batch.closed_wall_ns),
        "units": share.units,
        "accepted": accepted,
        "not_accepted": share.units - accepted,
        "units_by_outcome": share.counts,
        "archived": archived,
    }


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDE)
