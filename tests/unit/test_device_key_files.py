"""Device keys in files: made once, never replaced, refused where they prove nothing or where others can read them."""

import os
import stat
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

import signing
from daemon import config
from signing.chain import key_id
from signing.device_key import CREDENTIAL, DEVELOPMENT_FILE, DeviceKey, Kind, open_device_key
from signing.errors import KeyRefused
from signing.keyring import DEVELOPMENT_MARK
from signing.public_key import public_key_file

NO_TPM = "device:/nowhere/tpmrm0"
MARK = f"{DEVELOPMENT_MARK}\n".encode()


def _open(kind: Kind, folder: Path | None, production: bool = False) -> DeviceKey:
    return open_device_key(kind, folder or Path("/nowhere"), folder, NO_TPM, production=production)


def _refusal(kind: Kind, folder: Path | None, production: bool = False) -> str:
    with pytest.raises(KeyRefused) as caught:
        _open(kind, folder, production)
    (line,) = str(caught.value).splitlines()
    return line


def _pem(
    key: EllipticCurvePrivateKey | Ed25519PrivateKey | None = None,
    form: PrivateFormat = PrivateFormat.PKCS8,
    encryption: KeySerializationEncryption | None = None,
) -> bytes:
    made = key or generate_private_key(SECP256R1())
    return made.private_bytes(Encoding.PEM, form, encryption or NoEncryption())


def _put(folder: Path, pem: bytes, mode: int = 0o400) -> Path:
    path = folder / CREDENTIAL
    path.write_bytes(pem)
    path.chmod(mode)
    return path


def test_a_development_key_is_made_once_marked_and_for_its_owner_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        first = _open("development", tmp_path)
    finally:
        os.umask(old)
    path = tmp_path / DEVELOPMENT_FILE
    raw = path.read_bytes()
    assert raw.startswith(MARK)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in tmp_path.iterdir()] == [DEVELOPMENT_FILE]
    assert first.development
    assert _open("development", tmp_path).public_der == first.public_der
    assert path.read_bytes() == raw


def test_a_file_left_by_a_power_cut_does_not_stop_the_next_start(tmp_path: Path) -> None:
    (tmp_path / f".{DEVELOPMENT_FILE}.{os.getpid()}.tmp").write_bytes(b"half")
    assert _open("development", tmp_path).development
    assert [found.name for found in tmp_path.iterdir()] == [DEVELOPMENT_FILE]


@pytest.mark.clause("IEC 62443-4-2 CR 3.4")
def test_a_development_key_is_refused_in_production_and_none_is_made(tmp_path: Path) -> None:
    assert "refused in production" in _refusal("development", tmp_path, production=True)
    assert list(tmp_path.iterdir()) == []


def test_a_development_key_as_a_credential_is_refused_in_production_and_known_as_one(tmp_path: Path) -> None:
    _put(tmp_path, MARK + _pem())
    assert _open("credential", tmp_path).development
    assert "refused in production" in _refusal("credential", tmp_path, production=True)


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600, 0o640])
@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_a_credential_of_either_form_is_a_production_key(tmp_path: Path, mode: int, form: PrivateFormat) -> None:
    private = generate_private_key(SECP256R1())
    _put(tmp_path, _pem(private, form), mode)
    key = _open("credential", tmp_path, production=True)
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert (key.public_der, key.kind, key.development) == (public, "credential", False)
    assert key.anchored() is None


@pytest.mark.clause("21 CFR 11.70", "IEC 62443-4-2 CR 3.9")
@pytest.mark.parametrize("mode", [0o444, 0o604, 0o620, 0o602, 0o777])
def test_a_key_that_others_can_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    _put(tmp_path, _pem(), mode)
    assert f"mode {mode:04o}" in _refusal("credential", tmp_path)
    _open("development", tmp_path)
    (tmp_path / DEVELOPMENT_FILE).chmod(mode)
    assert f"mode {mode:04o}" in _refusal("development", tmp_path)


@pytest.mark.parametrize(
    ("pem", "text"),
    [
        (b"", "not an unencrypted PEM"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not an unencrypted PEM"),
        (_pem()[:-60], "not an unencrypted PEM"),
        (_pem(encryption=BestAvailableEncryption(b"secret")), "not an unencrypted PEM"),
        (_pem(generate_private_key(SECP384R1())), "not an ECDSA P-256 key"),
        (_pem(Ed25519PrivateKey.generate()), "not an ECDSA P-256 key"),
    ],
    ids=["empty", "damaged", "cut off", "encrypted", "P-384", "Ed25519"],
)
def test_a_damaged_or_foreign_key_is_one_line_and_stays_as_it_is(tmp_path: Path, pem: bytes, text: str) -> None:
    _put(tmp_path, pem)
    line = _refusal("credential", tmp_path)
    assert text in line
    assert str(tmp_path / CREDENTIAL) in line
    path = tmp_path / DEVELOPMENT_FILE
    path.write_bytes(MARK + pem)
    path.chmod(0o600)
    assert text in _refusal("development", tmp_path)
    assert path.read_bytes() == MARK + pem


def test_a_file_without_the_mark_is_no_development_key_of_ours(tmp_path: Path) -> None:
    path = tmp_path / DEVELOPMENT_FILE
    for raw in (_pem(), b""):
        path.write_bytes(raw)
        path.chmod(0o600)
        assert "not a development key" in _refusal("development", tmp_path)
        assert path.read_bytes() == raw


def test_no_file_no_folder_and_no_credential_are_one_line(tmp_path: Path) -> None:
    assert CREDENTIAL in _refusal("credential", tmp_path)
    assert "recorder-credential.conf" in _refusal("credential", None)
    assert "cannot be made" in _refusal("development", tmp_path / "gone")


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    real = tmp_path / "real.pem"
    real.write_bytes(MARK + _pem())
    real.chmod(0o400)
    for name, make in (("pipe", os.mkfifo), ("folder", os.mkdir), ("link", lambda path: path.symlink_to(real))):
        folder = tmp_path / name
        folder.mkdir()
        make(folder / CREDENTIAL)
        make(folder / DEVELOPMENT_FILE)
        before = os.listdir("/proc/self/fd")
        assert str(folder) in _refusal("credential", folder)
        assert str(folder) in _refusal("development", folder)
        assert os.listdir("/proc/self/fd") == before


def test_a_device_without_a_tpm_says_so(tmp_path: Path) -> None:
    pytest.importorskip("tpm2_pytss", reason="needs tpm2-pytss (apt-get install libtss2-dev, then make setup)")
    assert _refusal("tpm", tmp_path).startswith("no TPM at /nowhere/tpmrm0: ")


def test_without_the_tpm_library_the_line_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tpm2_pytss", None)
    monkeypatch.delitem(sys.modules, "signing.tpm", raising=False)
    monkeypatch.delattr(signing, "tpm", raising=False)
    assert "linewarden[tpm]" in _refusal("tpm", tmp_path)


def test_the_public_key_in_a_records_folder_is_named_by_its_id(tmp_path: Path) -> None:
    key = _open("development", tmp_path)
    name, pem = public_key_file(key.public_der)
    assert name == f"keys/{key_id(key.public_der).hex()}.pem"
    assert pem.startswith("-----BEGIN PUBLIC KEY-----\n")
    other = generate_private_key(SECP384R1()).public_key()
    for der in (b"", b"no key", other.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)):
        with pytest.raises(KeyRefused):
            public_key_file(der)


def test_a_station_file_is_refused_that_wants_a_development_key_in_production(tmp_path: Path) -> None:
    path = tmp_path / "station.toml"
    path.write_text(STATION.format(production="true"))
    with pytest.raises(config.ConfigError, match=r"\$\.recorder\.key: a development key is refused"):
        config.load(path)
    path.write_text(STATION.format(production="false"))
    assert config.load(path).recorder.key == "development"
    path.write_text(STATION.format(production="true").replace('key = "development"', ""))
    assert (config.load(path).recorder.key, config.load(path).recorder.tpm) == ("tpm", "device:/dev/tpmrm0")


STATION = """
name = "box"
identity = 1
plc_identity = 2
production = {production}
[wiring]
kind = "modbus-client"
[geometry]
counts_per_mm = 10.0
gate_mm = 600.0
chute_eye_mm = 650.0
pass_eye_mm = 660.0
[[cameras]]
name = "side"
serial = "S1"
producer = "producer.cti"
station = 0
position_mm = 200.0
width = 1280
height = 1024
[vision]
bundle = "bundle"
recipe = "recipe"
trust = "trust"
[recorder]
key = "development"
"""
