"""Leaf `linewarden trace`: from a unit to all that is known of it, and from a lot, document, defect, person, time or
alarm to the units concerned."""

import argparse
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console

from provisioning import places, recall, trace
from provisioning.asking import asking
from provisioning.ledger_search import Window
from provisioning.recall import Scope
from provisioning.trace import UnknownToLedger
from provisioning.trace_document import every_line, story_document, write_csv, write_scope
from provisioning.trace_view import scope_picture, story_picture
from provisioning.whole_file import whole_file

DONE = 0
SHOWN_UNITS = 20
NARROW, WIDE = 80, 140
CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?")
QUESTIONS: dict[str, tuple[str, str]] = {
    "unit": ("N", "its number, or epoch.lane.number"),
    "lot": ("L", "the batch id, or the beginning of it"),
    "bundle": ("D", "digest or name, or the beginning of one"),
    "recipe": ("D", "digest or name, or the beginning of one"),
    "configuration": ("D", "configuration digest, or the beginning of it"),
    "defect": ("CODE", "a defect code of the bundle"),
    "signer": ("S", "who opened, closed or acted"),
    "time": ("A..B", "UTC: 2026-11-22T21:18..21:40, a day, or an open end"),
    "alarm": ("ID", "an alarm code, or the entry number of one alarm"),
}


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the leaf to the tree."""
    parser = commands.add_parser("trace", help="ask the record: one unit, or which units a lot, defect, ... concerns")
    questions = parser.add_subparsers(required=True, metavar="QUESTION", dest="kind")
    for kind, (metavar, text) in QUESTIONS.items():
        _add_question(questions.add_parser(kind, help=text), kind, metavar, text)


def _add_question(parser: argparse.ArgumentParser, kind: str, metavar: str, text: str) -> None:
    parser.add_argument("value", metavar=metavar, help=text)
    parser.add_argument(
        "--state", type=Path, metavar="DIR", help="state folder (default: the device's or newest run's)"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    if kind == "unit":
        parser.add_argument("--digests", action="store_true", help="show digests in full")
        parser.set_defaults(run=_unit)
        return
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write all units there as CSV")
    shown = f"units to show (default {SHOWN_UNITS})"
    parser.add_argument("--limit", type=_limit, default=SHOWN_UNITS, metavar="N", help=shown)
    parser.set_defaults(run=_scope)


def window_of(text: str, now: datetime) -> Window:
    """Return the stretch of time that `A..B`, `A..`, `..B` or a single day says; without an offset it is UTC.

    Raises:
        UnknownToLedger: it says none.
    """
    begin, dots, end = text.partition("..")
    try:
        first = _instant(begin, now, last=False) if begin else datetime.fromtimestamp(0, UTC)
        last = _instant(end or begin, first if begin else now, last=True) if end or not dots else now
    except ValueError as error:
        raise UnknownToLedger(f"time {text!r}: {error}; write it as 2026-11-22T21:18..2026-11-22T21:40") from error
    if last < first:
        raise UnknownToLedger(f"time {text!r} ends before it begins")
    return Window(_ns(first), _ns(last))


def _instant(text: str, day: datetime, *, last: bool) -> datetime:
    """Return a moment; a time alone is of `day`, a minute, second or day reaches to its end where it is the `last`."""
    text = text.strip()
    if text == "now":
        return datetime.now(UTC)
    if CLOCK.fullmatch(text):
        text = f"{day:%Y-%m-%d}T{text.zfill(5) if len(text) < 6 else text}"
    found = datetime.fromisoformat(text)
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return found + _grain(text) - timedelta(microseconds=1) if last else found


def _grain(text: str) -> timedelta:
    clock = re.split("[T ]", text, maxsplit=1)
    if len(clock) == 1:
        return timedelta(days=1)
    fields = re.split("[Z+-]", clock[1])[0].count(":")
    return (
        timedelta(microseconds=1) if "." in clock[1] else timedelta(minutes=1) if fields == 1 else timedelta(seconds=1)
    )


def _ns(moment: datetime) -> int:
    past = moment - datetime.fromtimestamp(0, UTC)
    return ((past.days * 86_400 + past.seconds) * 1_000_000 + past.microseconds) * 1_000


def _unit(parsed: argparse.Namespace) -> int:
    with asking(places.find_state(parsed.state)) as db:
        unit, *others = trace.named(db, parsed.value)
        found = trace.story(db, unit, others)
    console = _console()
    if parsed.json:
        console.print_json(data=story_document(found))
    else:
        console.print(story_picture(found, whole_digests=parsed.digests))
    return DONE


def _scope(parsed: argparse.Namespace) -> int:
    with asking(places.find_state(parsed.state)) as db:
        scope = _ask(parsed.kind, parsed.value)(db)
        if parsed.csv:
            with whole_file(parsed.csv) as file:
                count = write_csv(scope, file)
            print(f"{count} units written to {parsed.csv}", file=sys.stderr)
        if parsed.json:
            write_scope(scope, sys.stdout)
        elif not parsed.csv:
            _show(scope, parsed.limit)
    return DONE


def _ask(kind: str, value: str) -> Callable[..., Scope]:
    if kind == "time":
        return lambda db: recall.of_window(db, window_of(value, datetime.now(UTC)), value)
    if kind in ("bundle", "recipe", "configuration"):
        return lambda db: recall.of_document(db, kind, value)
    asked = {"lot": recall.of_lot, "defect": recall.of_defect, "signer": recall.of_signer, "alarm": recall.of_alarm}
    return lambda db: asked[kind](db, value)


def _show(scope: Scope, limit: int) -> None:
    units = list(every_line(scope, limit))
    rest = scope.total().total() - len(units)
    how = "--limit N, --csv FILE or --json"
    more = f"and {rest} more: {how}" if rest > 0 else "" if scope.counted else f"and others: {how}"
    _console().print(scope_picture(scope, units, more))


def _console() -> Console:
    """A terminal as wide as it is; into a pipe wide enough that nothing is cut."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=max(NARROW, WIDE))


def _limit(text: str) -> int:
    if not text.isdecimal() or int(text) > 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of units from 0 to 1000000")
    return int(text)
