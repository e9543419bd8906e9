"""`linewarden status`: asks the running line and shows its answer, and how full its disk is. Reads only."""

import time
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from daemon import config
from daemon.config import ConfigError
from daemon.ledger_file import LedgerUnreadable
from provisioning import places, store_status
from provisioning.forecast import Forecast, storage
from provisioning.owners import OwnerError, ask_status
from provisioning.view import status_picture

WATCH_S = 0.5
SOON_DAYS = 7.0


def show(runtime: Path, console: Console) -> None:
    """Print one snapshot.

    Raises:
        OwnerError: the line does not answer.
    """
    console.print(status_picture(ask_status(runtime)))
    for one in _storage(runtime):
        soon = one.days_left is not None and one.days_left < SOON_DAYS
        console.print(Text(one.text(), style="yellow" if soon else "dim"), soft_wrap=True)
    if standing := store_status.text(_store(runtime)):
        console.print(Text(standing, style="dim"), soft_wrap=True)


def show_json(runtime: Path, console: Console) -> None:
    """Print one snapshot as JSON; the keys are those of daemon.messages.Status, `storage` and `store`.

    Raises:
        OwnerError: the line does not answer.
    """
    more = {"storage": [one.document() for one in _storage(runtime)], "store": _store(runtime)}
    document = msgspec.to_builtins(ask_status(runtime)) | more
    text = msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
    console.print(text, highlight=False, markup=False, soft_wrap=True)


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


def _storage(runtime: Path) -> list[Forecast]:
    """Return how full the device's stores are; nothing where its folders cannot be read from here."""
    station, state = _device(runtime)
    try:
        quota = config.load(station).vision.evidence_quota_mb << 20
        return storage(state, quota, time.time_ns())
    except (ConfigError, LedgerUnreadable, OSError):
        return []


def _store(runtime: Path) -> dict[str, Any]:
    """Return how the store of bundles stands; nothing where it cannot be read from here."""
    station, state = _device(runtime)
    try:
        return store_status.document(config.load(station), state)
    except (ConfigError, OSError):
        return {}


def _device(runtime: Path) -> tuple[Path, Path]:
    link = runtime / "station.toml"
    if link.exists():
        return link.resolve(), link.resolve().parent / places.STATE
    return places.INSTALLED_STATION, places.INSTALLED_STATE
