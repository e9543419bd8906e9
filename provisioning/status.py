"""`linewarden status` and `linewarden why`: asks the running line and shows its answer. Reads only."""

import time
from pathlib import Path

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from daemon.messages import Status
from provisioning.owners import OwnerError, ask_status
from provisioning.view import status_picture

WATCH_S = 0.5
EXECUTE = "execute"


def show(runtime: Path, console: Console) -> None:
    """Print one snapshot.

    Raises:
        OwnerError: the line does not answer.
    """
    console.print(status_picture(ask_status(runtime)))


def show_json(runtime: Path, console: Console) -> None:
    """Print one snapshot as JSON; the keys are those of daemon.messages.Status.

    Raises:
        OwnerError: the line does not answer.
    """
    document = msgspec.json.format(msgspec.json.encode(ask_status(runtime)), indent=2).decode()
    console.print(document, highlight=False, markup=False, soft_wrap=True)


def watch(runtime: Path, console: Console) -> None:
    """Redraw twice a second until the line is gone for good or Ctrl-C.

    Raises:
        OwnerError: the line was not there at the first look.
    """
    picture = status_picture(ask_status(runtime))
    with Live(picture, console=console, auto_refresh=False) as live:
        while (runtime / "line.sock").exists():
            time.sleep(WATCH_S)
            try:
                live.update(status_picture(ask_status(runtime)), refresh=True)
            except OwnerError as error:
                live.update(Text(str(error), style="yellow"), refresh=True)


def why(runtime: Path, console: Console) -> bool:
    """Print what stands between now and Execute; True when nothing does.

    Raises:
        OwnerError: the line does not answer.
    """
    status = ask_status(runtime)
    console.print(explanation(status))
    return all(met for _, met, _ in status.conditions) and status.state.lower() == EXECUTE


def explanation(status: Status) -> Group:
    """Return every condition with what to do about it, the first-out cause above them."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name, style in (("", ""), ("condition", ""), ("what to do", "")):
        table.add_column(name, style=style, header_style="dim")
    for name, met, todo in status.conditions:
        mark = Text("met", style="green") if met else Text("not met", style="bold red")
        table.add_row(mark, name, "" if met else todo)
    return Group(_headline(status), table)


def _headline(status: Status) -> Text:
    missing = sum(1 for _, met, _ in status.conditions if not met)
    text = Text.assemble("The line is ", (status.state.lower(), "bold"), ". ")
    if status.first_out:
        text.append_text(Text.assemble("First cause: ", (status.first_out, "bold red"), ". "))
    if missing:
        return text.append(f"{missing} of {len(status.conditions)} conditions are not met:")
    if status.state.lower() == EXECUTE:
        return text.append("Every condition is met.")
    return text.append("Every condition is met: a person may reset and start it.")
