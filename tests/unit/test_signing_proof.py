"""VerifiedBundle and VerifiedRecipe are made in one place each, so their type is the proof that they were checked."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROOFS = ("VerifiedBundle", "VerifiedRecipe")
FORGERIES = {"replace", "__new__", "copy", "deepcopy", "asdict"}


def _sources() -> Iterator[Path]:
    for folder in ("daemon", "drivers", "engines", "provisioning", "signing", "fleet", "demo"):
        yield from sorted((ROOT / folder).rglob("*.py"))


def _uses(tree: ast.AST, name: str) -> Iterator[ast.AST]:
    """Every place that could make the class: mentions outside annotations, type arguments, isinstance and imports."""
    harmless = {id(inner) for node in ast.walk(tree) for part in _harmless(node) for inner in ast.walk(part)}
    for node in ast.walk(tree):
        named = (isinstance(node, ast.Name) and node.id == name) or (
            isinstance(node, ast.Attribute) and node.attr == name
        )
        if named and id(node) not in harmless:
            yield node


def _harmless(node: ast.AST) -> list[ast.AST]:
    if isinstance(node, ast.Subscript):
        return [node.slice]
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
        return list(node.args[1:])
    return [part for name in ("annotation", "returns") if (part := getattr(node, name, None)) is not None]


@pytest.mark.clause("IEC 62443-4-2 CR 3.4")
@pytest.mark.parametrize("proof", PROOFS)
def test_one_construction_site(proof: str) -> None:
    sites = [
        f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        for path in _sources()
        if proof in path.read_text()
        for node in _uses(ast.parse(path.read_text()), proof)
    ]
    assert [site.split(":")[0] for site in sites] == ["signing/verify.py"], sites


def test_a_second_site_would_be_found() -> None:
    planted = "def forge(b: VerifiedBundle) -> VerifiedBundle:\n    return VerifiedBundle('', b.manifest, {})\n"
    assert len(list(_uses(ast.parse(planted), "VerifiedBundle"))) == 1
    assert len(list(_uses(ast.parse("make = verify.VerifiedBundle"), "VerifiedBundle"))) == 1
    assert len(list(_uses(ast.parse("[VerifiedBundle][0]('', m, {})"), "VerifiedBundle"))) == 1
    assert not list(
        _uses(ast.parse("A = Callable[[VerifiedBundle], int]; isinstance(a, VerifiedBundle)"), "VerifiedBundle")
    )


def test_nobody_rewrites_a_proof() -> None:
    """dataclasses.replace and its like would be constructors in disguise. Publishers load nothing into a device."""
    for path in _sources():
        text = path.read_text()
        if path.parent.name == "fleet" or not any(proof in text for proof in PROOFS):
            continue
        calls = (node.func for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
        names = {getattr(func, "attr", getattr(func, "id", "")) for func in calls}
        assert not names & FORGERIES, path


def test_nothing_on_the_device_knows_the_publishers() -> None:
    """The import contract says the same of imports; this one sees import_module too."""
    for path in _sources():
        if path.parent.name in ("demo", "fleet"):
            continue
        if "fleet" in path.read_text():
            names = {name.split(".")[0] for name in _imported(ast.parse(path.read_text()))}
            assert "fleet" not in names, path


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            yield from (str(argument.value) for argument in node.args if isinstance(argument, ast.Constant))
