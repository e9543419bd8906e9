"""The fleet side makes what the device side accepts, whole or not at all, with private keys nobody else can read."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from daemon.recipe import read_recipe
from fleet import cli, cli_setup
from fleet.building import DEVELOPERS, make_development_keys
from fleet.errors import KeyUnusable, NotSigned
from fleet.folder import FLEET_DOCUMENT
from fleet.journal import FILE as JOURNAL
from fleet.people import open_signer, pin_from, token_address
from fleet.signatures import Words, sign_directory
from provisioning.sbom import installed_sbom
from provisioning.unsigned import NotBuilt, build_bundle, build_recipe
from signing.durable import write_durably
from signing.errors import DocumentInvalid
from signing.key_file import private_pem
from signing.keyring import load_trust
from signing.sealed import open_directory
from signing.trust import Role
from signing.verify import verify, verify_recipe
from tests.vectors import bundle_1

WORDS = {role: Words(name, "approval", "first release") for role, name in DEVELOPERS.items()}


def sources() -> dict[str, bytes | Path]:
    graph = bundle_1.tiny_model().SerializeToString()
    return {"tiny.onnx": graph, "golden.png": bundle_1.golden_png(), "sbom.cdx.json": installed_sbom("tiny", "1.0.0")}


def sign_both(directory: Path, trust: Path) -> None:
    for role in Role:
        signer = open_signer(f"file:{trust / 'private' / role}.pem").signer
        sign_directory(directory, role, signer, WORDS[role], bundle_1.NOW)


@pytest.mark.clause("21 CFR 11.50", "21 CFR 11.70")
def test_what_was_built_and_signed_is_accepted(tmp_path: Path) -> None:
    make_development_keys(tmp_path / "trust")
    (tmp_path / "graph").write_bytes(bundle_1.tiny_model().SerializeToString())
    digest = build_bundle(
        bundle_1.bundle_description(), {**sources(), "tiny.onnx": tmp_path / "graph"}, tmp_path / "bundle"
    )
    recipe = build_recipe(bundle_1.recipe_description(digest), tmp_path / "recipe")
    trust = load_trust(tmp_path / "trust", production=False)
    for name in ("bundle", "recipe"):
        sign_both(tmp_path / name, tmp_path / "trust")
        sign_both(tmp_path / name, tmp_path / "trust")
    with open_directory(tmp_path / "bundle") as fd:
        bundle = verify(fd, trust)
    with open_directory(tmp_path / "recipe") as fd:
        verified = verify_recipe(fd, trust)
    assert (bundle.digest, verified.digest, read_recipe(verified).bundle) == (digest, recipe, digest)
    assert [approval.reason for approval in bundle.approvals] == ["first release", "first release"]


def test_private_keys_are_private_and_fresh(tmp_path: Path) -> None:
    first = make_development_keys(tmp_path / "one")
    second = make_development_keys(tmp_path / "two")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "one" / "private").iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE((tmp_path / "one" / "private").stat().st_mode) == 0o700
    numbers = {key.private_numbers().private_value for key in (*first.values(), *second.values())}
    assert len(numbers) == 4


@pytest.mark.parametrize("change", [{"version": "one"}, {"sbom": "x"}, {"golden": {}}, {"training": {}}])
def test_a_bundle_that_the_device_would_refuse_is_not_built(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(DocumentInvalid):
        build_bundle({**bundle_1.bundle_description(), **change}, sources(), tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_whose_source_is_missing_is_not_built(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        build_bundle(
            bundle_1.bundle_description(), {**sources(), "tiny.onnx": tmp_path / "absent"}, tmp_path / "bundle"
        )
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_without_evidence_is_not_built(tmp_path: Path) -> None:
    description = json.loads(json.dumps(bundle_1.recipe_description("0" * 64)))
    del description["views"][0]["limits"]["grey"]["evidence"]["owner"]
    with pytest.raises(DocumentInvalid, match="missing required field `owner`"):
        build_recipe(description, tmp_path / "recipe")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    build_bundle(bundle_1.bundle_description(), sources(), tmp_path / "bundle")
    with pytest.raises(NotBuilt, match="exists already"):
        build_bundle(bundle_1.bundle_description(), sources(), tmp_path / "bundle")
    with pytest.raises(NotBuilt, match="exists already"):
        make_development_keys(tmp_path / "bundle")


def _damage(directory: Path, how: str) -> None:
    if how == "flipped":
        bundle_1.flip(directory / "tiny.onnx")
    elif how == "surplus":
        (directory / "more.bin").touch()
    elif how == "missing":
        (directory / "golden.png").unlink()
    else:
        (directory / "bundle.json").write_text("{}")


@pytest.mark.parametrize("how", ["flipped", "surplus", "missing", "nonsense"])
def test_a_person_does_not_sign_what_is_not_whole(tmp_path: Path, how: str) -> None:
    build_bundle(bundle_1.bundle_description(), sources(), tmp_path / "bundle")
    _damage(tmp_path / "bundle", how)
    signer = bundle_1.NumberSigner(bundle_1.STRANGER)
    with pytest.raises(NotSigned) as caught:
        sign_directory(tmp_path / "bundle", Role.QA, signer, WORDS[Role.QA], bundle_1.NOW)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "bundle" / "signatures").exists()


@pytest.mark.parametrize(
    "words", [Words("", "m", "r"), Words("A", "", "r"), Words("A", "m", ""), Words("A\n", "m", "r")]
)
def test_a_signature_without_name_meaning_and_reason_is_not_made(tmp_path: Path, words: Words) -> None:
    build_recipe(bundle_1.recipe_description("0" * 64), tmp_path / "recipe")
    with pytest.raises(NotSigned, match="correct name, meaning or reason"):
        sign_directory(tmp_path / "recipe", Role.QA, bundle_1.NumberSigner(bundle_1.STRANGER), words, bundle_1.NOW)
    assert not (tmp_path / "recipe" / "signatures").exists()


def test_only_documents_are_signed(tmp_path: Path) -> None:
    with pytest.raises(NotSigned, match="build it first"):
        sign_directory(tmp_path, Role.QA, bundle_1.NumberSigner(bundle_1.STRANGER), WORDS[Role.QA], bundle_1.NOW)


def test_unusable_key_files_say_so(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(b"nothing")
    (tmp_path / "curve.pem").write_bytes(private_pem(generate_private_key(SECP384R1())))
    for uri, shown in (
        ("key.pem", "not the address of a key"),
        ("file:", "not the address of a key"),
        (f"file:{tmp_path / 'key.pem'}", "not an unencrypted PEM private key"),
        (f"file:{tmp_path / 'absent.pem'}", "No such file"),
        (f"file:{tmp_path / 'curve.pem'}", "not an ECDSA P-256 key"),
        (f"file:{tmp_path}", "Is a directory"),
        ("pkcs11:token=qa;id=%02", "PKCS#11 library  is not there"),
        ("pkcs11:token=qa;id=%02?pin-value=1234", "only token=, object= and id= are read"),
        ("pkcs11:token=qa;object=key", "token= and id= must name one key"),
        ("pkcs11:token=qa;pin-source=x;id=%02", "only token=, object= and id= are read"),
    ):
        with pytest.raises(KeyUnusable) as caught:
            open_signer(uri)
        assert shown in str(caught.value)
        assert "\n" not in str(caught.value)
        assert "1234" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("token=qa;id=%02?pin-value=1234", "only token=, object= and id= are read"),
        ("token=qa;id=%00%02", "token= and id= must name one key"),
        ("token=qa;id=%02;slot=1", "only token=, object= and id= are read"),
        ("token=qa;pin-value=1234;id=%02", "only token=, object= and id= are read"),
        ("token=qa;object=key", "token= and id= must name one key"),
        ("id=%02", "token= and id= must name one key"),
    ],
)
def test_no_key_is_made_at_an_address_that_cannot_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], address: str, shown: str
) -> None:
    made: list[object] = []
    monkeypatch.setattr(cli_setup, "make_token_key", lambda *given: made.append(given))
    (tmp_path / FLEET_DOCUMENT).touch()
    words = ["key", "new", f"pkcs11:{address}", "--module", str(tmp_path / "module"), "--yes", "--fleet", str(tmp_path)]
    assert cli.main(words) == cli.FAILED
    out, err = capsys.readouterr()
    assert (made, out, err.count("\n"), (tmp_path / JOURNAL).exists()) == ([], "", 1, False)
    assert shown in err
    assert "1234" not in err


def test_an_address_of_a_token_is_read_as_it_is_written() -> None:
    rest = "token=qa%20one;object=Anna%27s;id=%02%00"
    assert token_address(f"pkcs11:{rest}", rest) == ("qa one", 0x0200, "Anna's")
    assert token_address("pkcs11:token=qa;id=%02", "token=qa;id=%02") == ("qa", 2, "")


@pytest.mark.parametrize(("address", "raw", "name"), [("id=%02%00", b"\2\0", "qa"), ("object=a;id=%7f", b"\x7f", "a")])
def test_a_key_is_made_with_the_id_that_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, raw: bytes, name: str
) -> None:
    made: list[object] = []
    monkeypatch.setattr(cli_setup, "make_token_key", lambda *given: made.extend(given[1:4]))
    monkeypatch.setattr(cli_setup, "_shown", lambda *_given: {})
    words = ["key", "new", f"pkcs11:token=qa;{address}", "--module", str(tmp_path), "--yes", "--fleet", str(tmp_path)]
    assert (cli.main(words), made) == (0, ["qa", raw, name])


def test_keys_of_other_kinds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "ed.pem"
    path.write_bytes(private_pem(Ed25519PrivateKey.generate()))  # type: ignore[arg-type]
    with pytest.raises(KeyUnusable, match="not an elliptic-curve key"):
        open_signer(f"file:{path}")


@pytest.mark.parametrize(
    ("content", "shown"),
    [(b"", "not one line"), (b"a\nb\n", "not one line"), (b"x" * 300, "not one line"), (None, "No ")],
)
def test_a_pin_file_is_one_line(tmp_path: Path, content: bytes | None, shown: str) -> None:
    if content is not None:
        (tmp_path / "pin").write_bytes(content)
    with pytest.raises(KeyUnusable, match=shown):
        pin_from(tmp_path / "pin")()


def test_a_pin_is_read_from_a_file_or_a_descriptor(tmp_path: Path) -> None:
    (tmp_path / "pin").write_bytes(b"1234\n")
    assert pin_from(tmp_path / "pin")() == "1234"
    with (tmp_path / "pin").open("rb") as file:
        assert pin_from(file.fileno())() == "1234"


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old")
    with pytest.raises(TypeError):
        write_durably(path, "not bytes")  # type: ignore[arg-type]  # the failure half-way is what is tested
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
