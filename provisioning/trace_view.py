"""What `linewarden trace` shows a person: the answer in the first line, then what it rests on, then the timeline."""

from collections.abc import Sequence

from rich.box import ROUNDED, SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from daemon.recorder.report import utc_text
from provisioning.recall import Scope, UnitLine
from provisioning.shares import Share
from provisioning.timeline import MOST_MOMENTS, Moment, is_cut
from provisioning.trace import NO_KEEPING, Story

SHOWN_BATCHES = 20
SHOWN_SCORES = 3
SHORT = 16
IMAGE_STYLE = {"retained": "green", "released": "cyan", "dropped": "bold red"}
KIND_STYLE = {
    "unit": "bold",
    "batch": "magenta",
    "act": "cyan",
    "alarm": "yellow",
    "image": "blue",
    "line": "dim",
    "note": "dim",
    "event": "dim",
}
PASSED, NOT_PASSED, UNCLEAR = ("PASSED", "black on green"), ("DID NOT PASS", "bold white on red"), ("?", "on magenta")


def story_picture(story: Story, *, whole_digests: bool = False) -> RenderableType:
    """Return the story of one unit."""
    width = None if whole_digests else SHORT
    parts: list[RenderableType] = [_verdict(story), Text(), _facts(story, width)]
    if story.looks:
        parts += [Text(), _looks(story, width)]
    if story.stages_ms:
        parts += [Text(), _stages(story)]
    for line in story.refused:
        parts.append(Text(f"refused row: {line}", style="bold red"))
    parts += [Text(), timeline_table(story.timeline)]
    return _panel(f"unit {story.unit}", Group(*parts), _others(story))


def scope_picture(scope: Scope, units: Sequence[UnitLine], more: str) -> RenderableType:
    """Return counts, batches and the first units of a scope; `more` says how to get the others."""
    parts: list[RenderableType] = [_total(scope)]
    parts += [Text(line, style="dim") for line in (*scope.matched, *scope.notes) if line != scope.value]
    parts += [Text(), _batches(scope.shares, counted=scope.counted)]
    if units:
        parts += [Text(), _units(units)]
    if more:
        parts.append(Text(more, style="dim"))
    if scope.timeline:
        parts += [Text(), timeline_table(scope.timeline)]
    return _panel(f"{scope.kind} {scope.value}", Group(*parts), Text(" times are UTC ", style="dim"))


def timeline_table(moments: Sequence[Moment]) -> Table:
    """Return a timeline; what belongs to an older schema has no entry number."""
    title = "timeline, UTC" + (f"; of acts and alarms the {MOST_MOMENTS} nearest each" if is_cut(moments) else "")
    table = _table(title, "time", "", "what", "entry")
    table.columns[2].overflow, table.columns[2].no_wrap = "fold", False
    day = ""
    for moment in moments:
        date, _, clock = (utc_text(moment.wall_ns) or "T").partition("T")
        if date != day:
            table.add_row(Text(date, style="dim"), "", "", "")
            day = date
        entry = Text(str(moment.entry or "-"), style="dim")
        kind = Text(moment.kind, style=KIND_STYLE.get(moment.kind, ""))
        table.add_row(clock.rstrip("Z"), kind, Text(moment.text), entry)
    return table


def yes_no(archived: bool | None) -> Text:
    """Return archived yes/no; unknown where the row is older than the trail."""
    if archived is None:
        return Text("not known (recorded before the trail)", style="yellow")
    return Text("yes", style="green") if archived else Text("no", style="yellow")


def badge(passed: bool | None) -> Text:
    """Return whether a unit went past the gate, for the eye."""
    word, style = UNCLEAR if passed is None else PASSED if passed else NOT_PASSED
    return Text(f" {word} ", style=style)


def _verdict(story: Story) -> Text:
    row = story.row
    if row is None:
        why = story.gap or "a permit is on record and no row: where it went is unknown"
        return Text.assemble(badge(None), f"  {why}")
    text = Text.assemble(badge(story.passed), f"  {row['outcome']}", (f"  verdict {row['verdict']}", "bold"))
    for name in ("reason", "defect", "channel"):
        if row[name] not in ("", "none"):
            text.append(f"  {name} {row[name].replace('_', ' ')}")
    return text


def _facts(story: Story, width: int | None) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    source, batch = story.row or story.permit or {}, story.batch
    if batch:
        table.add_row("batch", f"{batch['id']} ({batch['state']})")
        if batch["sublot"]:
            signed = f", signed by {batch['signer']} {batch['signed_utc']}: {batch['why']}" if "signer" in batch else ""
            table.add_row("sub-lot", f"{batch['sublot']}{signed}")
        table.add_row("people", _people(batch))
        for name in ("bundle", "recipe"):
            table.add_row(name, f"{batch[f'{name}_name']}  {batch[name][:width]}")
        table.add_row("release", f"{batch['release']}  register map {batch['register_map'][:width]}")
    elif source:
        table.add_row("batch", Text(f"{source['batch'] or 'none'}: not on record", style="bold red"))
    if source:
        table.add_row("configuration", source["configuration"][:width])
        recorded = f"{utc_text(source['recorded_wall_ns'])} ({source['clock']}), entry {source['entry'] or '-'}"
        table.add_row("recorded", recorded + (f", from {source['source']}" if "source" in source else ""))
        table.add_row("archived", yes_no(story.archived))
    if batch and source.get("bundle") and source["bundle"] != batch["bundle"]:
        table.add_row("judged by", Text(f"another bundle: {source['bundle']}", style="bold red"))
    return table


def _people(batch: dict[str, str]) -> str:
    closed = f", closed by {batch['closed_actor']}" if batch["closed_actor"] else ""
    return f"opened by {batch['actor']} ({batch['role']}){closed}"


def _looks(story: Story, width: int | None) -> Table:
    table = _table("frames", "view", "frame", "pixels sha256", "image", "highest scores")
    table.columns[2].overflow = "fold"
    for look in story.looks:
        image = Text(look.image, style=IMAGE_STYLE.get(look.image, "dim"))
        if look.image_why and look.image != NO_KEEPING:
            image.append(f": {look.image_why}", style="not bold")
        worst = sorted(look.scores.items(), key=lambda item: -item[1])[:SHOWN_SCORES]
        scores = ", ".join(f"{name} {score:.2g}" for name, score in worst)
        table.add_row(look.view, look.frame, look.digest[:width], image, scores)
    return table


def _stages(story: Story) -> Table:
    names = [name.replace("_", " ") for name in story.stages_ms]
    table = _table("stages, ms", *names)
    for column in table.columns:
        column.justify, column.no_wrap = "right", False
    table.add_row(*(f"{value:.1f}" for value in story.stages_ms.values()))
    return table


def _others(story: Story) -> Text:
    if not story.others:
        return Text(" times are UTC ", style="dim")
    return Text(f" also on record with this number: {', '.join(story.others[:8])} ", style="yellow")


def _total(scope: Scope) -> Text:
    if not scope.counted:
        many = f"units in {len(scope.shares)} batches, too many to count at once"
        return Text(f"{many}: --csv FILE or --json lists all of them", style="bold yellow")
    total = scope.total()
    passed = sum(share.passed for share in scope.shares)
    text = Text.assemble(
        (f"{total.total()} units", "bold"), f" in {len(scope.shares)} batch{'es' if len(scope.shares) != 1 else ''}: "
    )
    text.append(f"{passed} passed", style="green").append(", ")
    text.append(f"{total.total() - passed} did not", style="red")
    return text.append("   " + ", ".join(f"{count} {name}" for name, count in sorted(total.items())), style="dim")


def _batches(shares: Sequence[Share], *, counted: bool) -> Table:
    table = _table("batches", "id", "state", "opened", "closed", "bundle", "passed", "not passed")
    rang = any(share.alarms for share in shares)
    if rang:
        table.add_column("alarms", justify="right")
    for name in ("passed", "not passed"):
        next(column for column in table.columns if column.header == name).justify = "right"
    for share in shares[:SHOWN_BATCHES]:
        batch = share.batch
        cells = [batch.id or "(none)", batch.state, _minute(batch.opened_wall_ns), _minute(batch.closed_wall_ns)]
        counts = [str(share.passed), str(share.units - share.passed)] if counted else ["?", "?"]
        cells += [batch.bundle_name, *counts]
        table.add_row(*cells, *([str(share.alarms)] if rang else []))
    if len(shares) > SHOWN_BATCHES:
        table.add_row(Text(f"and {len(shares) - SHOWN_BATCHES} more: --json", style="dim"))
    return table


def _units(units: Sequence[UnitLine]) -> Table:
    table = _table("units", "unit", "batch", "recorded", "outcome", "reason", "defect")
    for line in units:
        outcome = Text(line.outcome, style="green" if line.passed else "red")
        reason = "" if line.reason == "none" else line.reason.replace("_", " ")
        recorded = (utc_text(line.recorded_wall_ns) or "").replace("T", " ").rstrip("Z")
        table.add_row(line.unit, line.batch, recorded, outcome, reason, line.defect.replace("_", " "))
    return table


def _minute(wall_ns: int) -> str:
    return (utc_text(wall_ns) or "")[:16].replace("T", " ")


def _panel(title: str, body: RenderableType, foot: Text) -> Panel:
    head = Text.assemble((f" {title} ", "bold"))
    return Panel(body, title=head, title_align="left", subtitle=foot, subtitle_align="left", box=ROUNDED)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_style="dim", title_justify="left", header_style="dim", box=SIMPLE_HEAD)
    table.pad_edge = False
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table
