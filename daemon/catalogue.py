"""Operator texts by language: texts/*.toml beside this module, one file a language, the same keys in each.

The processes work with codes; only who speaks to a person turns them into sentences. The batch record is in English.
"""

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path

LANGUAGES = ("en", "zh")
_FOLDER = Path(__file__).resolve().parent / "texts"


@dataclass(frozen=True, slots=True)
class Entry:
    """What a code or a condition is called, and what to do about it ("" where nothing is to be done)."""

    text: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All texts of one language. `words` are whole phrases with {names} to fill in."""

    language: str
    faults: dict[str, Entry]
    conditions: dict[str, Entry]
    states: dict[str, str]
    words: dict[str, str]

    def sentence(self, code: str, detail: str) -> str:
        """Return one line about an event of the line; codes without a text are notes that speak for themselves."""
        entry = self.faults.get(code)
        return f"{entry.text}: {detail}" if entry and detail else entry.text if entry else detail

    def remedy(self, code: str) -> str:
        """Return what to do about a fault, "" for an unknown one."""
        entry = self.faults.get(code)
        return entry.remedy if entry else ""

    def condition(self, key: str, detail: str) -> Entry:
        """Return name and remedy of a condition with its detail (a camera, an input) filled in."""
        entry = self.conditions[key]
        return Entry(entry.text.format(detail=detail), entry.remedy.format(detail=detail))

    def state(self, name: str) -> str:
        """Return the state as a person says it."""
        return self.states.get(name.upper(), name)

    def word(self, key: str, **values: object) -> str:
        """Return a phrase with its values filled in."""
        return self.words[key].format(**values)


@functools.cache
def catalogue(language: str = "en") -> Catalogue:
    """Return the texts of a language of LANGUAGES. Reads the file once; called by each process at its start."""
    document = tomllib.loads((_FOLDER / f"{language}.toml").read_text(encoding="utf-8"))
    return Catalogue(
        language,
        {code: Entry(**entry) for code, entry in document["fault"].items()},
        {key: Entry(**entry) for key, entry in document["condition"].items()},
        document["state"],
        document["word"],
    )


def language_of(environment: str) -> str:
    """Return the language of a $LANG value such as zh_CN.UTF-8; English where there is no catalogue."""
    language = environment.partition(".")[0].partition("_")[0].lower()
    return language if language in LANGUAGES else "en"
