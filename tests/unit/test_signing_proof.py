"""VerifiedBundle and VerifiedRecipe are made in one place each, so their type is the proof that they were checked."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROOFS = ("VerifiedBundle", "VerifiedRecipe")
FORGERIES = {"replace", "__new__", "copy", "deepcopy", "asdict"}


def _sources() -> Iterator[Path]:
    for folder in ("daemon", "drivers", "engines", "provisioning", "signing", "demo"):
        yield from sorted((ROOT / folder).rglob("*.py"))


def _uses(tree: ast.AST, name: str) -> Iterator[ast.AST]:
    """Every place that mentions the class outside an annotation or an import: a call, an alias, a subclass."""
    annotations = {
        id(inner)
        for node in ast.walk(tree)
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None))
        if annotation is not None
        for inner in ast.walk(annotation)
    }
    for node in ast.walk(tree):
        named = (isinstance(node, ast.Name) and node.id == name) or (
            isinstance(node, ast.Attribute) and node.attr == name
        )
        if named and id(node) not in annotations:
            yield node


@pytest.mark.clause("IEC 62443-4-2 CR 3.4")
@pytest.mark.parametrize("proof", PROOFS)
def test_one_construction_site(proof: str) -> None:
    sites = [
        f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        for path in _sources()
        for node in _uses(ast.parse(path.read_text()), proof)
    ]
    assert [site.split(":")[0] for site in sites] == ["signing/verify.py"], sites


def test_a_second_site_would_be_found() -> None:
    planted = "def forge(b: VerifiedBundle) -> VerifiedBundle:\n    return VerifiedBundle('', b.manifest, {})\n"
    assert len(list(_uses(ast.parse(planted), "VerifiedBundle"))) == 1
    assert len(list(_uses(ast.parse("make = verify.VerifiedBundle"), "VerifiedBundle"))) == 1


def test_nobody_rewrites_a_proof() -> None:
    """dataclasses.replace and its like would be constructors in disguise."""
    for path in _sources():
        text = path.read_text()
        if not any(proof in text for proof in PROOFS):
            continue
        calls = (node.func for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
        names = {getattr(func, "attr", getattr(func, "id", "")) for func in calls}
        assert not names & FORGERIES, path


def test_only_development_tools_reach_publish() -> None:
    for path in _sources():
        if path.parent.name == "demo" or path.name == "publish.py":
            continue
        assert "signing.publish" not in path.read_text(), path
