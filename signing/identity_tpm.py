"""The device's identity key in a TPM 2.0 (signing/tpm_chip.py). Needs the extra `tpm`; signing/identity.py opens it."""

from dataclasses import dataclass

from tpm2_pytss.constants import ESYS_TR

from signing import tpm_chip
from signing.errors import KeyRefused
from signing.identity import Kind
from signing.tpm_chip import Advice, Chip, told

_ADVICE = Advice(
    another="name another with --tpm",
    missing="switch the TPM on in the firmware",
    denied="run as root, or install the drop-in uplink-tpm.conf",
    until="`linewarden enroll`",
)


@dataclass(frozen=True, slots=True, eq=False)
class TpmIdentity:
    """An open TPM and its identity key."""

    chip: Chip
    key: ESYS_TR
    public_der: bytes

    @property
    def kind(self) -> Kind:
        return "tpm"

    @property
    def development(self) -> bool:
        return self.chip.development

    def sign(self, text: bytes) -> bytes:
        """Return the DER signature over sha256 of `text`, after seeing that it verifies.

        Raises:
            KeyFailed: the TPM did not answer, or with a signature of another key.
        """
        return tpm_chip.signature(self.chip, self.key, self.public_der, text, "nothing is signed")

    def close(self) -> None:
        self.chip.close()


def open_tpm_identity(tcti: str, handle: int, unique: bytes, missing: str) -> TpmIdentity:
    """Open the TPM and the key at `handle`; with `missing` = "" the key is made if it is not there.

    Raises:
        KeyRefused: no TPM, it wants a password, another program's key, or no key (`missing` says what to do).
    """
    chip = tpm_chip.open_chip(tcti, _ADVICE)
    try:
        with told(KeyRefused, chip.where, "the identity key cannot be made or read", chip.advice.until):
            if missing and not tpm_chip.exists(chip, handle):
                raise KeyRefused(f"{chip.where}: no key at handle {handle:#x}; {missing}")
            key = tpm_chip.persistent_key(chip, handle, unique)
            return TpmIdentity(chip, key, tpm_chip.public_der(chip, key))
    except BaseException:
        chip.close()
        raise
