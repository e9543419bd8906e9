"""What a person does to the running line from the command line: one act at a time, under his own name."""

import argparse
import os
import pwd
import sys
import time
from pathlib import Path

from rich.console import Console

from daemon.messages import Act, Status
from provisioning.errors import CommandFailed
from provisioning.owners import ask_status, do

ROLE = "operator"
STOPPED_S = 3.0
LOOK_S = 0.05
REMOVED, REJECTED = "removed", "rejected"


class ActRefused(CommandFailed):
    """The act was not done; the text says what to do first."""


def person() -> str:
    """Return the name of the operating system's user: who acts is not a matter of arguments."""
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def add_reason(parser: argparse.ArgumentParser) -> None:
    """Add the option with which a person says why he acts."""
    parser.add_argument("--reason", metavar="TEXT", help="why, on record with your name (asked for if it is missing)")


def why(given: str | None, console: Console) -> str:
    """Return the reason of an act: what the command line gives, or what the person answers who is asked for it.

    Raises:
        ActRefused: it is empty, or nobody is there to be asked.
    """
    if given is None and not sys.stdin.isatty():
        raise ActRefused("say why with --reason: it goes on record with your name")
    reason = (_answer(console, "Why? ") if given is None else given).strip()
    if not any(character.isalnum() for character in reason):
        raise ActRefused("nothing was changed: no reason was given, say why with --reason")
    return reason


def _answer(console: Console, question: str) -> str:
    try:
        return console.input(question)
    except EOFError:
        return ""


def act(runtime: Path, kind: str, new: str, reason: str, old: str = "") -> str:
    """Do one act on the line and return its answer; `old` is what the person saw, "" if nobody showed him.

    Raises:
        OwnerError: the line refuses, or it is not so any more, or it does not answer.
    """
    return do(runtime, "line", Act(kind, person(), ROLE, reason, old, new))


def clear(runtime: Path, disposition: str, reason: str, sure: bool, console: Console) -> None:
    """Line clearance: leave Aborted if need be, list the units in the machine, ask what became of them, tell the line.

    Raises:
        ActRefused: the line runs, or nobody is there to answer.
        OwnerError: the line refuses or does not answer.
    """
    status = ask_status(runtime)
    if status.state == "ABORTED":
        console.print(act(runtime, "clear", "", reason), highlight=False)
        status = _stopped(runtime)
    if status.state != "STOPPED":
        raise ActRefused(f"the line is in {status.state}: line clearance takes a stopped line, stop it first")
    _list(status, console)
    disposition = disposition or _ask(console, status.units_in_machine)
    if not sure and not _confirmed(console, status.units_in_machine, disposition):
        raise ActRefused("nothing was changed")
    seen = f"{status.units_in_machine} units"
    console.print(act(runtime, "clear", disposition, reason, seen), highlight=False)
    console.print("The next start begins with an empty-line run; reset first if the line was aborted.")


def _stopped(runtime: Path) -> Status:
    end = time.monotonic() + STOPPED_S
    while (status := ask_status(runtime)).state != "STOPPED" and time.monotonic() < end:
        time.sleep(LOOK_S)
    return status


def _list(status: Status, console: Console) -> None:
    more = " ..." if status.units_in_machine > len(status.in_machine) else ""
    console.print(f"{status.units_in_machine} units are in the machine: {' '.join(status.in_machine)}{more}")
    if status.behind_gate:
        console.print(f"the newest {status.behind_gate} bodies behind the pass eye may be of them: bring them back too")


def _ask(console: Console, units: int) -> str:
    """Ask what became of the units.

    Raises:
        ActRefused: standard input is no terminal.
    """
    if not sys.stdin.isatty():
        raise ActRefused("say what became of the units: --removed or --rejected, and --yes where nobody can be asked")
    console.print(f"{REMOVED}: all {units} were taken out by hand.  {REJECTED}: they go to the reject channel.")
    answer = _answer(console, f"{REMOVED} or {REJECTED}? ").strip()
    if answer not in (REMOVED, REJECTED):
        raise ActRefused("nothing was changed")
    return answer


def _confirmed(console: Console, units: int, disposition: str) -> bool:
    if not sys.stdin.isatty():
        raise ActRefused("nobody is there to confirm it: add --yes")
    return _answer(console, f"{units} units {disposition}, signed {person()}. Is that so? yes/no ").strip() == "yes"
