"""The version floor in a TPM: written at enrolment and on growth alone, and never taken for absent."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from signing.floor import Versions
from signing.update_errors import FloorFailed, RollbackRefused
from tests.contract.software_tpm import MISSING, SoftwareTpm, needs_tpm, software_tpm
from tests.contract.update_world import Device, World, build_world

pytestmark = needs_tpm
tss = pytest.importorskip("tpm2_pytss", reason=f"needs {' and '.join(MISSING)}")
tpm_floor = pytest.importorskip("signing.tpm_floor", reason=f"needs {' and '.join(MISSING)}")

FIRST = Versions(1, 2, 3)


@pytest.fixture
def tpm(tmp_path: Path) -> Iterator[SoftwareTpm]:
    with software_tpm(tmp_path / "chip") as running:
        yield running


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("fleet") / "world")


def _written(tmp_path: Path) -> int:
    """Return when the chip last wrote its memory."""
    return max(file.stat().st_mtime_ns for file in (tmp_path / "chip").glob("*.permall"))


def test_the_floor_outlives_a_restart_of_the_computer(tpm: SoftwareTpm) -> None:
    floor = tpm_floor.TpmFloor(tpm.tcti)
    floor.enrol(FIRST)
    tpm.restart()
    assert floor.read() == FIRST and floor.strength == "tpm"
    floor.raise_to(Versions(1, 3, 3))
    tpm.restart()
    assert floor.read() == Versions(1, 3, 3)


def test_what_did_not_grow_is_not_written(tpm: SoftwareTpm, tmp_path: Path) -> None:
    floor = tpm_floor.TpmFloor(tpm.tcti)
    floor.enrol(FIRST)
    before = _written(tmp_path)
    floor.raise_to(FIRST)
    floor.read()
    assert _written(tmp_path) == before
    floor.raise_to(Versions(1, 3, 3))
    assert _written(tmp_path) > before


def test_enrolling_again_does_not_lower_it(tpm: SoftwareTpm) -> None:
    floor = tpm_floor.TpmFloor(tpm.tcti)
    floor.enrol(FIRST)
    floor.enrol(Versions(2, 1, 1))
    assert floor.read() == Versions(2, 2, 3)


def test_a_tpm_without_a_floor_refuses(tpm: SoftwareTpm) -> None:
    floor = tpm_floor.TpmFloor(tpm.tcti)
    for use in (floor.read, lambda: floor.raise_to(FIRST)):
        with pytest.raises(FloorFailed, match="enrol the device"):
            use()


def test_an_enrolment_that_was_cut_is_repeated(tpm: SoftwareTpm) -> None:
    """The index is defined and the power goes before its first write."""
    with closing(tss.ESAPI(tpm.tcti)) as esapi:
        attributes = tss.TPMA_NV.AUTHREAD | tss.TPMA_NV.AUTHWRITE | tss.TPMA_NV.NO_DA
        public = tss.TPMS_NV_PUBLIC(
            nvIndex=tpm_floor.FLOOR_INDEX, nameAlg=tss.TPM2_ALG.SHA256, attributes=attributes, dataSize=16
        )
        esapi.nv_define_space(tss.TPM2B_AUTH(), tss.TPM2B_NV_PUBLIC(public))
    floor = tpm_floor.TpmFloor(tpm.tcti)
    with pytest.raises(FloorFailed, match="enrol"):
        floor.read()
    floor.enrol(FIRST)
    assert floor.read() == FIRST


def test_another_programs_index_is_not_touched(tpm: SoftwareTpm) -> None:
    with closing(tss.ESAPI(tpm.tcti)) as esapi:
        attributes = tss.TPMA_NV.AUTHREAD | tss.TPMA_NV.AUTHWRITE | tss.TPMA_NV.NO_DA
        public = tss.TPMS_NV_PUBLIC(
            nvIndex=tpm_floor.FLOOR_INDEX, nameAlg=tss.TPM2_ALG.SHA256, attributes=attributes, dataSize=8
        )
        esapi.nv_define_space(tss.TPM2B_AUTH(), tss.TPM2B_NV_PUBLIC(public))
    for use in (tpm_floor.TpmFloor(tpm.tcti).read, lambda: tpm_floor.TpmFloor(tpm.tcti).enrol(FIRST)):
        with pytest.raises(FloorFailed, match="another program's"):
            use()


def test_a_cleared_tpm_refuses_updates_instead_of_forgetting(built: World, tpm: SoftwareTpm, tmp_path: Path) -> None:
    world = built.copy(tmp_path / "world")
    floor, device = tpm_floor.TpmFloor(tpm.tcti), Device(world.folder / "fresh")
    floor.enrol(Versions(1, 1, 1))
    assert device.open(world.public, floor=floor).versions == floor.read()
    with closing(tss.ESAPI(tpm.tcti)) as esapi:
        esapi.clear(tss.ESYS_TR.LOCKOUT)
    shutil.rmtree(device.place.metadata)
    with pytest.raises(FloorFailed, match="enrol"):
        device.open(world.old, floor=floor)


def test_an_emptied_disk_does_not_lower_the_floor(built: World, tpm: SoftwareTpm, tmp_path: Path) -> None:
    world = built.copy(tmp_path / "world")
    floor, device = tpm_floor.TpmFloor(tpm.tcti), Device(world.folder / "fresh")
    floor.enrol(Versions(1, 1, 1))
    device.open(world.public, floor=floor)
    for file in device.place.metadata.rglob("*.json"):
        file.unlink()
    with pytest.raises(RollbackRefused):
        device.open(world.old, floor=floor)
    assert device.open(world.public, floor=floor).versions == floor.read()


def test_no_tpm_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FloorFailed, match="no TPM at") as failed:
        tpm_floor.TpmFloor(f"device:{tmp_path}/none").read()
    assert "\n" not in str(failed.value)
