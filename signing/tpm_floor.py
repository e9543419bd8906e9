"""The version floor in a TPM 2.0: an ordinary NV index, so emptying or restoring the disk does not lower it.

Needs the extra `tpm`. The index holds a mark and three versions, 16 bytes; it is defined and written at enrolment,
without a password (who may open the TPM's device may write it: a matter of the unit files), and afterwards written only
when a version grew: NV wears out. The TPM is opened for each use, so that other processes can use it too.
"""

import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final, Literal

from tpm2_pytss import TSS2_Exception
from tpm2_pytss.constants import TPM2_RC, TPMA_NV

from signing.errors import KeyRefused
from signing.floor import Versions, highest
from signing.tpm_chip import Advice, Chip, exists, nv_index, open_chip, told
from signing.update_errors import FloorFailed

FLOOR_INDEX: Final = 0x01804C58
_MARK = b"LWF1"
_LAYOUT = struct.Struct(">4sIII")
_ATTRIBUTES = TPMA_NV.AUTHREAD | TPMA_NV.AUTHWRITE | TPMA_NV.NO_DA
_ADVICE = Advice(
    another="name another in the station file",
    missing="switch the TPM on",
    denied="let the service use it, see docs/operations",
    until="enrolment",
)


@dataclass(frozen=True, slots=True)
class TpmFloor:
    """The floor at FLOOR_INDEX. `tcti` as the TPM2 software stack writes it: `device:/dev/tpmrm0`."""

    tcti: str
    strength: Literal["tpm", "file"] = "tpm"

    def enrol(self, versions: Versions) -> None:
        with self._open("the version floor is not written") as chip:
            if exists(chip, FLOOR_INDEX):
                found = _read(chip)
                versions = versions if found is None else highest(found, versions)
            _write(chip, versions)

    def read(self) -> Versions:
        with self._open("the version floor cannot be read") as chip:
            found = _read(chip) if exists(chip, FLOOR_INDEX) else None
            if found is None:
                raise FloorFailed(f"{chip.where}: no version floor in this TPM; enrol the device (again)")
            return found

    def raise_to(self, versions: Versions) -> None:
        if self.read() == versions:
            return
        with self._open("the version floor is not written") as chip:
            _write(chip, versions)

    @contextmanager
    def _open(self, what: str) -> Iterator[Chip]:
        try:
            chip = open_chip(self.tcti, _ADVICE)
            with closing(chip), told(FloorFailed, chip.where, what, "enrolment"):
                yield chip
        except KeyRefused as error:
            raise FloorFailed(f"{error}; no update until the version floor can be used") from error


def _read(chip: Chip) -> Versions | None:
    """Return what the index holds; None when it was defined and the power went before its first write."""
    index = nv_index(chip, FLOOR_INDEX, _ATTRIBUTES, _LAYOUT.size)
    try:
        mark, *numbers = _LAYOUT.unpack(bytes(chip.esapi.nv_read(index, _LAYOUT.size)))
    except TSS2_Exception as error:
        if error.error == TPM2_RC.NV_UNINITIALIZED:
            return None
        raise
    if mark != _MARK or min(numbers) < 1:
        raise FloorFailed(f"{chip.where}: NV index {FLOOR_INDEX:#x} holds no version floor; delete it and enrol again")
    return Versions(*numbers)


def _write(chip: Chip, versions: Versions) -> None:
    index = nv_index(chip, FLOOR_INDEX, _ATTRIBUTES, _LAYOUT.size)
    chip.esapi.nv_write(index, _LAYOUT.pack(_MARK, versions.root, versions.timestamp, versions.snapshot))
