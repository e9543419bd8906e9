"""`linewarden status`: asks the running line and shows its answer. Reads only."""

import time
from pathlib import Path

import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from provisioning.owners import OwnerError, ask_status
from provisioning.view import status_picture

WATCH_S = 0.5


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
