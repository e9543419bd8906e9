"""People's keys in a PKCS#11 token (SoftHSM): they sign like files do, and every mishap is one line."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet.errors import KeyUnusable
from fleet.people import open_signer, pin_from
from fleet.signatures import Words, sign_directory
from signing.keyring import load_trust, read_trust
from signing.sealed import open_directory
from signing.trust import Role
from signing.verify import verify
from tests.contract.software_token import MODULE, init_token, needs_softhsm
from tests.vectors import bundle_1

pytestmark = needs_softhsm
PIN = "1234"


@dataclass(frozen=True, slots=True)
class Token:
    """A token `qa` with a P-256 key 2 and a P-384 key 3, and a file with its PIN."""

    module: Path
    pin: Path
    folder: Path


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Token]:
    assert MODULE is not None
    folder = tmp_path_factory.mktemp("token")
    (folder / "pin").write_text(f"{PIN}\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(init_token(folder, "qa", PIN))
    # Made in a process of its own: the library is initialised once in a process, and must find the token then.
    make = [sys.executable, "-c", MAKE_KEYS, str(MODULE)]
    subprocess.run(make, check=True, capture_output=True, timeout=60)
    yield Token(MODULE, folder / "pin", folder)
    os.environ.pop("SOFTHSM2_CONF") if before is None else os.environ.update(SOFTHSM2_CONF=before)


MAKE_KEYS = f"""
import sys
import pkcs11
from pkcs11.util.ec import encode_named_curve_parameters
with pkcs11.lib(sys.argv[1]).get_token(token_label="qa").open(rw=True, user_pin="{PIN}") as session:
    for number, curve in ((2, "secp256r1"), (3, "secp384r1")):
        values = {{pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}}
        parameters = session.create_domain_parameters(pkcs11.KeyType.EC, values, local=True)
        parameters.generate_keypair(id=bytes([number]), label="key", store=True)
"""


@pytest.mark.clause("21 CFR 11.70", "21 CFR 11.30")
def test_a_key_in_a_token_signs_a_bundle(tmp_path: Path, token: Token) -> None:
    qa = open_signer("pkcs11:token=qa;object=key;id=%02", module=token.module, ask_pin=pin_from(token.pin))
    assert qa.signer.public_key.keyid == qa.key_id
    bundle_1.make_bundle(tmp_path / "bundle")
    sign_directory(tmp_path / "bundle", Role.QA, qa.signer, Words("Chen Li", "approval", "in a token"), bundle_1.NOW)
    store = (bundle_1.ROOT / "trust" / "trust.json").read_text()
    known = read_trust(store.encode(), "trust.json", production=False)
    old = next(iter(known.roles[Role.QA]))
    with_token = _replaced(store, old, qa.key_id, qa.public_pem.decode())
    (tmp_path / "trust.json").write_text(with_token)
    with open_directory(tmp_path / "bundle") as fd:
        verified = verify(fd, load_trust(tmp_path, production=False))
    assert [approval.printed_name for approval in verified.approvals] == ["Chen Li", "Jonas Weber"]


def _replaced(store: str, old: str, key_id: str, pem: str) -> str:
    content = json.loads(store)
    del content["people"][old]
    content["people"][key_id] = {"name": "Chen Li", "algorithm": "ecdsa-sha2-nistp256", "public": pem}
    content["roles"]["qa"] = [key_id]
    return json.dumps(content)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("pkcs11:token=qa;id=%09", "could not find ECDSA key"),
        ("pkcs11:token=other;id=%02", "No PKCS#11 token found for label other"),
        ("pkcs11:token=qa;id=%03", "not an ECDSA P-256 key"),
    ],
)
def test_a_key_that_is_not_there_is_said(token: Token, uri: str, shown: str) -> None:
    with pytest.raises(KeyUnusable) as caught:
        open_signer(uri, module=token.module, ask_pin=pin_from(token.pin))
    assert shown in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_pin_is_one_line_and_signs_nothing(tmp_path: Path, token: Token) -> None:
    bundle_1.make_bundle(tmp_path / "bundle")
    before = (tmp_path / "bundle" / "signatures" / "qa.sig").read_bytes()
    signer = open_signer("pkcs11:token=qa;id=%02", module=token.module, ask_pin=lambda: "9999").signer
    with pytest.raises(KeyUnusable, match="the PIN is wrong") as caught:
        sign_directory(tmp_path / "bundle", Role.QA, signer, Words("A", "m", "r"), bundle_1.NOW)
    assert "\n" not in str(caught.value)
    assert "9999" not in str(caught.value)
    assert (tmp_path / "bundle" / "signatures" / "qa.sig").read_bytes() == before


def test_the_pin_is_asked_for_once(token: Token) -> None:
    asked: list[str] = []

    def ask() -> str:
        asked.append(PIN)
        return PIN

    signer = open_signer("pkcs11:token=qa;id=%02", module=token.module, ask_pin=ask).signer
    assert signer.sign(b"one") != signer.sign(b"two")
    assert asked == [PIN]


def test_a_file_that_is_no_library_is_said(token: Token) -> None:
    with pytest.raises(KeyUnusable) as caught:
        open_signer("pkcs11:token=qa;id=%02", module=token.pin, ask_pin=pin_from(token.pin))
    assert "\n" not in str(caught.value)
