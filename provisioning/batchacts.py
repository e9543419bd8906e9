"""Open, swap and close a batch from the command line, under the name of the operating system's user and with a reason.

A swap takes the order that QA signed (`linewarden-fleet order swap`); the recorder checks it, this only carries it.
"""

import argparse
import base64
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from daemon.messages import Act
from provisioning import lineacts, places
from provisioning.lineacts import ActRefused
from provisioning.owners import do

CLOSING_S = 60.0


class _Digest(msgspec.Struct):
    sha256: str


class _Subject(msgspec.Struct):
    digest: _Digest


class _Statement(msgspec.Struct):
    subject: tuple[_Subject, _Subject]


class _Envelope(msgspec.Struct):
    payload: str


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the leaves to `linewarden batch`."""
    opening = commands.add_parser("open", help="open a batch with what is loaded now")
    opening.add_argument("batch", metavar="ID", help="its name, never used before")
    closing = commands.add_parser("close", help="close the open batch: its counts must agree with the PLC's")
    closing.add_argument("batch", nargs="?", default="", metavar="ID", help="its name, as a check")
    swap = commands.add_parser("swap", help="another bundle and recipe inside the open batch, by QA's signed order")
    swap.add_argument("order", type=Path, metavar="ORDER", help="file with the signed order")
    swap.add_argument("--runtime", type=Path, metavar="DIR", help="runtime folder (default: the device here)")
    lineacts.add_reason(swap)
    swap.set_defaults(run=_swap)
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


def swap_of(path: Path, reason: str) -> Act:
    """Return the act that carries a signed order to the recorder.

    Raises:
        ActRefused: the file cannot be read or is no order.
    """
    try:
        raw = path.read_bytes()
        payload = base64.b64decode(msgspec.json.decode(raw, type=_Envelope).payload, validate=True)
        pair = msgspec.json.decode(payload, type=_Statement).subject
        text = raw.decode().strip()
    except OSError as error:
        raise ActRefused(f"{path}: cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise ActRefused(f"{path}: not a swap order: make it with `linewarden-fleet order swap`") from error
    new = " ".join(subject.digest.sha256 for subject in pair)
    return Act("swap", lineacts.person(), lineacts.ROLE, reason, "", new, text)


def _swap(parsed: argparse.Namespace) -> int:
    runtime, console = places.find_runtime(parsed.runtime), Console()
    act = swap_of(parsed.order, lineacts.why(parsed.reason, console))
    console.print(do(runtime, "recorder", act, CLOSING_S), highlight=False, soft_wrap=True)
    return 0
