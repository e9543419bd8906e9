"""docs/operations/line-states.md says what the code does: every state, every fault, every input, every rule."""

from pathlib import Path

import pytest

from daemon import states
from daemon.catalogue import catalogue
from daemon.faults import BY_PERSON, INPUTS, TABLE, Fault, Reaction
from daemon.line.trail import NOTES
from daemon.states import STATES_OF, Event, Mode, State
from daemon.units import StopRules

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations" / "line-states.md"


def state_rows() -> list[str]:
    """One row a state: number, name, what leads out of it, modes that have it."""
    rows = []
    for state in State:
        out = [
            f"{event.value} → {states.TABLE[state, event].name.title()}"
            for event in Event
            if (state, event) in states.TABLE
        ]
        modes = ", ".join(mode.name.lower() for mode in Mode if state in STATES_OF[mode])
        rows.append(f"| {state.value} | {state.name.title()} | {'; '.join(out)} | {modes} |")
    return rows


def _who(row: Fault) -> str:
    """Who brings the line back."""
    if row.reaction is Reaction.ABORT:
        return "a person: clear, reset"
    if row.person:
        return "a person: reset"
    if row.reaction is Reaction.ALARM:
        return "nobody"
    if row.max_units:
        seconds = f" or {row.max_s:g} s" if row.max_s else ""
        return f"the device; a person after {row.max_units} units{seconds}"
    return f"the device; a person the second time in {row.window_s:g} s" if row.window_s else "the device"


def fault_rows() -> list[str]:
    """One row a cause code: reaction, who brings the line back, text and remedy."""
    texts = catalogue().faults
    wired = {code: f" (input `{name}`)" for name, code in INPUTS.items()}
    said = {code: f"{texts[code].text}{wired.get(code, '')} | {texts[code].remedy}" for code in TABLE}
    rows = [f"| `{code}` | {row.reaction.value} | {_who(row)} | {said[code]} |" for code, row in TABLE.items()]
    return rows + [f"| `{c}` | as he says | a person | {texts[c].text} | {texts[c].remedy} |" for c in BY_PERSON]


def note_rows() -> list[str]:
    """One row a code on record that is no fault."""
    return [f"| `{code}` | {text} |" for code, text in NOTES.items()]


def rule_rows() -> list[str]:
    """One row a stop rule of the recipe: its default."""
    rules = StopRules()
    return [f"| `{name}` | {getattr(rules, name)} |" for name in StopRules.__struct_fields__]


@pytest.mark.parametrize("row", [*state_rows(), *fault_rows(), *note_rows()])
def test_every_row_of_the_code_stands_on_the_page(row: str) -> None:
    assert row in PAGE.read_text(encoding="utf-8").splitlines()


def test_every_stop_rule_stands_there_with_its_default() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [row for row in rule_rows() if row[:-1] not in text] == []


def test_the_page_has_no_row_that_the_code_lacks() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    codes = {line.split("`")[1] for line in lines if line.startswith("| `")}
    assert codes == {*TABLE, *BY_PERSON, *NOTES, *StopRules.__struct_fields__}


def test_the_safety_sentence_stands_there() -> None:
    assert "Linewarden is no safety component in the sense of ISO 13849." in PAGE.read_text(encoding="utf-8")
