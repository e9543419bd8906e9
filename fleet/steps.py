"""How every act of `linewarden-fleet` goes: say what will change, ask, journal it, do it, say what was done."""

import argparse
import json
import os
import pwd
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from fleet.errors import NotDone
from fleet.journal import Act, recorded

Outcome = dict[str, Any]


def add_asking(parser: argparse.ArgumentParser, *, reason: bool = True) -> None:
    """Add the options of a leaf that changes something: --reason, --yes, --json."""
    if reason:
        parser.add_argument("--reason", metavar="TEXT", help="why, on record with your name (asked for if missing)")
    parser.add_argument("--yes", action="store_true", help="do not ask again")
    add_json(parser)


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")


def add_fleet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fleet", type=Path, default=Path(), metavar="DIR", help="folder of the fleet (default: the current folder)"
    )


def perform(
    parsed: argparse.Namespace, journal: Path | None, changes: list[str], do: Callable[[], Outcome], digest: str = ""
) -> int:
    """Run one act; return the exit status.

    Args:
        parsed: with `command` (the leaf's words), `yes`, `json`, and `reason` if the leaf wants one.
        journal: the fleet's folder, None for what is made before or outside of a fleet.
        changes: what will change, a line each, for the person, the question and the journal.
        do: the act; what it returns is shown, {} says nothing but that it is done.

    Raises:
        NotDone: the person said no or gave no reason.
    """
    reason = why(parsed.reason) if hasattr(parsed, "reason") else ""
    out = sys.stderr if parsed.json else sys.stdout
    for change in changes:
        print(f"will {change}", file=out)
    confirm(parsed.yes)
    act = Act(user(), parsed.command, tuple(changes), digest, reason)
    with recorded(journal, act) if journal else nullcontext():
        outcome = do()
    show(parsed, outcome)
    return 0


def show(parsed: argparse.Namespace, outcome: Outcome) -> None:
    """Print what was done or found: JSON, or `name: value` lines."""
    if parsed.json:
        print(json.dumps(outcome, indent=2, ensure_ascii=False))
        return
    for name, value in outcome.items():
        for one in value if isinstance(value, list) else [value]:
            print(f"{name.replace('_', ' ')}: {one}")


def confirm(sure: bool) -> None:
    """Ask whether to go on.

    Raises:
        NotDone: no, or nobody is there to answer.
    """
    if sure:
        return
    if not sys.stdin.isatty():
        raise NotDone("nobody is there to confirm it: add --yes")
    if ask("Go on? y/N ").lower() not in ("y", "yes"):
        raise NotDone("nothing was changed")


def why(given: str | None) -> str:
    """Return the reason of an act: what the command line gives, or what the person answers.

    Raises:
        NotDone: it is empty, or nobody is there to be asked.
    """
    if given is None and not sys.stdin.isatty():
        raise NotDone("say why with --reason: it goes on record with your name")
    reason = (ask("Why? ") if given is None else given).strip()
    if not any(character.isalnum() for character in reason):
        raise NotDone("nothing was changed: no reason was given, say why with --reason")
    return reason


def tell(text: str) -> None:
    """Say something to the person at the terminal that is no part of the outcome."""
    print(text, file=sys.stderr, flush=True)


def ask(question: str) -> str:
    """Return the answer to a question, asked on stderr so that stdout stays the command's own."""
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def user() -> str:
    """Return the name of the operating system's user: who acts is not a matter of arguments."""
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
