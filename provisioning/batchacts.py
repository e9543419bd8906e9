"""Open and close a batch from the command line, under the name of the operating system's user and with a reason."""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from daemon.messages import Act
from provisioning import lineacts, places
from provisioning.owners import do

CLOSING_S = 60.0


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the leaves to `linewarden batch`."""
    opening = commands.add_parser("open", help="open a batch with what is loaded now")
    opening.add_argument("batch", metavar="ID", help="its name, never used before")
    closing = commands.add_parser("close", help="close the open batch: its counts must agree with the PLC's")
    closing.add_argument("batch", nargs="?", default="", metavar="ID", help="its name, as a check")
    for parser, kind in ((opening, "batch-open"), (closing, "batch-close")):
        parser.add_argument("--runtime", type=Path, metavar="DIR", help="runtime folder (default: the device here)")
        lineacts.add_reason(parser)
        parser.set_defaults(run=_act, kind=kind)


def act(runtime: Path, kind: str, batch: str, reason: str) -> str:
    """Open (batch-open) or close (batch-close) a batch and return the recorder's answer.

    Raises:
        OwnerError: the recorder refuses, with what is in the way, or does not answer.
    """
    return do(runtime, "recorder", Act(kind, lineacts.person(), lineacts.ROLE, reason, "", batch), CLOSING_S)


def _act(parsed: argparse.Namespace) -> int:
    runtime, console = places.find_runtime(parsed.runtime), Console()
    reason = lineacts.why(parsed.reason, console)
    console.print(act(runtime, parsed.kind, parsed.batch, reason), highlight=False)
    return 0
