"""What only a TPM does: handles, passwords, other programs, an owner that clears it, a chip that goes away."""

import os
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from signing.chain import START, fold
from signing.device_key import DeviceKey, open_device_key
from signing.errors import KeyFailed, KeyRefused
from tests.contract.software_tpm import MISSING, SoftwareTpm, needs_tpm, software_tpm, software_tpm_at_sockets

pytestmark = needs_tpm
tss = pytest.importorskip("tpm2_pytss", reason=f"needs {' and '.join(MISSING)}")
chip = pytest.importorskip("signing.tpm", reason=f"needs {' and '.join(MISSING)}")
tpm_chip = pytest.importorskip("signing.tpm_chip", reason=f"needs {' and '.join(MISSING)}")
OWNER = tss.ESYS_TR.OWNER
SIGNING = "ecc256:ecdsa-sha256"
KEY = tss.TPMA_OBJECT.USERWITHAUTH | tss.TPMA_OBJECT.SIGN_ENCRYPT | tss.TPMA_OBJECT.SENSITIVEDATAORIGIN


@pytest.fixture
def tpm(tmp_path: Path) -> Iterator[SoftwareTpm]:
    with software_tpm(tmp_path / "state") as running:
        yield running


@pytest.fixture
def tpm_at_sockets(tmp_path: Path) -> Iterator[SoftwareTpm]:
    with software_tpm_at_sockets(tmp_path / "state at sockets") as running:
        yield running


def _open(tcti: str, production: bool = False) -> DeviceKey:
    return open_device_key("tpm", Path("/nowhere"), None, tcti, production=production)


@contextmanager
def _direct(tpm: SoftwareTpm) -> Iterator[Any]:
    """Another program at the same TPM."""
    with closing(tss.ESAPI(tpm.tcti)) as esapi:
        yield esapi


def _loaded(esapi: Any) -> tuple[list[int], list[int]]:
    """Handles of transient objects and of loaded sessions."""
    _, objects = esapi.get_capability(tss.TPM2_CAP.HANDLES, 0x80000000, 16)
    _, sessions = esapi.get_capability(tss.TPM2_CAP.HANDLES, 0x02000000, 16)
    return list(objects.data.handles), list(sessions.data.handles)


def _connections() -> list[str]:
    found = [os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    return sorted(target for target in found if target.startswith(("socket:", "/dev/pts")))


def _refusal(tcti: str, production: bool = False) -> str:
    """The one line; while its traceback keeps everything alive, the connection to the TPM is closed already."""
    before = _connections()
    with pytest.raises(KeyRefused) as caught:
        _open(tcti, production)
    assert _connections() == before
    (line,) = str(caught.value).splitlines()
    return line


def test_fifty_signatures_and_twenty_anchors_leave_no_handle_behind(tpm: SoftwareTpm) -> None:
    value = START
    with closing(_open(tpm.tcti)) as key:
        for number in range(50):
            key.sign(b"checkpoint %d" % number)
        for _ in range(20):
            digest = secrets.token_bytes(32)
            key.anchor(digest)
            value = fold(value, digest)
        assert key.anchored() == value
    with _direct(tpm) as esapi:
        assert _loaded(esapi) == ([], [])


@pytest.mark.clause("21 CFR 11.70", "IEC 62443-4-2 CR 3.9")
def test_the_private_key_was_made_in_the_tpm_and_cannot_leave_it(tpm: SoftwareTpm) -> None:
    _open(tpm.tcti).close()
    with _direct(tpm) as esapi:
        public, *_ = esapi.read_public(esapi.tr_from_tpmpublic(chip.KEY_HANDLE))
        attributes = public.publicArea.objectAttributes
    wanted = tss.TPMA_OBJECT.FIXEDTPM | tss.TPMA_OBJECT.FIXEDPARENT | tss.TPMA_OBJECT.SENSITIVEDATAORIGIN
    assert attributes & wanted == wanted


def test_an_owner_password_set_later_does_not_matter_and_one_set_before_is_one_line(tpm: SoftwareTpm) -> None:
    with _direct(tpm) as esapi:
        esapi.hierarchy_change_auth(OWNER, b"secret")
    assert "owner password" in _refusal(tpm.tcti)
    with _direct(tpm) as esapi:
        esapi.tr_set_auth(OWNER, b"secret")
        esapi.hierarchy_change_auth(OWNER, b"")
    with closing(_open(tpm.tcti)) as key:
        first = key.public_der
    with _direct(tpm) as esapi:
        esapi.hierarchy_change_auth(OWNER, b"secret")
    with closing(_open(tpm.tcti)) as key:
        key.anchor(bytes(32))
        key.sign(b"text")
        assert key.public_der == first


def test_a_cleared_tpm_lost_the_anchor_and_the_key_with_it(tpm: SoftwareTpm) -> None:
    with closing(_open(tpm.tcti)) as key:
        first = key.public_der
        key.anchor(bytes(32))
    with _direct(tpm) as esapi:
        esapi.clear(tss.ESYS_TR.LOCKOUT)
    with closing(_open(tpm.tcti)) as key:
        assert key.anchored() == START
        assert key.public_der != first


def test_an_emptied_handle_gives_the_same_key_and_a_deleted_index_an_empty_anchor(tpm: SoftwareTpm) -> None:
    with closing(_open(tpm.tcti)) as key:
        first = key.public_der
        key.anchor(bytes(32))
    with _direct(tpm) as esapi:
        esapi.evict_control(OWNER, esapi.tr_from_tpmpublic(chip.KEY_HANDLE), chip.KEY_HANDLE)
        esapi.nv_undefine_space(esapi.tr_from_tpmpublic(chip.ANCHOR_INDEX))
    with closing(_open(tpm.tcti)) as key:
        assert key.anchored() == START
        assert key.public_der == first


def test_another_programs_key_at_the_handle_is_refused(tpm: SoftwareTpm) -> None:
    with _direct(tpm) as esapi:
        primary, *_ = esapi.create_primary(None, "ecc")
        esapi.evict_control(OWNER, primary, chip.KEY_HANDLE)
        esapi.flush_context(primary)
    assert f"{chip.KEY_HANDLE:#x}" in _refusal(tpm.tcti)


def test_a_key_at_the_handle_that_does_not_sign_for_us_is_refused(tpm: SoftwareTpm) -> None:
    locked = tss.TPM2B_SENSITIVE_CREATE(tss.TPMS_SENSITIVE_CREATE(userAuth=b"secret"))
    with _direct(tpm) as esapi:
        primary, *_ = esapi.create_primary(locked, tpm_chip.key_template(chip._UNIQUE))
        esapi.evict_control(OWNER, primary, chip.KEY_HANDLE)
        esapi.flush_context(primary)
    assert "the checkpoint is not signed" in _refusal(tpm.tcti)


def test_another_programs_index_is_refused(tpm: SoftwareTpm) -> None:
    plain = tss.TPMS_NV_PUBLIC(
        nvIndex=chip.ANCHOR_INDEX,
        nameAlg=tss.TPM2_ALG.SHA256,
        attributes=tss.TPMA_NV.AUTHREAD | tss.TPMA_NV.AUTHWRITE,
        dataSize=32,
    )
    with _direct(tpm) as esapi:
        esapi.nv_define_space(None, tss.TPM2B_NV_PUBLIC(plain))
    assert f"{chip.ANCHOR_INDEX:#x}" in _refusal(tpm.tcti)


def test_a_tpm_that_goes_away_is_one_line_and_another_opening_works(
    tpm_at_sockets: SoftwareTpm, capfd: pytest.CaptureFixture[str]
) -> None:
    with closing(_open(tpm_at_sockets.tcti)) as key:
        key.anchor(bytes(32))
        tpm_at_sockets.stop()
        for call in (lambda: key.sign(b"text"), lambda: key.anchor(bytes(32)), key.anchored):
            with pytest.raises(KeyFailed) as caught:
                call()
            assert len(str(caught.value).splitlines()) == 1
    tpm_at_sockets.start()
    with closing(_open(tpm_at_sockets.tcti)) as key:
        assert key.anchored() == fold(START, bytes(32))
    assert capfd.readouterr().err == ""


def test_a_replaced_key_is_seen_at_the_next_signature(tpm: SoftwareTpm) -> None:
    """Within one opening: the TPM signs with what lies at the handle, whatever lay there before."""
    with closing(_open(tpm.tcti)) as key:
        esapi = key.chip.esapi
        esapi.evict_control(OWNER, esapi.tr_from_tpmpublic(chip.KEY_HANDLE), chip.KEY_HANDLE)
        template = tss.TPM2B_PUBLIC.parse(SIGNING, objectAttributes=KEY)
        other, *_ = esapi.create_primary(None, template)
        esapi.evict_control(OWNER, other, chip.KEY_HANDLE)
        esapi.flush_context(other)
        with pytest.raises(KeyFailed, match="another key"):
            key.sign(b"text")


def test_only_whole_digests_are_anchored(tpm: SoftwareTpm) -> None:
    with closing(_open(tpm.tcti)) as key:
        for digest in (b"", bytes(31), bytes(33)):
            with pytest.raises(ValueError, match="cannot be anchored"):
                key.anchor(digest)
        assert key.anchored() == START


@pytest.mark.parametrize("tcti", ["device:{0}/tpmrm0", "device:{0}", "swtpm:path={0}/none", "nonsense:x", ""])
def test_where_no_tpm_is_one_line_says_so(tcti: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert _refusal(tcti.format(tmp_path)).startswith("no TPM at ")
    assert capfd.readouterr().err == ""


def test_production_takes_a_tpm_device_and_no_tpm_at_sockets(tpm: SoftwareTpm, tpm_at_sockets: SoftwareTpm) -> None:
    with closing(_open(tpm.tcti, production=True)) as key:
        assert not key.development
    with closing(_open(tpm_at_sockets.tcti)) as key:
        assert key.development
    assert "refused in production" in _refusal(tpm_at_sockets.tcti, production=True)
