"""One contract for every kind of device key: a development key, a credential, a TPM."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_public_key,
    load_pem_public_key,
)

from signing.chain import START, fold, head_text, key_id, note, parse_note
from signing.device_key import CREDENTIAL, DeviceKey, Kind, open_device_key
from signing.public_key import public_key_file
from tests.contract.software_tpm import SoftwareTpm, needs_tpm, software_tpm, software_tpm_at_sockets

TPMS = {"tpm": software_tpm, "tpm at sockets": software_tpm_at_sockets}
TEXT = head_text("linewarden/line-3/00000001", 4711, bytes(range(32)))


class Device:
    """A computer with one kind of key, which can be switched off and on."""

    def __init__(self, kind: Kind, folder: Path, tpm: SoftwareTpm | None) -> None:
        self.kind, self._folder, self._tpm = kind, folder, tpm
        if kind == "credential":
            pem = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            (folder / CREDENTIAL).write_bytes(pem)
            (folder / CREDENTIAL).chmod(0o440)

    def open(self) -> DeviceKey:
        tcti = self._tpm.tcti if self._tpm else "device:/nowhere"
        return open_device_key(self.kind, self._folder, self._folder, tcti, production=False)

    def restart(self) -> None:
        if self._tpm:
            self._tpm.restart()


@pytest.fixture(params=["development", "credential", *(pytest.param(name, marks=needs_tpm) for name in TPMS)])
def make_device(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Device]]:
    with ExitStack() as stack:

        def make(name: str) -> Device:
            folder = tmp_path / name
            folder.mkdir()
            if request.param not in TPMS:
                return Device(request.param, folder, None)
            return Device("tpm", folder, stack.enter_context(TPMS[request.param](folder / "chip")))

        yield make


@pytest.fixture
def device(make_device: Callable[[str], Device]) -> Device:
    return make_device("device")


def _verify(public_der: bytes, signature: bytes, text: bytes) -> None:
    load_der_public_key(public_der).verify(signature, text, ECDSA(SHA256()))


@pytest.mark.clause("21 CFR 11.70", "21 CFR 11.10(a)")
def test_its_signature_verifies_and_only_over_that_text(device: Device) -> None:
    with closing(device.open()) as key:
        signature = key.sign(TEXT.encode())
        _verify(key.public_der, signature, TEXT.encode())
        with pytest.raises(InvalidSignature):
            _verify(key.public_der, signature, TEXT.replace("4711", "4712").encode())
        assert (key.kind, key.key_id) == (device.kind, key_id(key.public_der))


def test_it_signs_a_checkpoint_as_it_leaves_the_device(device: Device) -> None:
    with closing(device.open()) as key:
        written = note(TEXT, [("linewarden/line-3/00000001", key.key_id, key.sign(TEXT.encode()))])
        name, pem = public_key_file(key.public_der)
    ((found, signature),) = parse_note(written).signatures
    assert name == f"keys/{found.hex()}.pem"
    load_pem_public_key(pem.encode()).verify(signature, TEXT.encode(), ECDSA(SHA256()))


def test_the_key_survives_reopening_and_a_power_cut(device: Device) -> None:
    with closing(device.open()) as key:
        first = key.public_der
    with closing(device.open()) as key:
        assert key.public_der == first
    device.restart()
    with closing(device.open()) as key:
        assert key.public_der == first
        _verify(first, key.sign(b"after"), b"after")


@pytest.mark.clause("21 CFR 11.10(h)", "ALCOA+ attributable")
def test_another_device_has_another_key(make_device: Callable[[str], Device]) -> None:
    found = []
    for name in ("one", "other"):
        with closing(make_device(name).open()) as key:
            found.append(key.public_der)
    assert found[0] != found[1]


@pytest.mark.clause("21 CFR 11.10(a)", "IEC 62443-4-2 CR 3.9")
def test_the_anchor_is_the_fold_of_what_was_anchored_or_there_is_none(device: Device) -> None:
    expected: bytes | None = START if device.kind == "tpm" else None
    with closing(device.open()) as key:
        assert key.anchored() == expected
        for number in range(3):
            digest = hashlib.sha256(b"note %d" % number).digest()
            key.anchor(digest)
            expected = None if expected is None else fold(expected, digest)
            assert key.anchored() == expected
    device.restart()
    with closing(device.open()) as key:
        assert key.anchored() == expected


def test_it_works_from_another_thread_than_it_was_opened_in(device: Device) -> None:
    done: list[bytes] = []
    with closing(device.open()) as key:

        def work() -> None:
            key.anchor(bytes(32))
            done.append(key.sign(b"text"))

        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
        _verify(key.public_der, done[0], b"text")


def test_it_can_be_closed_twice(device: Device) -> None:
    key = device.open()
    key.close()
    key.close()
