"""The live terminal view of `linewarden sim` and `status --watch`, and the plain lines where there is no terminal.

Nothing here knows sockets or processes: a view gets a Snapshot (or a Status) and draws it. rich's own refresh thread
is off; the caller's loop draws.
"""

from collections.abc import Iterable
from typing import Protocol

from rich.align import Align
from rich.box import ROUNDED
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from daemon.messages import Status
from provisioning.faultplan import label
from provisioning.snapshot import KEPT_REJECTS, ProcessLine, Recent, Snapshot

SHOWN_ALARMS = 4
PLAIN_PERIOD_S = 5.0

STATE_STYLE = {
    "execute": "bold white on dark_green",
    "held": "bold black on yellow",
    "holding": "bold black on yellow",
    "suspended": "bold black on yellow",
    "aborted": "bold white on red",
    "aborting": "bold white on red",
}
PHASE_STYLE = {"ready": "green", "starting": "yellow", "waiting": "red", "aborting": "red", "refused": "bold red"}
COUNT_STYLE = {
    "accepted": "bold green",
    "rejected": "bold red",
    "undecided": "yellow",
    "sampled": "cyan",
    "quarantined": "bold magenta",
    "escaped": "bold white on red",
}
QUIET_AT_ZERO = ("undecided", "sampled", "removed", "quarantined", "escaped")
GLYPHS = {
    "accepted": ("●", "green"),
    "rejected": ("✕", "bold red"),
    "undecided": ("◐", "yellow"),
    "sampled": ("◆", "cyan"),
}
GAP = Text("")
OUTCOMES = ("in", "accepted", "rejected", "undecided", "sampled", "quarantined", "escaped")


class View(Protocol):
    """Where a simulation shows itself."""

    def draw(self, snapshot: Snapshot) -> None:
        """Show the snapshot. Called by the loop about five times a second."""

    def close(self) -> None:
        """Leave the terminal usable. Idempotent."""


class LiveView:
    """The full picture, redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=False)
        self._live.start()

    def draw(self, snapshot: Snapshot) -> None:
        self._live.update(picture(snapshot), refresh=True)

    def close(self) -> None:
        self._live.stop()


class PlainView:
    """One line every few seconds and one for everything that happens; for logs and CI."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_s = 0.0
        self._phase = ""
        self._told_ns = -1

    def draw(self, snapshot: Snapshot) -> None:
        for at_ns, text in snapshot.events:
            if at_ns > self._told_ns:
                self._line((at_ns - snapshot.started_ns) / 1e9, text)
        self._told_ns = max((at_ns for at_ns, _ in snapshot.events), default=self._told_ns)
        if snapshot.phase != self._phase or snapshot.elapsed_s >= self._next_s:
            self._phase, self._next_s = snapshot.phase, snapshot.elapsed_s + PLAIN_PERIOD_S
            self._line(snapshot.elapsed_s, _progress_text(snapshot))

    def close(self) -> None:
        return

    def _line(self, seconds: float, text: str) -> None:
        self._console.print(f"{seconds:7.1f} s  {text}", highlight=False, markup=False, soft_wrap=True)


def picture(snapshot: Snapshot) -> RenderableType:
    """Return the whole live picture of a simulation."""
    status = snapshot.status
    body: list[RenderableType] = [_progress(snapshot)]
    if status is not None:
        body += [_belt(snapshot.strip), GAP, _counts(status), _latency(status), GAP]
        body += [_columns(status, snapshot.rejects, snapshot.processes), GAP]
    elif snapshot.processes:
        body.append(_processes(snapshot.processes))
    body.append(_happened(snapshot))
    title = Text.assemble((" LINEWARDEN ", "bold"), ("· the line in a box ", "dim"))
    return Panel(
        Group(*body), title=title, title_align="left", subtitle=_subtitle(snapshot), box=ROUNDED, padding=(0, 1)
    )


def status_picture(status: Status) -> RenderableType:
    """Return the picture of a running line, as `linewarden status` shows it."""
    head = Text.assemble(_badge(status.state), f"  batch {status.batch or 'none'}  ", (status.first_out, "bold red"))
    title = Text.assemble((" LINEWARDEN ", "bold"), (f"· {status.mode} · authority {status.authority} ", "dim"))
    columns = _columns(status, _rejected(status.recent), ())
    body = Group(head, _panel_lamps(status), GAP, _counts(status), _latency(status), GAP, columns, GAP, _alarms(status))
    return Panel(body, title=title, title_align="left", box=ROUNDED, padding=(0, 1))


def _panel_lamps(status: Status) -> Text:
    """The stack light, and what waits for a person."""
    waiting = sum(line.state in ("unacknowledged", "returned") for line in status.standing)
    text = Text.assemble(("lights ", "dim"), status.lamps or "none", ("  alarms to acknowledge ", "dim"), str(waiting))
    return text.append(f"  {status.units_in_machine} units in the machine", style="dim")


def _subtitle(snapshot: Snapshot) -> Text:
    faults = ", ".join(map(label, snapshot.planned)) or "none planned"
    return Text(f" seed {snapshot.seed} · faults: {faults} · Ctrl-C stops ", style="dim")


def _badge(state: str) -> Text:
    return Text(f" {state.upper()} ", style=STATE_STYLE.get(state.lower(), "bold black on white"))


def _progress(snapshot: Snapshot) -> RenderableType:
    grid = Table.grid(expand=True, padding=(0, 1))
    for ratio in (None, 1, None, None):
        grid.add_column(ratio=ratio, no_wrap=True)
    state = snapshot.status.state if snapshot.status else snapshot.phase
    bar = ProgressBar(total=max(1, snapshot.units), completed=snapshot.infeed, complete_style="green")
    pace = f"{snapshot.rate:g}/min  {int(snapshot.elapsed_s) // 60:02d}:{int(snapshot.elapsed_s) % 60:02d}"
    grid.add_row(_badge(state), bar, f"{snapshot.infeed}/{snapshot.units} vials", Text(pace, style="dim"))
    return grid


def _counts(status: Status) -> RenderableType:
    grid = Table.grid(expand=True)
    late = status.reasons.get("late", 0)
    cells = []
    for name in OUTCOMES:
        value = status.counts.get(name, 0)
        quiet = value == 0 and name in QUIET_AT_ZERO
        cells.append((name, value, "dim" if quiet else COUNT_STYLE.get(name, "bold")))
    cells.append(("late", late, "bold yellow" if late else "dim"))
    for _ in cells:
        grid.add_column(justify="center", ratio=1)
    grid.add_row(*(Text(str(value), style=style) for _, value, style in cells))
    grid.add_row(*(Text(name, style="dim") for name, _, _ in cells))
    return grid


def _belt(strip: Iterable[Recent]) -> RenderableType:
    """One glyph per vial that left the line, newest at the right; what does not fit falls off at the left."""
    return _Strip([GLYPHS.get(outcome, ("!", "bold white on red")) for _, outcome, _, _ in strip])


class _Strip:
    """Draws as many of the newest glyphs as the terminal is wide."""

    def __init__(self, glyphs: list[tuple[str, str]]) -> None:
        self._glyphs = glyphs

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = Text.assemble(*self._glyphs[-options.max_width :])
        yield Align.right(text)


def _columns(status: Status, rejects: Iterable[Recent], processes: Iterable[ProcessLine]) -> RenderableType:
    grid = Table.grid(expand=True, padding=(0, 2))
    grid.add_column(ratio=1)
    grid.add_column(ratio=1)
    grid.add_row(_rejects(rejects), _processes(processes) if processes else _cameras(status))
    return grid


def _rejected(recent: Iterable[Recent]) -> list[Recent]:
    return [row for row in recent if row[1] != "accepted"][-KEPT_REJECTS:]


def _rejects(rejects: Iterable[Recent]) -> RenderableType:
    table = _table("last not accepted", 3)
    table.columns[0].min_width, table.columns[1].min_width = 8, 12
    shown = list(rejects)
    for unit, outcome, reason, defect in reversed(shown):
        style = "yellow" if outcome == "undecided" else "red"
        table.add_row(unit, Text(reason.replace("_", " "), style=style), defect.replace("_", " "))
    for _ in range(KEPT_REJECTS - len(shown)):
        table.add_row("", "", "")
    return table


def _latency(status: Status) -> RenderableType:
    values = status.latency_ms
    text = Text("last edge to permit   ", style="dim")
    for name in ("p50", "p99", "max"):
        if name in values:
            text.append_text(Text.assemble((f"{name} ", "dim"), (f"{values[name]:.1f} ms   ", "not dim bold")))
    if "p50" not in values:
        text.append("none yet")
    return Align.center(text)


def _processes(processes: Iterable[ProcessLine]) -> RenderableType:
    table = _table("processes", 4)
    for process in processes:
        style = PHASE_STYLE.get(process.phase, "white")
        restarts = Text(str(process.restarts), style="bold yellow" if process.restarts else "dim")
        table.add_row(process.name, Text(process.phase, style=style), restarts, Text(process.text, overflow="ellipsis"))
    return table


def _cameras(status: Status) -> RenderableType:
    table = _table("cameras", 2)
    for name, text in status.cameras.items():
        table.add_row(name, text)
    return table


def _alarms(status: Status) -> RenderableType:
    if not status.alarms:
        return Text("no alarms", style="dim")
    table = _table("alarms", 2)
    for _, code, text in status.alarms[-SHOWN_ALARMS:]:
        table.add_row(Text(code.lower().replace("_", " "), style="yellow"), text)
    return table


def _happened(snapshot: Snapshot) -> RenderableType:
    lines: list[RenderableType] = []
    if snapshot.playing:
        lines.append(Text("playing: " + ", ".join(snapshot.playing), style="bold yellow"))
    if snapshot.status is not None:
        lines.append(_alarms(snapshot.status))
    for at_ns, text in snapshot.events:
        seconds = (at_ns - snapshot.started_ns) / 1e9
        lines.append(Text.assemble((f"{seconds:6.1f} s  ", "dim"), text, overflow="ellipsis", no_wrap=True))
    return Group(*lines) if lines else Align.center(Text(snapshot.phase, style="dim"))


def _table(title: str, columns: int) -> Table:
    table = Table(
        title=title, title_style="dim", title_justify="left", box=None, show_header=False, padding=(0, 2, 0, 0)
    )
    for _ in range(columns):
        table.add_column(no_wrap=True)
    return table


def _progress_text(snapshot: Snapshot) -> str:
    status = snapshot.status
    if status is None:
        return snapshot.phase
    counts = status.counts
    shown = ", ".join(f"{counts.get(name, 0)} {name}" for name in OUTCOMES if name in OUTCOMES[:3] or counts.get(name))
    late = status.reasons.get("late", 0)
    return f"{status.state.lower()}: {snapshot.infeed}/{snapshot.units} vials; {shown}; {late} late"
