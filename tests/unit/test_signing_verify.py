"""verify and verify_recipe: what is whole and signed is loaded, everything else is refused with one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from signing.errors import (
    DigestMismatch,
    DirectoryRefused,
    DocumentInvalid,
    GraphRefused,
    SignatureInvalid,
    SigningError,
)
from signing.keyring import load_trust
from signing.sealed import open_directory
from signing.trust import Role, Trust
from signing.verify import VerifiedBundle, verify, verify_recipe
from tests.vectors import bundle_1

VECTORS = bundle_1.ROOT
OLD = VECTORS.parent / "bundle-0"


@pytest.fixture(scope="module")
def trust() -> Trust:
    return load_trust(VECTORS / "trust", production=False)


def opened(directory: Path, trust: Trust) -> VerifiedBundle:
    with open_directory(directory) as fd:
        return verify(fd, trust)


def test_the_vectors_are_what_their_script_writes(tmp_path: Path) -> None:
    bundle_1.write_all(tmp_path / "again")
    written = {path.relative_to(tmp_path / "again"): path.read_bytes() for path in (tmp_path / "again").rglob("*.*")}
    stored = {path.relative_to(VECTORS): path.read_bytes() for path in VECTORS.rglob("*.*")}
    assert {name for name in written.keys() | stored.keys() if written.get(name) != stored.get(name)} == set()


def test_a_whole_bundle_is_given_back_with_the_bytes_that_were_checked(trust: Trust) -> None:
    bundle = opened(VECTORS / "bundle", trust)
    assert bundle.digest == "2bcbb980a352b51f20e5628b116fda376ff178eb173c0a55308e78ff9a954b43"
    assert set(bundle.files) == {"tiny.onnx", "golden.png", "sbom.cdx.json"}
    for name, file in bundle.files.items():
        assert file.bytes() == bytes(file.view()) == (VECTORS / "bundle" / name).read_bytes()
        assert (file.size, file.sha256) == (bundle.manifest.files[name].size, bundle.manifest.files[name].sha256)
    assert bundle.manifest.models["side"].classes == bundle_1.CLASSES
    with pytest.raises(TypeError):
        bundle.files["tiny.onnx"] = bundle.files["golden.png"]  # type: ignore[index]  # read-only is what is tested


@pytest.mark.clause("21 CFR 11.50", "21 CFR 11.70")
def test_both_people_are_given_back_with_what_they_said(trust: Trust) -> None:
    with open_directory(VECTORS / "recipe") as fd:
        recipe = verify_recipe(fd, trust)
    assert recipe.raw == (VECTORS / "recipe" / "recipe.json").read_bytes()
    said = [(a.role, a.printed_name, a.meaning, a.utc, a.reason) for a in recipe.approvals]
    assert said == [
        (Role.QA, "Anna Berg", "approval", "2026-11-23T00:00:00Z", "vectors"),
        (Role.RELEASE, "Jonas Weber", "release", "2026-11-23T00:00:00Z", "vectors"),
    ]
    assert opened(VECTORS / "bundle", trust).approvals == recipe.approvals


@pytest.mark.clause("21 CFR 11.10(a)", "21 CFR 11.30", "IEC 62443-4-2 CR 3.4", "21 CFR 211.68(b)")
@pytest.mark.parametrize(
    ("vector", "error", "text"),
    [
        (
            "flipped-document",
            SignatureInvalid,
            "signatures/qa.sig: it is over bundle.json 2bcbb980a352b51f..., this is",
        ),
        ("flipped-graph", DigestMismatch, "tiny.onnx: sha256 is"),
        ("one-signature", DirectoryRefused, "signatures/release.sig: missing"),
        ("same-key-twice", SignatureInvalid, "signatures/release.sig: Anna Berg does not have role 'release'"),
        ("unknown-key", SignatureInvalid, "signatures/release.sig: key 39cb75e4b9769cdc... is nobody's"),
        ("extra-file", DirectoryRefused, "'more.onnx': the signed document does not name this file"),
        ("external-data", GraphRefused, "tensor 'scale' keeps its data outside the file"),
        ("format-0", DocumentInvalid, "bundle.json: format 0 is no longer accepted: build it again"),
    ],
)
def test_refused_vectors(trust: Trust, vector: str, error: type[SigningError], text: str) -> None:
    with pytest.raises(error) as caught:
        opened(VECTORS / "refused" / vector, trust)
    assert text in str(caught.value)
    assert str(VECTORS / "refused" / vector) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_everything_of_format_0_is_refused(trust: Trust) -> None:
    with pytest.raises(SigningError, match="format 0 is no longer accepted: build it again"):
        opened(OLD / "bundle", trust)
    with pytest.raises(SigningError, match="format 0 is no longer accepted"), open_directory(OLD / "recipe") as fd:
        verify_recipe(fd, trust)
    with pytest.raises(SigningError, match="format 0 is no longer accepted"):
        load_trust(OLD / "trust", production=False)


@pytest.mark.clause("21 CFR 11.10(a)", "21 CFR 11.30", "21 CFR 11.70", "Annex 11 draft §13", "IEC 62443-4-2 CR 3.4")
def test_every_single_flipped_byte_is_refused(tmp_path: Path, trust: Trust) -> None:
    bundle = tmp_path / "bundle"
    bundle_1.make_bundle(bundle)
    for path in sorted(bundle.rglob("*.*")):
        whole = path.read_bytes()
        for at in range(0, len(whole), max(1, len(whole) // 40)):
            bundle_1.flip(path, at)
            with pytest.raises(SigningError):
                opened(bundle, trust)
            path.write_bytes(whole)
    assert opened(bundle, trust).manifest.name == "tiny"


def _signed_text(directory: Path, text: str) -> Path:
    directory.mkdir()
    (directory / "bundle.json").write_text(text)
    bundle_1.put_signatures(directory, bundle_1.KEYS)
    return directory


def _edited(**changes: object) -> str:
    document = json.loads((VECTORS / "bundle" / "bundle.json").read_text())
    return json.dumps({**document, **changes})


def _less(*path: str) -> str:
    document = json.loads((VECTORS / "bundle" / "bundle.json").read_text())
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return json.dumps(document)


ENTRY = {"sha256": "0" * 64, "size": 1}
CASE: dict[str, Any] = {"file": "golden.png", "model": "side", "scores": {"bright": 0.4, "grey": 0.2}}
GREY = {"class": "minor", "definition": "more light than usual"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (_edited(document="recipe"), "recipe"),
        (_edited(files={"bundle.json": ENTRY}), "file 'bundle.json' has a name that is kept"),
        (_edited(files={"a.onnx": ENTRY}), "file 'tiny.onnx' is not listed"),
        (_edited(version="1.0.0\n"), "version"),
        ('{"format": 1, "format": 1}', "key 'format' occurs twice"),
        (_edited(golden={"tolerance": 1e400, "cases": []}), "Infinity"),
        (_edited(defects={"grey": GREY}), "class 'bright' is not described under defects"),
        (_edited(defects={"bright": GREY, "grey": GREY, "more": GREY}), "defect 'more' is a class of no model"),
        (_edited(defects={"bright": GREY, "grey": {**GREY, "class": "odd"}}), "odd"),
        (_edited(defects={"bright": GREY, "grey": {**GREY, "definition": ""}}), "definition"),
        (_edited(golden={"tolerance": 0.001, "cases": []}), "$.golden.cases"),
        (_edited(golden={"tolerance": 0.2, "cases": [CASE]}), "$.golden.tolerance"),
        (_edited(golden={"tolerance": 0.1, "cases": [{**CASE, "file": "tiny.onnx"}]}), "is not a .png file"),
        (_edited(golden={"tolerance": 0.1, "cases": [{**CASE, "file": "a.png"}]}), "file 'a.png' is not listed"),
        (_edited(golden={"tolerance": 0.1, "cases": [{**CASE, "model": "top"}]}), "there is no model 'top'"),
        (_edited(golden={"tolerance": 0.1, "cases": [{**CASE, "scores": {"bright": 0.4}}]}), "differ in grey"),
        (_edited(evidence=[{"id": "V-1", "sha256": "0", "what": "x"}]), "$.evidence[0].sha256"),
        (_edited(sbom="bom.json"), "sbom 'bom.json' is not listed"),
        *((_less("training", key), f"missing required field `{key}`") for key in ("code_commit", "seed", "metrics")),
        *((_less("training", key), f"missing required field `{key}`") for key in ("dataset_sha256", "environment")),
        *(
            (_less(key), f"missing required field `{key}`")
            for key in ("training", "golden", "defects", "evidence", "sbom")
        ),
        ("", "bundle.json: Expecting value"),
    ],
)
def test_signed_nonsense_is_refused(tmp_path: Path, trust: Trust, text: str, shown: str) -> None:
    with pytest.raises(DocumentInvalid) as caught:
        opened(_signed_text(tmp_path / "bundle", text), trust)
    assert shown in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sbom", "shown"),
    [
        (b"{}", "not a CycloneDX document"),
        (b"[]", "Expected `object`"),
        (b'{"bomFormat": "SPDX", "bomFormat": "CycloneDX"}', "occurs twice"),
    ],
)
def test_an_sbom_that_is_none_is_refused(
    tmp_path: Path, trust: Trust, sbom: bytes, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_1, "SBOM", sbom)
    bundle_1.make_bundle(tmp_path / "bundle")
    with pytest.raises(DocumentInvalid, match=shown):
        opened(tmp_path / "bundle", trust)


@pytest.mark.clause("IEC 62443-4-2 CR 3.4")
def test_the_document_is_not_parsed_before_its_signatures_hold(tmp_path: Path, trust: Trust) -> None:
    """Nonsense that nobody signed is refused for its signature, not for its content."""
    directory = _signed_text(tmp_path / "bundle", "not JSON")
    bundle_1.put_signatures(directory, {Role.RELEASE: bundle_1.STRANGER})
    with pytest.raises(SignatureInvalid):
        opened(directory, trust)
