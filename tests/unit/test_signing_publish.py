"""The fleet side makes what the device side accepts, durably and with private keys nobody else can read."""

import stat
from pathlib import Path

import pytest

from signing.errors import DirectoryRefused, DocumentInvalid, TrustStoreError
from signing.keyring import load_trust
from signing.publish import build_bundle, load_private_key, make_development_keys, sign, write_durably
from signing.sealed import open_directory
from signing.trust import Role
from signing.verify import verify
from tests.vectors import bundle_0

GRAPH = {"tiny.onnx": bundle_0.tiny_model().SerializeToString()}


def test_build_sign_verify(tmp_path: Path) -> None:
    make_development_keys(tmp_path / "trust")
    digest = build_bundle(bundle_0.bundle_description(), GRAPH, tmp_path / "bundle")
    for role in Role:
        sign(tmp_path / "bundle", role, load_private_key(tmp_path / "trust" / "private" / f"{role}.pem"))
    with open_directory(tmp_path / "bundle") as fd:
        assert verify(fd, load_trust(tmp_path / "trust", production=False)).digest == digest


def test_private_keys_are_private_and_fresh(tmp_path: Path) -> None:
    first = make_development_keys(tmp_path / "one")
    second = make_development_keys(tmp_path / "two")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "one" / "private").iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE((tmp_path / "one" / "private").stat().st_mode) == 0o700
    numbers = {key.private_numbers().private_value for key in (*first.values(), *second.values())}
    assert len(numbers) == 4


def test_what_the_device_would_refuse_is_not_built(tmp_path: Path) -> None:
    with pytest.raises(DocumentInvalid):
        build_bundle({**bundle_0.bundle_description(), "version": "one"}, GRAPH, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    build_bundle(bundle_0.bundle_description(), GRAPH, tmp_path / "bundle")
    with pytest.raises(DirectoryRefused, match="exists already"):
        build_bundle(bundle_0.bundle_description(), GRAPH, tmp_path / "bundle")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old")
    with pytest.raises(TypeError):
        write_durably(path, "not bytes")  # type: ignore[arg-type]  # the failure half-way is what is tested
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_only_documents_are_signed(tmp_path: Path) -> None:
    with pytest.raises(DirectoryRefused, match="build it first"):
        sign(tmp_path, Role.QA, bundle_0.STRANGER)


def test_broken_private_keys_say_so(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(b"nothing")
    with pytest.raises(TrustStoreError, match="not an unencrypted PEM private key"):
        load_private_key(tmp_path / "key.pem")
    with pytest.raises(TrustStoreError, match="No such file"):
        load_private_key(tmp_path / "absent.pem")
