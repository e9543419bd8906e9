"""Anybody can check a bundle without our software: `model_signing verify key` of OpenSSF Model Signing, as released."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from signing.key_file import private_pem
from signing.keyring import load_trust
from signing.sealed import open_directory
from signing.trust import Role, public_pem
from signing.verify import verify
from tests.vectors import bundle_1

STOCK = Path(sys.executable).with_name("model_signing")
# Its CLI starts OpenTelemetry, which has nowhere to report to.
ENVIRONMENT = {**os.environ, "OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "none"}


def stock(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(STOCK), *map(str, arguments)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)


def accepted(directory: Path, role: Role, keys: Path) -> bool:
    signature = directory / "signatures" / f"{role}.sig"
    found = stock("verify", "key", "--public_key", keys / f"{role}.pub", "--signature", signature, directory)
    assert ("Verification succeeded" in found.stdout) == (found.returncode == 0)
    return found.returncode == 0


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for role, key in bundle_1.KEYS.items():
        (folder / f"{role}.pub").write_bytes(public_pem(key.public_key()))
    return folder


@pytest.mark.clause("21 CFR 11.30", "21 CFR 11.70", "IEC 62443-4-2 CR 3.4")
@pytest.mark.parametrize("role", Role)
def test_both_signatures_of_a_bundle_are_accepted(keys: Path, role: Role) -> None:
    assert accepted(bundle_1.ROOT / "bundle", role, keys)


def test_the_signature_of_a_recipe_is_accepted(keys: Path) -> None:
    assert accepted(bundle_1.ROOT / "recipe", Role.QA, keys)


def test_one_flipped_bit_is_refused(tmp_path: Path, keys: Path) -> None:
    bundle_1.make_bundle(tmp_path / "bundle")
    bundle_1.flip(tmp_path / "bundle" / "tiny.onnx")
    assert not accepted(tmp_path / "bundle", Role.QA, keys)


def test_what_the_stock_signer_makes_is_accepted_here(tmp_path: Path) -> None:
    """A person may sign with the stock tool; the approval beside it stays ours."""
    bundle, key = tmp_path / "bundle", tmp_path / "qa.pem"
    bundle_1.make_bundle(bundle)
    key.write_bytes(private_pem(bundle_1.KEYS[Role.QA]))
    signature = bundle / "signatures" / "qa.sig"
    signature.unlink()
    ignored = ("--ignore-paths", bundle / "signatures")
    made = stock("sign", "key", "--private_key", key, *ignored, "--signature", signature, bundle)
    assert made.returncode == 0, made.stdout + made.stderr
    with open_directory(bundle) as fd:
        assert verify(fd, load_trust(bundle_1.ROOT / "trust", production=False)).manifest.name == "tiny"
