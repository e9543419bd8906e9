"""docs/compliance: no tag without its clause, every outcome kept, gaps shown as gaps, the committed page not stale."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.compliance import CLAUSES, DOCUMENT, ROOT, Clause, ComplianceError, Document, Law, load_laws, shown, tagged
from tests.clauses_plugin import wrong_tag

AT = pytest.mark.clause
LAWS = load_laws((ROOT / CLAUSES).read_text(encoding="utf-8"))
CASES = """
import pytest
at = pytest.mark.clause

@at("21 CFR 11.10(a)")
@pytest.mark.parametrize("n", [1, 2])
def test_passes(n):
    pass

@at("21 CFR 11.10(b)", "21 CFR 11.10(c)")
def test_fails():
    assert False

@at("21 CFR 11.10(e)")
def test_skips():
    pytest.skip("needs a TPM")

@at("21 CFR 11.10(f)")
@pytest.mark.xfail
def test_is_expected_to_fail():
    assert False

@pytest.fixture
def broken():
    yield
    raise OSError("not closed")

@at("21 CFR 11.10(f)")
def test_leaves_a_mess(broken):
    pass

def test_of_no_clause():
    pass
"""


def play(folder: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest over one file of tests, with the plugin, in a folder of its own."""
    (folder / "test_of_clauses.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    clause: as in setup.cfg\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.clauses_plugin", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def kept(folder: Path) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads((folder / "build" / "compliance" / "results.json").read_text())
    return found


def test_every_outcome_is_kept_and_those_of_tests_that_did_not_run_again_stay(tmp_path: Path) -> None:
    play(tmp_path, CASES)
    found = {node.split("::")[1]: (result["outcome"], result["why"]) for node, result in kept(tmp_path).items()}
    assert found == {
        "test_passes[1]": ("passed", ""),
        "test_passes[2]": ("passed", ""),
        "test_fails": ("failed", "call"),
        "test_skips": ("skipped", "needs a TPM"),
        "test_is_expected_to_fail": ("failed", ""),
        "test_leaves_a_mess": ("failed", "teardown"),
    }
    play(tmp_path, CASES.replace("assert False", "pass"), "-k", "test_fails")
    assert [result["outcome"] for result in kept(tmp_path).values()].count("passed") == 3
    assert len(kept(tmp_path)) == 6
    play(tmp_path, CASES.replace("[1, 2]", "[2, 3]"), "-k", "test_skips")
    assert [node.split("::")[1] for node in kept(tmp_path) if "[" in node] == ["test_passes[2]"]


def test_a_tag_that_names_no_clause_stops_the_collection(tmp_path: Path) -> None:
    ended = play(tmp_path, CASES.replace("11.10(e)", "11.10(z)"), "--collect-only")
    assert ended.returncode == pytest.ExitCode.USAGE_ERROR
    assert "test_skips is tagged with 21 CFR 11.10(z)" in ended.stderr


@pytest.mark.parametrize(
    ("mark", "wrong"),
    [
        (AT("a"), ""),
        (AT("a", "b"), ""),
        (AT("a", "z", "y"), "z, y"),
        (AT(), "no id"),
        (AT("a", id="b"), "no id"),
        (AT(7), "7"),
    ],
)
def test_a_tag_is_ids_of_clauses_and_nothing_else(mark: pytest.MarkDecorator, wrong: str) -> None:
    assert wrong_tag(mark.mark, {"a", "b"}) == wrong


def test_the_tags_that_are_read_are_those_that_pytest_sees(request: pytest.FixtureRequest) -> None:
    read = tagged(ROOT)
    for item in request.session.items:
        name = item.nodeid.split("[", 1)[0]
        seen = {id_ for mark in item.iter_markers("clause") for id_ in mark.args}
        assert {id_ for id_, tests in read.items() if name in tests} == seen, name


def test_the_page_names_every_clause_and_every_tagged_test() -> None:
    """It was made after the last tag was set: `make compliance` makes it again."""
    page = (ROOT / DOCUMENT).read_text(encoding="utf-8")
    sections = dict(part.split(": ", 1) for part in page.split("\n### ")[1:] if ": " in part.split("\n", 1)[0])
    tags = tagged(ROOT)
    for clause in (clause for law in LAWS for clause in law.clause):
        assert clause.id in sections, f"{clause.id} is not in {DOCUMENT}: make compliance"
        named = {line.split("`")[1] for line in sections[clause.id].splitlines() if line.startswith("- `")}
        assert named == tags.get(clause.id, set()), f"{DOCUMENT} is not of these tests: make compliance"


CLAUSE = '\n[[law.clause]]\nid = "1"\ntitle = ""\ndemand = ""\n'
ONE = '[[law]]\nname = "a"\nsource = "b"\n' + CLAUSE


def page(clause: Clause, *results: tuple[str, str, str]) -> tuple[str, str]:
    """Return the page over one clause whose tests had these outcomes, and the clause's status."""
    tests = shown({name.split("[")[0] for name, *_ in results}, dict(map(result, results)))
    made = Document([Law("Law", "source", (clause,))], {clause.id: set(tests)}, tests)
    return made.text(), made.status(clause)


def result(told: tuple[str, str, str]) -> tuple[str, dict[str, str]]:
    node, outcome, why = told
    return node, {"outcome": outcome, "why": why, "at": "2026-01-01T00:00:00Z", "release": "1.0", "python": "x 3"}


def test_a_clause_without_a_test_is_a_gap_at_the_top() -> None:
    text, status = page(Clause("C 1", "Copies", "can be had", missing="No copies.", later="issue 9"))
    assert status == "gap"
    assert "### No test yet\n\n- **C 1** Copies: No copies. Comes with: issue 9.\n" in text
    assert page(Clause("C 1", "Copies", "can be had"))[1] == "gap"
    assert page(Clause("C 1", "Training", "is given", user="Courses."))[1] == "the user's"
    assert page(Clause("C 1", "Training", "is given", user="Courses.", missing="x"))[1] == "gap"


def test_one_case_that_did_not_pass_is_shown_and_counts_for_the_whole_test_and_clause() -> None:
    clause = Clause("C 1", "Copies", "can be had")
    cases = (("t.py::a[1]", "passed", ""), ("t.py::a[2]", "failed", "call"), ("t.py::b", "passed", ""))
    text, status = page(clause, *cases)
    assert status == "failed"
    assert "### Tests that did not pass\n\n- `t.py::a` failed (1 failed, 1 passed): call\n" in text
    text, status = page(clause, ("t.py::a", "skipped", "needs a TPM"), ("t.py::b", "passed", ""))
    assert status == "skipped" and "- `t.py::a` skipped: needs a TPM\n" in text
    assert page(clause, ("t.py::a", "passed", ""))[1] == "passed"


def test_what_no_test_shows_is_told_beside_those_that_do() -> None:
    text, status = page(Clause("C 1", "Copies", "can be had", missing="Paper."), ("t.py::a", "passed", ""))
    assert status == "passed in part"
    assert "### Tests stand, but not for all of it\n\n- **C 1** Copies: Paper.\n" in text


def test_a_tagged_test_without_a_result_of_this_run_did_not_run() -> None:
    tests = shown({"t.py::a"}, dict([result(("t.py::a", "passed", ""))]), since="2026-01-02T00:00:00Z")
    assert tests["t.py::a"].result == "not run"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (ONE.replace('title = ""', ""), "title"),
        (ONE + 'status = "passed"', "status"),
        (ONE + CLAUSE, "twice"),
        ("[law", "clauses.toml"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(text: str, says: str) -> None:
    with pytest.raises(ComplianceError, match=says):
        load_laws(text)
