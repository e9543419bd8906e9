"""The key with which a device signs the checkpoints of its audit trail (docs/interfaces/records-v1.md): ECDSA P-256.

Three kinds, named by `$.recorder.key` of the station file:
  tpm          the key never leaves the TPM, and the trail's heads are anchored there (signing/tpm.py)
  credential   a PEM file that systemd decrypts for the recorder alone
  development  a PEM file made on first use in the state folder, marked as such; refused in production
A key file that cannot be read is never replaced by a new one: a new key would look like another device.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signing.chain import key_id
from signing.errors import KeyFailed, KeyRefused
from signing.key_file import development_key, load_key, read_key_file
from signing.keyring import DEVELOPMENT_MARK
from signing.public_key import public_key

Kind = Literal["tpm", "credential", "development"]

DEVELOPMENT_FILE = "device-key.pem"
CREDENTIAL = "audit-key"
PROOF = b"linewarden: the device key answers\n"
MISSING = "put the key there, or set $.recorder.key"


class DeviceKey(Protocol):
    """A device key in use. One thread at a time; the recorder calls it once a checkpoint, never for a unit."""

    @property
    def kind(self) -> str: ...

    @property
    def development(self) -> bool:
        """Whether signatures of this key prove nothing: a marked file, or a TPM in software."""

    @property
    def public_der(self) -> bytes:
        """SubjectPublicKeyInfo."""

    @property
    def key_id(self) -> bytes:
        """The four bytes that name the key in a checkpoint (signing.chain.key_id)."""

    def sign(self, text: bytes) -> bytes:
        """Return the DER-encoded ECDSA signature over sha256 of `text`.

        Raises:
            KeyFailed: the TPM did not answer.
        """

    def anchor(self, digest: bytes) -> None:
        """Extend `digest`, 32 bytes, into the TPM: chain.fold. A key without a TPM does nothing.

        Raises:
            KeyFailed: the TPM did not answer; whether it took the digest is unknown until `anchored` answers.
        """

    def anchored(self) -> bytes | None:
        """Return what the digests anchored so far fold to, 32 zero bytes before the first; None without a TPM.

        Raises:
            KeyFailed: the TPM did not answer.
        """

    def close(self) -> None:
        """Let go of the TPM. Idempotent."""


@dataclass(frozen=True, slots=True)
class PemKey:
    """A private key in this process's memory."""

    kind: str
    development: bool
    public_der: bytes
    key_id: bytes
    private: EllipticCurvePrivateKey

    def sign(self, text: bytes) -> bytes:
        return self.private.sign(text, ECDSA(SHA256()))

    def anchor(self, digest: bytes) -> None:
        """Nothing: there is no TPM."""

    def anchored(self) -> None:
        """Nothing: there is no TPM."""

    def close(self) -> None:
        """Nothing is held."""


def open_device_key(kind: Kind, state: Path, credentials: Path | None, tcti: str, *, production: bool) -> DeviceKey:
    """Open the device's key and see that it signs. Called by the recorder, once at start.

    Args:
        kind: `$.recorder.key` of the station file.
        state: the recorder's state folder, for a development key.
        credentials: $CREDENTIALS_DIRECTORY, for a credential.
        tcti: how the TPM is reached, as the TPM2 software stack writes it: `device:/dev/tpmrm0`.
        production: refuse keys that prove nothing.

    Raises:
        KeyRefused: one line, what to do.
    """
    if kind == "tpm":
        key = _tpm(tcti)
    elif kind == "credential":
        key = _credential(credentials)
    elif production:
        raise KeyRefused('a development key is refused in production; set $.recorder.key to "tpm" or "credential"')
    else:
        key = _development(state / DEVELOPMENT_FILE)
    try:
        _check(key, production)
    except BaseException:
        key.close()
        raise
    return key


def _tpm(tcti: str) -> DeviceKey:
    try:
        from signing import tpm  # noqa: PLC0415 - only devices with a TPM have its libraries
    except ImportError as error:
        raise KeyRefused(
            f"the Python package tpm2-pytss cannot be used ({error}); install linewarden[tpm], or set $.recorder.key"
        ) from error
    return tpm.open_tpm_key(tcti)


def _credential(folder: Path | None) -> PemKey:
    if folder is None:
        raise KeyRefused(
            f"there is no credential '{CREDENTIAL}' (CREDENTIALS_DIRECTORY is not set); install the drop-in "
            "recorder-credential.conf, or set $.recorder.key"
        )
    path = folder / CREDENTIAL
    raw = read_key_file(path, MISSING)
    return _pem_key("credential", load_key(path, raw), development=DEVELOPMENT_MARK.encode() in raw)


def _development(path: Path) -> PemKey:
    return _pem_key("development", development_key(path, make=True, missing=MISSING), development=True)


def _pem_key(kind: Kind, private: EllipticCurvePrivateKey, *, development: bool) -> PemKey:
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PemKey(kind, development, public, key_id(public), private)


def _check(key: DeviceKey, production: bool) -> None:
    if production and key.development:
        raise KeyRefused(
            f"the {key.kind} key is for development (marked so, or in a TPM in software) and is refused in production; "
            "use a TPM device or a key of its own"
        )
    try:
        public_key(key.public_der).verify(key.sign(PROOF), PROOF, ECDSA(SHA256()))
    except KeyFailed as error:
        raise KeyRefused(str(error)) from error
    except InvalidSignature as error:
        raise KeyRefused(f"the {key.kind} key makes signatures that do not verify; replace it") from error
