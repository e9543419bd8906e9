"""Which clause each test shows (docs/compliance): checks the tags, keeps the last outcome of every tagged test.

`@pytest.mark.clause("21 CFR 11.10(a)", ...)` means: were this test to fail, that demand would be broken.
"""

import fcntl
import json
import os
import platform
import time
import tomllib
from pathlib import Path

import pytest

from daemon.config import release

CLAUSES = Path(__file__).resolve().parents[1] / "docs" / "compliance" / "clauses.toml"
RESULTS = Path("build", "compliance", "results.json")


def pytest_configure(config: pytest.Config) -> None:
    whole = not any("::" in argument for argument in config.args)
    config.pluginmanager.register(Outcomes(config.rootpath / RESULTS, whole))


def wrong_tag(mark: pytest.Mark, known: set[str]) -> str:
    """Return what is wrong with a tag, "" for nothing."""
    if not mark.args or mark.kwargs:
        return "no id"
    return ", ".join(str(id_) for id_ in mark.args if id_ not in known)


class Outcomes:
    """One session's outcomes; written when it ends, beside those of tests that did not run in it.

    `whole`: files are collected, not single cases, so that a case that is not there any more is known.
    """

    def __init__(self, path: Path, whole: bool) -> None:
        self._path = path
        self._whole = whole
        self._tagged: set[str] = set()
        self._found: dict[str, dict[str, str]] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Raises: pytest.UsageError for a tag that names no clause."""
        known = {clause["id"] for law in tomllib.loads(CLAUSES.read_text())["law"] for clause in law["clause"]}
        for item in items:
            for mark in item.iter_markers("clause"):
                if wrong := wrong_tag(mark, known):
                    raise pytest.UsageError(f"{item.nodeid} is tagged with {wrong}: name ids of {CLAUSES.name}")
                self._tagged.add(item.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.nodeid not in self._tagged:
            return
        earlier = self._found.get(report.nodeid, {}).get("outcome", "")
        if report.failed or hasattr(report, "wasxfail"):
            self._note(report.nodeid, "failed", getattr(report, "wasxfail", report.when or ""))
        elif report.skipped and not earlier:
            why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self._note(report.nodeid, "skipped", why.removeprefix("Skipped: "))
        elif report.when == "call" and not earlier:
            self._note(report.nodeid, "passed", "")

    def _note(self, node: str, outcome: str, why: str) -> None:
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        python = f"{platform.python_implementation()} {platform.python_version()}"
        self._found[node] = {"outcome": outcome, "why": why, "at": at, "release": release(), "python": python}

    def pytest_sessionfinish(self) -> None:
        if not self._found:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            written = self._path.with_suffix(".tmp")
            written.write_text(json.dumps(self._kept() | self._found, indent=1, sort_keys=True))
            os.replace(written, self._path)

    def _kept(self) -> dict[str, dict[str, str]]:
        """Earlier outcomes, without those of cases that their tests have no more."""
        collected = {_test(node) for node in self._tagged} if self._whole else set()
        earlier = _earlier(self._path).items()
        return {node: result for node, result in earlier if node in self._tagged or _test(node) not in collected}


def _test(node: str) -> str:
    return node.split("[", 1)[0]


def _earlier(path: Path) -> dict[str, dict[str, str]]:
    try:
        found: dict[str, dict[str, str]] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found
