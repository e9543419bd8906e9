"""What operators read: every language says everything, and nothing that is never said."""

import re
import string
from pathlib import Path

import pytest

from daemon.catalogue import LANGUAGES, Catalogue, catalogue, language_of
from daemon.faults import BY_PERSON, INPUTS, TABLE
from daemon.line.alarms import AlarmState
from daemon.line.conditions import Facts, conditions
from daemon.states import State

ROOT = Path(__file__).resolve().parents[2]
FACTS = Facts(
    *(True, True, True, 1, True, True, True, "B", True, True, True),
    cameras=(("body", True, True),),
    inputs=tuple((name, True) for name in INPUTS),
    lights=(("body", True),),
)
LANGUAGE = pytest.mark.parametrize("texts", [catalogue(language) for language in LANGUAGES], ids=LANGUAGES)


def _words_used() -> set[str]:
    """Keys of phrases in the code that speaks to people, read from its source."""
    source = "".join((ROOT / "provisioning" / name).read_text(encoding="utf-8") for name in ("why.py", "lineacts.py"))
    keys = set(re.findall(r'"([a-z_]+)"', source)) & set(catalogue().words)
    return keys | {f"alarm_{state.value}" for state in AlarmState if state is not AlarmState.NORMAL}


def _fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@LANGUAGE
def test_nothing_is_missing_and_nothing_unused(texts: Catalogue) -> None:
    assert set(texts.faults) == {*TABLE, *BY_PERSON}
    assert set(texts.conditions) == {condition.key for condition in conditions(FACTS)}
    assert set(texts.states) == {state.name for state in State}
    assert set(texts.words) == _words_used()


@LANGUAGE
def test_every_text_says_something_and_has_the_blanks_of_the_english_one(texts: Catalogue) -> None:
    english = catalogue("en")
    for key, entry in {**texts.faults, **texts.conditions}.items():
        other = {**english.faults, **english.conditions}[key]
        assert entry.text.strip() and entry.remedy.strip()
        assert (_fields(entry.text), _fields(entry.remedy)) == (_fields(other.text), _fields(other.remedy))
    for key, text in texts.words.items():
        assert text.strip() and _fields(text) == _fields(english.words[key])


def test_the_languages_differ() -> None:
    english, chinese = catalogue("en"), catalogue("zh")
    same = [code for code, entry in english.faults.items() if chinese.faults[code] == entry]
    assert same == []


@pytest.mark.parametrize(
    ("environment", "language"),
    [("zh_CN.UTF-8", "zh"), ("zh", "zh"), ("en_GB.UTF-8", "en"), ("de_DE", "en"), ("", "en"), ("C.UTF-8", "en")],
)
def test_the_language_comes_from_the_environment(environment: str, language: str) -> None:
    assert language_of(environment) == language


def test_a_sentence_is_the_text_of_its_code_with_its_detail() -> None:
    texts = catalogue()
    assert texts.sentence("GUARD_OPEN", "") == "the guard is open"
    assert texts.sentence("FRAME_LOST", "body: gap") == "a frame was lost: body: gap"
    assert texts.sentence("ACT", "reset by x") == "reset by x"
    assert texts.remedy("NO_SUCH") == ""
