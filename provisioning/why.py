"""What `linewarden why` and `linewarden alarms` say, in the operator's language. Pure: a Status in, a picture out."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from daemon.catalogue import Catalogue, Entry, catalogue
from daemon.messages import AlarmLine, Status

EXECUTE = "EXECUTE"
SHOWN_CAUSES = 6
ALARM_STYLE = {"unacknowledged": "bold red", "acknowledged": "red", "returned": "yellow"}


def explanation(status: Status, texts: Catalogue | None = None) -> Group:
    """Return why the line is where it is: first cause, those after it, every condition, and what to do."""
    texts = texts or catalogue()
    parts: list[RenderableType] = [_headline(status, texts), *_causes(status, texts), *_duties(status, texts)]
    return Group(*parts, _conditions(status, texts))


def alarm_list(status: Status, texts: Catalogue | None = None) -> RenderableType:
    """Return the alarms that are not normal, the most urgent first, with their ISA-18.2 state."""
    texts = texts or catalogue()
    if not status.standing:
        return Text(texts.word("no_alarms"), style="dim")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for key in ("alarm", "alarm_state", "count", "text", "what_to_do"):
        table.add_column(texts.word(key), header_style="dim")
    for line in status.standing:
        state = Text(_state_of(line, status.now_ns, texts), style=ALARM_STYLE.get(line.state, "dim"))
        detail = "" if line.text == line.name.partition("/")[2] else line.text
        table.add_row(line.name, state, str(line.count), texts.sentence(line.code, detail), texts.remedy(line.code))
    return table


def all_is_well(status: Status) -> bool:
    """True when nothing stands between now and Execute."""
    return all(met for _, met, _ in status.conditions) and status.state == EXECUTE


def _headline(status: Status, texts: Catalogue) -> Text:
    missing = sum(1 for _, met, _ in status.conditions if not met)
    text = Text(texts.word("the_line_is", state=texts.state(status.state)) + " ", style="bold")
    if status.causes:
        first = texts.sentence(*status.causes[0][1:])
        key, style = ("first_cause", "bold red") if status.stopped else ("last_stop", "dim")
        text.append(texts.word(key, text=first) + " ", style=style)
    if missing:
        return text.append(texts.word("unmet", missing=missing, all=len(status.conditions)), style="not bold")
    key = "all_met" if status.state == EXECUTE or status.reset_owed or status.latched else "may_start"
    return text.append(texts.word(key), style="not bold")


def _causes(status: Status, texts: Catalogue) -> list[Text]:
    """What to do about the first cause, and what came after it."""
    if not status.causes or not status.stopped:
        return []
    lines = [Text("  -> " + texts.remedy(status.causes[0][1]))]
    for _, code, detail in status.causes[1:SHOWN_CAUSES]:
        then = texts.word("then", text=texts.sentence(code, detail))
        lines.append(Text(f"  {then} -> {texts.remedy(code)}", style="dim"))
    return lines


def _duties(status: Status, texts: Catalogue) -> list[Text]:
    """What only a person can do now."""
    lines = []
    if status.latched:
        lines.append(texts.word("person", codes=", ".join(status.latched)))
    if status.reset_owed:
        lines.append(texts.word("must_clear"))
        if status.units_in_machine and not status.empty_run:
            lines.append(texts.word("in_machine", count=status.units_in_machine))
    if status.empty_run:
        lines.append(texts.word("empty_run", why=status.empty_run))
    return [Text(line, style="yellow") for line in lines]


def _conditions(status: Status, texts: Catalogue) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("", texts.word("condition"), texts.word("what_to_do")):
        table.add_column(name, header_style="dim")
    named = [texts.condition(*key) for key in status.condition_keys]
    rows = named or [Entry(name, todo) for name, _, todo in status.conditions]
    for entry, (_, met, _) in zip(rows, status.conditions, strict=True):
        mark = Text(texts.word("met"), style="green") if met else Text(texts.word("not_met"), style="bold red")
        table.add_row(mark, entry.text, "" if met else entry.remedy)
    return table


def _state_of(line: AlarmLine, now_ns: int, texts: Catalogue) -> str:
    state = texts.word(f"alarm_{line.state}")
    if line.until_ns:
        state += f" {max(0, line.until_ns - now_ns) // 60_000_000_000 + 1} min"
    return f"{state} ({line.who})" if line.who else state
