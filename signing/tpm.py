"""The key that signs checkpoints, in a TPM 2.0, and the anchor of the audit trail beside it. Needs the extra `tpm`.

Key: a P-256 primary at KEY_HANDLE (signing/tpm_chip.py says why of this kind). The key and the anchor are both of the
owner hierarchy: whoever empties the anchor with TPM2_Clear loses the key with it, so a trail that was cut off cannot be
signed anew by the key that signed the whole one. Once the owner has a password, nobody without it evicts the key or
deletes the anchor.
Anchor: an NV index of type EXTEND at ANCHOR_INDEX; what is in it can be extended and never set. Handles lie in the
owner's ranges of the TCG registry of reserved handles.
"""

from dataclasses import dataclass

from tpm2_pytss import TSS2_Exception
from tpm2_pytss.constants import ESYS_TR, TPM2_NT, TPM2_RC, TPMA_NV

from signing import tpm_chip
from signing.chain import START, key_id
from signing.errors import KeyFailed, KeyRefused
from signing.tpm_chip import Advice, Chip, told

KEY_HANDLE = 0x81024C57
ANCHOR_INDEX = 0x01804C57
_DIGEST_BYTES = 32
_UNIQUE = b"linewarden checkpoints, key 1"
_INDEX_ATTRIBUTES = TPMA_NV.AUTHREAD | TPMA_NV.AUTHWRITE | TPMA_NV.NO_DA | TPM2_NT.EXTEND << TPMA_NV.TPM2_NT_SHIFT
_ADVICE = Advice(
    another="name another in $.recorder.tpm",
    missing="switch the TPM on, or set $.recorder.key",
    denied="install the drop-in recorder-tpm.conf",
    until="the recorder",
)


@dataclass(frozen=True, slots=True, eq=False)
class TpmKey:
    """An open TPM. `key` and `index` are handles of it."""

    chip: Chip
    key: ESYS_TR
    index: ESYS_TR
    public_der: bytes

    @property
    def kind(self) -> str:
        return "tpm"

    @property
    def development(self) -> bool:
        return self.chip.development

    @property
    def key_id(self) -> bytes:
        return key_id(self.public_der)

    def sign(self, text: bytes) -> bytes:
        """Return the DER signature over sha256 of `text`, after seeing that it verifies.

        Raises:
            KeyFailed: the TPM did not answer, or with a signature of another key.
        """
        return tpm_chip.signature(self.chip, self.key, self.public_der, text, "the checkpoint is not signed")

    def anchor(self, digest: bytes) -> None:
        """Extend `digest` into the index.

        Raises:
            KeyFailed: the TPM did not answer.
            ValueError: not 32 bytes.
        """
        if len(digest) != _DIGEST_BYTES:
            raise ValueError(f"{len(digest)} bytes cannot be anchored, only {_DIGEST_BYTES}")
        with told(KeyFailed, self.chip.where, "the checkpoint may not be anchored"):
            self.chip.esapi.nv_extend(self.index, digest)

    def anchored(self) -> bytes:
        """Return the index' value; 32 zero bytes before its first digest, when the TPM itself only gives an error.

        Raises:
            KeyFailed: the TPM did not answer.
        """
        with told(KeyFailed, self.chip.where, "the anchor is not read"):
            try:
                return bytes(self.chip.esapi.nv_read(self.index, _DIGEST_BYTES))
            except TSS2_Exception as error:
                if error.error == TPM2_RC.NV_UNINITIALIZED:
                    return START
                raise

    def close(self) -> None:
        self.chip.close()


def open_tpm_key(tcti: str) -> TpmKey:
    """Open the TPM; on its first use make the key and the index. Called once at start.

    Args:
        tcti: as the TPM2 software stack writes it. Everything but `device:` is a TPM in software, for development.

    Raises:
        KeyRefused: no TPM there, it wants a password, or a handle is another program's.
    """
    chip = tpm_chip.open_chip(tcti, _ADVICE)
    try:
        with told(KeyRefused, chip.where, "the device key cannot be made or read", chip.advice.until):
            key = tpm_chip.persistent_key(chip, KEY_HANDLE, _UNIQUE)
            index = tpm_chip.nv_index(chip, ANCHOR_INDEX, _INDEX_ATTRIBUTES, _DIGEST_BYTES)
            return TpmKey(chip, key, index, tpm_chip.public_der(chip, key))
    except BaseException:
        chip.close()
        raise
