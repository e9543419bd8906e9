"""Sizes of DESIGN section 8: a file or function past its limit has two owners in it. Empty names are refused too."""

import ast
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("daemon", "drivers", "engines", "fleet", "provisioning", "signing")
FILE_LINES = 400
FUNCTION_LINES = 40
FUNCTION_P90 = 30
FUNCTION_MEDIAN = 13
FORBIDDEN = {"utils", "util", "helpers", "helper", "common", "base", "misc", "manager", "core", "types"}

SHIPPED = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
WRITTEN = SHIPPED + sorted(path for folder in ("tests", "demo") for path in (ROOT / folder).rglob("*.py"))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _functions(path: Path) -> list[tuple[str, int]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [(node.name, _length(node)) for node in ast.walk(tree) if isinstance(node, kinds)]


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the signature to the end, without the docstring."""
    length = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node, clean=False) is not None:
        length -= (first.end_lineno or first.lineno) - first.lineno + 1
    return length


def test_no_file_is_longer_than_the_limit() -> None:
    lengths = {_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in WRITTEN}
    long = {name: lines for name, lines in lengths.items() if lines > FILE_LINES}
    assert long == {}, "find the second owner in each"


def test_no_function_is_longer_than_the_limit() -> None:
    every = ((_name(path), *function) for path in SHIPPED for function in _functions(path))
    assert [function for function in every if function[-1] > FUNCTION_LINES] == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [_name(path) for path in WRITTEN if path.stem in FORBIDDEN] == []


def test_functions_are_short_on_the_whole() -> None:
    lengths = sorted(lines for path in SHIPPED for _, lines in _functions(path))
    assert median(lengths) <= FUNCTION_MEDIAN
    assert lengths[int(0.9 * len(lengths))] <= FUNCTION_P90


def test_every_init_is_empty() -> None:
    assert [_name(path) for path in SHIPPED if path.name == "__init__.py" and path.read_bytes()] == []


def test_tests_hold_no_package_and_no_two_files_of_one_name() -> None:
    files = sorted((ROOT / "tests").rglob("*.py"))
    assert [path for path in files if path.name == "__init__.py"] == []
    names = [path.name for path in files]
    assert sorted(names) == sorted(set(names))
