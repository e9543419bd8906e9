"""`python -m scripts.compliance`: runs the tests that are tagged with a clause and writes docs/compliance/part11.md.

`--print` runs nothing and prints the document with the outcomes of the tests that ran last. Exit status: 0 every tagged
test passed, 1 one did not, 2 nothing could be written.
"""

import argparse
import ast
import json
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path("docs", "compliance")
CLAUSES, DOCUMENT = FOLDER / "clauses.toml", FOLDER / "part11.md"
RESULTS = Path("build", "compliance", "results.json")
MARK = "pytest.mark.clause"
WORST = ("failed", "not run", "skipped", "passed")
MOST_REASONS = 3


class ComplianceError(Exception):
    """The table of clauses or a tag cannot be used as it stands."""


@dataclass(frozen=True, slots=True)
class Clause:
    """One demand of a law; see the head of clauses.toml."""

    id: str
    title: str
    demand: str
    user: str = ""
    missing: str = ""
    later: str = ""


@dataclass(frozen=True, slots=True)
class Law:
    name: str
    source: str
    clause: tuple[Clause, ...]
    draft: bool = False


@dataclass(slots=True)
class Shown:
    """One tagged test and what became of its cases; `at`, `release` and `python` are of the newest."""

    test: str
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: set[str] = field(default_factory=set)
    newest: dict[str, str] = field(default_factory=dict)

    @property
    def result(self) -> str:
        return next((word for word in WORST if self.outcomes[word]), "not run")


def load_laws(text: str) -> list[Law]:
    """Read the table of clauses.

    Raises:
        ComplianceError: a key that is not known, or an id that stands there twice.
    """
    try:
        laws = [
            Law(
                law["name"], law["source"], tuple(Clause(**clause) for clause in law["clause"]), law.get("draft", False)
            )
            for law in tomllib.loads(text)["law"]
        ]
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ComplianceError(f"{CLAUSES}: {error}") from error
    twice = [name for name, count in Counter(clause.id for law in laws for clause in law.clause).items() if count > 1]
    if twice:
        raise ComplianceError(f"{CLAUSES}: {', '.join(twice)} stands there twice")
    return laws


def tagged(root: Path) -> dict[str, set[str]]:
    """Return the tests ("file::name") of each clause id, read from the decorators without importing anything."""
    found: dict[str, set[str]] = {}
    for path in sorted(root.joinpath("tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if MARK in text:
            for name, id_ in _tags(ast.parse(text).body, ()):
                found.setdefault(id_, set()).add(f"{path.relative_to(root)}::{name}")
    return found


def _tags(body: Sequence[ast.stmt], ids: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            for name, id_ in _tags(node.body, ids + _ids(node.decorator_list)):
                yield f"{node.name}::{name}", id_
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield from ((node.name, id_) for id_ in ids + _ids(node.decorator_list))


def _ids(decorators: list[ast.expr]) -> tuple[str, ...]:
    calls = [call for call in decorators if isinstance(call, ast.Call) and ast.unparse(call.func) == MARK]
    return tuple(ast.literal_eval(argument) for call in calls for argument in call.args)


def shown(tests: set[str], results: dict[str, dict[str, str]], since: str = "") -> dict[str, Shown]:
    """Return what became of each test in the results that are not older than `since` (ISO 8601, UTC)."""
    made = {test: Shown(test) for test in tests}
    for node, result in sorted(results.items()):
        entry = made.get(node.split("[", 1)[0])
        if entry and result["at"] >= since:
            entry.outcomes[result["outcome"]] += 1
            entry.newest = max(entry.newest, result, key=lambda one: one.get("at", ""))
            if result["why"]:
                entry.reasons.add(result["why"])
    return made


class Document:
    """The page: head, what is open, and every clause with its tests."""

    def __init__(self, laws: list[Law], tags: dict[str, set[str]], tests: dict[str, Shown]) -> None:
        self._laws = laws
        self._clauses = [clause for law in laws for clause in law.clause]
        self._tests = {clause.id: [tests[name] for name in sorted(tags.get(clause.id, ()))] for clause in self._clauses}
        self._all = tests

    def text(self) -> str:
        lines = [*self._head(), *self._open(), *self._user()]
        for law in self._laws:
            lines += ["", f"## {law.name}", "", f"{law.source}."]
            for clause in law.clause:
                lines += self._clause(clause)
        return "\n".join(lines) + "\n"

    def status(self, clause: Clause) -> str:
        """Return a clause's status, computed from its tests alone."""
        results = {test.result for test in self._tests[clause.id]}
        if results == {"passed"}:
            return "passed in part" if clause.missing else "passed"
        if results:
            return next(word for word in WORST if word in results)
        return "the user's" if clause.user and not clause.missing else "gap"

    def _head(self) -> list[str]:
        newest = max((test.newest for test in self._all.values()), key=lambda one: one.get("at", ""), default={})
        times = [test.newest["at"] for test in self._all.values() if test.newest]
        counted = Counter(self.status(clause) for clause in self._clauses)
        tests = Counter(test.result for test in self._all.values())
        cases = sum(sum(test.outcomes.values()) for test in self._all.values())
        return [
            "# Clauses and the tests that show them",
            "",
            "Written by `make compliance`, not by hand; README.md beside it says what this is and what it is not.",
            "",
            f"- when: {' to '.join(sorted({min(times), max(times)})) if times else 'never'}",
            f"- release: {newest.get('release', 'none')}",
            f"- Python: {newest.get('python', 'none')}",
            f"- clauses: {len(self._clauses)}: " + _counts(counted),
            f"- tests: {len(self._all)} ({cases} cases): " + _counts(tests),
        ]

    def _open(self) -> list[str]:
        gaps = [clause for clause in self._clauses if self.status(clause) == "gap"]
        partly = [clause for clause in self._clauses if clause not in gaps and clause.missing]
        wrong = [test for test in self._all.values() if test.result != "passed"]
        lines = ["", "## Gaps", "", "### No test yet", ""]
        lines += [_gap(clause, clause.missing or "a test") for clause in gaps] or ["None."]
        lines += ["", "### Tests stand, but not for all of it", ""]
        lines += [_gap(clause, clause.missing) for clause in partly] or ["None."]
        lines += ["", "### Tests that did not pass", ""]
        return lines + ([_test(test) for test in wrong] or ["None."])

    def _user(self) -> list[str]:
        duties = [f"- **{clause.id}** {clause.title}: {clause.user}" for clause in self._clauses if clause.user]
        return ["", "## What no device can do: the site's own", "", *duties]

    def _clause(self, clause: Clause) -> list[str]:
        lines = ["", f"### {clause.id}: {clause.title}", "", f"{clause.demand}", ""]
        lines.append(f"Status: **{self.status(clause)}**" + (f". Missing: {clause.missing}" if clause.missing else ""))
        tests = [_test(test) for test in self._tests[clause.id]]
        return [*lines, "", *tests] if tests else lines


def _counts(counted: Counter[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in sorted(counted.items())) or "none"


def _gap(clause: Clause, missing: str) -> str:
    return f"- **{clause.id}** {clause.title}: {missing}" + (f" Comes with: {clause.later}." if clause.later else "")


def _test(test: Shown) -> str:
    cases = sum(test.outcomes.values())
    line = f"- `{test.test}` {test.result}"
    if cases > 1:
        line += f" ({_counts(test.outcomes)})" if len(test.outcomes) > 1 else f" ({cases} cases)"
    return line + (": " + "; ".join(sorted(test.reasons)[:MOST_REASONS]) if test.reasons else "")


def _document(root: Path, since: str) -> tuple[str, bool]:
    """Return the page, and if every tagged test passed."""
    laws, tags = load_laws(root.joinpath(CLAUSES).read_text(encoding="utf-8")), tagged(root)
    known = {clause.id for law in laws for clause in law.clause}
    if unknown := sorted(tags.keys() - known):
        raise ComplianceError(f"tests are tagged with {', '.join(unknown)}: not in {CLAUSES}")
    tests = shown(set().union(*tags.values()), _results(root / RESULTS), since)
    return Document(laws, tags, tests).text(), all(test.result == "passed" for test in tests.values())


def _results(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ComplianceError(f"{path}: {error.strerror}: run the tests first") from error
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tagged tests, write the document."""
    parser = argparse.ArgumentParser(description="Clause -> tests -> last result.")
    parser.add_argument("--print", action="store_true", help="run nothing; print what the tests that ran last say")
    asked = parser.parse_args(arguments)
    since = "" if asked.print else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        if not asked.print:
            files = sorted({test.split("::")[0] for tests in tagged(ROOT).values() for test in tests})
            subprocess.run([sys.executable, "-m", "pytest", "-q", "-m", "clause", *files], cwd=ROOT, check=False)
        text, good = _document(ROOT, since)
    except ComplianceError as error:
        print(f"compliance: {error}", file=sys.stderr)
        return 2
    if asked.print:
        print(text, end="")
    else:
        ROOT.joinpath(DOCUMENT).write_text(text, encoding="utf-8")
        print(f"{DOCUMENT} is written" + ("" if good else "; not every test passed, see its Gaps"))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
