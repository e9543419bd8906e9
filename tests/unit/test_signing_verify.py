"""verify and verify_recipe: what is whole and signed is loaded, everything else is refused with one line."""

import json
import os
from collections.abc import Callable
from pathlib import Path

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
from tests.vectors import bundle_0

VECTORS = bundle_0.ROOT


@pytest.fixture(scope="module")
def trust() -> Trust:
    return load_trust(VECTORS / "trust", production=False)


def opened(directory: Path, trust: Trust) -> VerifiedBundle:
    with open_directory(directory) as fd:
        return verify(fd, trust)


def test_the_vectors_are_what_their_script_writes(tmp_path: Path) -> None:
    bundle_0.write_all(tmp_path / "again")
    written = {path.relative_to(tmp_path / "again"): path.read_bytes() for path in (tmp_path / "again").rglob("*.*")}
    stored = {path.relative_to(VECTORS): path.read_bytes() for path in VECTORS.rglob("*.*")}
    assert written == stored


def test_a_whole_bundle_is_given_back_with_the_bytes_that_were_checked(trust: Trust) -> None:
    bundle = opened(VECTORS / "bundle", trust)
    assert bundle.digest == "9131f09d202dbecd9a38b20f972da2c23b9ffe9fee6214f2a88122b34376e8e3"
    assert bundle.files == {"tiny.onnx": (VECTORS / "bundle" / "tiny.onnx").read_bytes()}
    assert bundle.manifest.models["side"].classes == bundle_0.CLASSES
    with pytest.raises(TypeError):
        bundle.files["tiny.onnx"] = b""  # type: ignore[index]  # read-only is what is tested


def test_a_recipe_is_given_back_unparsed(trust: Trust) -> None:
    with open_directory(VECTORS / "recipe") as fd:
        recipe = verify_recipe(fd, trust)
    assert recipe.raw == (VECTORS / "recipe" / "recipe.json").read_bytes()


@pytest.mark.clause("21 CFR 11.10(a)", "21 CFR 11.30", "IEC 62443-4-2 CR 3.4", "21 CFR 211.68(b)")
@pytest.mark.parametrize(
    ("vector", "error", "text"),
    [
        ("flipped-document", SignatureInvalid, "bundle.json: signatures/qa.sig is not a signature of these bytes"),
        ("flipped-graph", DigestMismatch, "tiny.onnx: sha256 is"),
        ("one-signature", DirectoryRefused, "signatures/release.sig: missing"),
        ("same-key-twice", SignatureInvalid, "signatures/release.sig is not a signature"),
        ("unknown-key", SignatureInvalid, "signatures/release.sig is not a signature"),
        ("extra-file", DirectoryRefused, "'more.onnx': the signed document does not name this file"),
        ("external-data", GraphRefused, "tensor 'scale' keeps its data outside the file"),
    ],
)
def test_refused_vectors(trust: Trust, vector: str, error: type[SigningError], text: str) -> None:
    with pytest.raises(error) as caught:
        opened(VECTORS / "refused" / vector, trust)
    assert text in str(caught.value)
    assert str(VECTORS / "refused" / vector) in str(caught.value)
    assert "\n" not in str(caught.value)


def _link(bundle: Path) -> None:
    (bundle.parent / "elsewhere.onnx").write_bytes((bundle / "tiny.onnx").read_bytes())
    (bundle / "tiny.onnx").unlink()
    (bundle / "tiny.onnx").symlink_to(bundle.parent / "elsewhere.onnx")


def _fifo(bundle: Path) -> None:
    (bundle / "tiny.onnx").unlink()
    os.mkfifo(bundle / "tiny.onnx")


def _folder(bundle: Path) -> None:
    (bundle / "tiny.onnx").unlink()
    (bundle / "tiny.onnx").mkdir()


def _linked_signatures(bundle: Path) -> None:
    (bundle / "signatures").rename(bundle.parent / "signatures")
    (bundle / "signatures").symlink_to(bundle.parent / "signatures")


def _swapped_signatures(bundle: Path) -> None:
    folder = bundle / "signatures"
    (folder / "qa.sig").rename(folder / "third.sig")
    (folder / "release.sig").rename(folder / "qa.sig")
    (folder / "third.sig").rename(folder / "release.sig")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "link": (_link, "tiny.onnx: a link"),
    "fifo": (_fifo, "tiny.onnx: not a regular file"),
    "folder": (_folder, "tiny.onnx: not a regular file"),
    "missing": (lambda b: (b / "tiny.onnx").unlink(), "tiny.onnx: missing"),
    "longer": (lambda b: (b / "tiny.onnx").write_bytes((b / "tiny.onnx").read_bytes() + b"x"), "at most 317"),
    "shorter": (lambda b: (b / "tiny.onnx").write_bytes(b"x"), "1 bytes, bundle.json says 317"),
    "no document": (lambda b: (b / "bundle.json").unlink(), "bundle.json: missing"),
    "huge document": (lambda b: (b / "bundle.json").write_bytes(b" " * 2_000_000), "at most 1048576 are allowed"),
    "huge signature": (lambda b: (b / "signatures" / "qa.sig").write_bytes(b" " * 999), "at most 256 are allowed"),
    "third signature": (lambda b: (b / "signatures" / "x.sig").write_bytes(b""), "signatures/'x.sig'"),
    "linked signatures": (_linked_signatures, "signatures: "),
    "swapped signatures": (_swapped_signatures, "signatures/qa.sig is not a signature"),
    "empty signature": (lambda b: (b / "signatures" / "qa.sig").write_bytes(b""), "signatures/qa.sig is not a"),
    "crowd": (lambda b: [(b / f"f{i}").touch() for i in range(300)], "more than 256 entries"),
}


@pytest.mark.clause("IEC 62443-4-2 CR 3.4")
@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_directories_are_refused(tmp_path: Path, trust: Trust, name: str) -> None:
    damage, text = DAMAGES[name]
    bundle_0.make_bundle(tmp_path / "bundle")
    damage(tmp_path / "bundle")
    with pytest.raises(SigningError) as caught:
        opened(tmp_path / "bundle", trust)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.clause("21 CFR 11.10(a)", "21 CFR 11.30", "21 CFR 11.70", "Annex 11 draft §13", "IEC 62443-4-2 CR 3.4")
def test_every_single_flipped_byte_is_refused(tmp_path: Path, trust: Trust) -> None:
    bundle = tmp_path / "bundle"
    bundle_0.make_bundle(bundle)
    for path in sorted(bundle.rglob("*.*")):
        whole = path.read_bytes()
        for at in range(0, len(whole), max(1, len(whole) // 40)):
            bundle_0.flip(path, at)
            with pytest.raises(SigningError):
                opened(bundle, trust)
            path.write_bytes(whole)
    assert opened(bundle, trust).manifest.name == "tiny"


def _signed_text(directory: Path, text: str) -> Path:
    directory.mkdir()
    (directory / "bundle.json").write_text(text)
    bundle_0.put_signatures(directory, bundle_0.KEYS)
    return directory


def _edited(**changes: object) -> str:
    document = json.loads((VECTORS / "bundle" / "bundle.json").read_text())
    return json.dumps({**document, **changes})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (_edited(surprise=1), "unknown field `surprise`"),
        (_edited(format=1), "format"),
        (_edited(document="recipe"), "recipe"),
        (_edited(name="../x"), "$.name"),
        (_edited(files={"../tiny.onnx": {"sha256": "0" * 64, "size": 1}}), "$.files"),
        (_edited(files={"tiny.onnx": {"sha256": "0" * 64, "size": 1 << 40}}), "size"),
        (_edited(files={"a.onnx": {"sha256": "0" * 64, "size": 1}}), "file 'tiny.onnx' is not listed"),
        (_edited(version="1.0.0\n"), "version"),
        ('{"format": 0, "format": 0}', "key 'format' occurs twice"),
        (_edited(provenance={"seed": 1, "data_sha256": "0" * 64, "score": {"a": float("nan")}}), "NaN"),
        ("[" * 100_000, "nested too deep"),
        ("", "bundle.json: Expecting value"),
    ],
)
def test_signed_nonsense_is_refused(tmp_path: Path, trust: Trust, text: str, shown: str) -> None:
    with pytest.raises(DocumentInvalid) as caught:
        opened(_signed_text(tmp_path / "bundle", text), trust)
    assert shown in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.clause("IEC 62443-4-2 CR 3.4")
def test_the_document_is_not_parsed_before_its_signatures_hold(tmp_path: Path, trust: Trust) -> None:
    """Nonsense that nobody signed is refused for its signature, not for its content."""
    directory = _signed_text(tmp_path / "bundle", "not JSON")
    bundle_0.put_signatures(directory, {Role.RELEASE: bundle_0.STRANGER})
    with pytest.raises(SignatureInvalid):
        opened(directory, trust)


def test_a_signed_recipe_is_no_bundle(tmp_path: Path, trust: Trust) -> None:
    bundle_0.make_recipe(tmp_path / "recipe", "0" * 64)
    (tmp_path / "recipe" / "recipe.json").rename(tmp_path / "recipe" / "bundle.json")
    with pytest.raises(DocumentInvalid):
        opened(tmp_path / "recipe", trust)


def test_a_bundle_larger_than_the_device_loads_is_refused(tmp_path: Path, trust: Trust) -> None:
    files = {f"{number}.onnx": {"sha256": "0" * 64, "size": 64 << 20} for number in range(5)}
    directory = _signed_text(
        tmp_path / "bundle", _edited(files={**files, "tiny.onnx": {"sha256": "0" * 64, "size": 1}})
    )
    for name in (*files, "tiny.onnx"):
        (directory / name).touch()
    with pytest.raises(DirectoryRefused, match="files add up to"):
        opened(directory, trust)
