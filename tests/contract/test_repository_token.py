"""People's keys in PKCS#11 tokens (softhsm2): a role is signed, published and believed by a device."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from fleet.errors import NotDone
from fleet.people import ssl_key
from fleet.repository_plan import Keyholder
from tests.contract.software_token import MODULE, init_token, needs_softhsm
from tests.contract.update_world import NOW, World, build_world

needs_pkcs11_tool = pytest.mark.skipif(
    shutil.which("pkcs11-tool") is None, reason="needs pkcs11-tool (apt-get install opensc)"
)
PIN = "1234"
# A process of its own: the library of a token reads its configuration once in a process's life.
SIGN = """
import sys
from pathlib import Path
from fleet.people import open_signer
from fleet.repository import RepositoryBuilder
builder, module = RepositoryBuilder(Path(sys.argv[1])), Path(sys.argv[2])
signer = open_signer(sys.argv[3], module=module, ask_pin=lambda: sys.stdin.readline().strip()).signer
print(*builder.sign(signer))
"""
PUBLIC = """
import sys
from pathlib import Path
from fleet.people import open_signer
signer = open_signer(sys.argv[2], module=Path(sys.argv[1]), ask_pin=lambda: sys.stdin.readline().strip()).signer
print(signer.public_key.keyid, signer.public_key.keyval["public"], sep="\\n")
"""


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a token with one key; return the key's address."""
    monkeypatch.setenv("SOFTHSM2_CONF", str(init_token(tmp_path, "anna", PIN)))
    tool = ["pkcs11-tool", "--module", str(MODULE), "--token-label", "anna", "--login", "--pin", PIN]
    subprocess.run(
        [*tool, "--keypairgen", "--key-type", "EC:prime256v1", "--id", "02"], check=True, capture_output=True
    )
    return "pkcs11:token=anna;id=%02"


def _run(script: str, *arguments: str, pin: str = PIN) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *arguments]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    return subprocess.run(command, input=f"{pin}\n", capture_output=True, text=True, env=environment, check=False)


def _with_token(world: World, token: str) -> World:
    """Put the token's key in the place of Anna Berg's."""
    told = _run(PUBLIC, str(MODULE), token)
    assert told.returncode == 0, told.stderr
    _, _, public = told.stdout.partition("\n")
    key = load_pem_public_key(public.encode())
    assert isinstance(key, EllipticCurvePublicKey)
    world.builder.replace_person(world.keys.qa.public_key.keyid, Keyholder("Anna Berg", ssl_key(key)), NOW)
    for signer in (*world.keys.top, world.keys.release):
        world.builder.sign(signer)
    return world


@needs_softhsm
@needs_pkcs11_tool
def test_a_role_is_signed_by_a_token(token: str, tmp_path: Path) -> None:
    world = _with_token(build_world(tmp_path / "world"), token)
    with pytest.raises(NotDone, match="needs 1 more of Anna Berg"):
        world.builder.publish(world.keys.online, NOW)
    signed = _run(SIGN, str(world.builder.folder), str(MODULE), token)
    assert signed.stdout.split() == ["allowlists", "bundles", "recipes", "releases"], signed.stderr
    world.builder.publish(world.keys.online, NOW)
    assert world.device.install(world.public, world.index("1.1.0")).version == "1.1.0"


@needs_softhsm
@needs_pkcs11_tool
def test_a_wrong_pin_is_one_line_and_signs_nothing(token: str, tmp_path: Path) -> None:
    world = _with_token(build_world(tmp_path / "world"), token)
    signed = _run(SIGN, str(world.builder.folder), str(MODULE), token, pin="9999")
    assert signed.returncode == 1 and "NotDone" in signed.stderr.splitlines()[-1]
    assert "PIN is wrong" in signed.stderr.splitlines()[-1]
    assert all(waiting.people == ("Anna Berg",) for waiting in world.builder.waiting())
