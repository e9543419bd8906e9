"""Who this device is: a key that signs certificate requests and status notes, never checkpoints.

Two kinds:
  tpm          a P-256 key made in the TPM at persistent handle HANDLE; it never leaves it
  development  a marked PEM file in the identity folder; refused in production
The device's id is the SHA-256 of the public key. A device that is replaced keeps its name and gets another id.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NewType, NoReturn, Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDH,
    ECDSA,
    SECP256R1,
    EllipticCurve,
    EllipticCurvePrivateKey,
    EllipticCurvePrivateNumbers,
    EllipticCurvePublicKey,
    EllipticCurveSignatureAlgorithm,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signing.errors import KeyRefused
from signing.key_file import development_key
from signing.public_key import public_key

Kind = Literal["tpm", "development"]
DeviceId = NewType("DeviceId", str)

HANDLE = 0x81024C58
DEVELOPMENT_FILE = "development-key.pem"
UNIQUE = b"linewarden identity, key 1"
_MISSING = "this device has no identity yet: `linewarden enroll`"


class Identity(Protocol):
    """An identity key in use, by one thread at a time."""

    @property
    def kind(self) -> Kind: ...

    @property
    def development(self) -> bool:
        """Whether its signatures prove nothing: a marked file, or a TPM in software."""

    @property
    def public_der(self) -> bytes:
        """SubjectPublicKeyInfo."""

    def sign(self, text: bytes) -> bytes:
        """Return the DER-encoded ECDSA signature over sha256 of `text`.

        Raises:
            KeyFailed: the TPM did not answer.
        """

    def close(self) -> None:
        """Let go of the TPM. Idempotent."""


@dataclass(frozen=True, slots=True)
class DevelopmentIdentity:
    """An identity in a file."""

    private: EllipticCurvePrivateKey
    public_der: bytes
    kind: Kind = "development"
    development: bool = True

    def sign(self, text: bytes) -> bytes:
        return self.private.sign(text, ECDSA(SHA256()))

    def close(self) -> None:
        """Nothing is held."""


def open_identity(kind: Kind, folder: Path, tcti: str, *, production: bool, make: bool = False) -> Identity:
    """Open the device's identity. Called by uplink once at start, and by `linewarden enroll`, which alone makes it.

    Args:
        folder: where a development key lies.
        tcti: how the TPM is reached, as the TPM2 software stack writes it: `device:/dev/tpmrm0`.
        production: refuse keys that prove nothing.
        make: make the key if there is none.

    Raises:
        KeyRefused: one line, what to do.
    """
    if kind == "tpm":
        identity = _tpm(tcti, make)
    elif production:
        raise KeyRefused("a development identity is refused in production; enrol with the key in the TPM")
    else:
        identity = _development(folder / DEVELOPMENT_FILE, make)
    if production and identity.development:
        identity.close()
        raise KeyRefused("an identity in a TPM in software is refused in production; use the TPM device /dev/tpmrm0")
    return identity


def device_id(public_der: bytes) -> DeviceId:
    """Return the id of the device whose identity key this is: 64 hexadecimal digits."""
    return DeviceId(hashlib.sha256(public_der).hexdigest())


def certificate_request(identity: Identity, subject: x509.Name) -> bytes:
    """Return a PKCS#10 request in DER, signed by the identity key.

    Raises:
        KeyFailed: the TPM did not answer.
    """
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    request = builder.sign(_SigningKey(identity.sign, public_key(identity.public_der)), SHA256())
    return request.public_bytes(Encoding.DER)


def _tpm(tcti: str, make: bool) -> Identity:
    try:
        from signing import identity_tpm  # noqa: PLC0415 - only devices with a TPM have its libraries
    except ImportError as error:
        raise KeyRefused(f"the Python package tpm2-pytss cannot be used ({error}); install linewarden[tpm]") from error
    return identity_tpm.open_tpm_identity(tcti, HANDLE, UNIQUE, missing="" if make else _MISSING)


def _development(path: Path, make: bool) -> DevelopmentIdentity:
    private = development_key(path, make=make, missing=_MISSING)
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return DevelopmentIdentity(private, public)


class _SigningKey(EllipticCurvePrivateKey):
    """A private key that is elsewhere, as `cryptography` wants to see one: it signs, and gives out nothing."""

    def __init__(self, sign: Callable[[bytes], bytes], public: EllipticCurvePublicKey) -> None:
        self._sign, self._public = sign, public

    @property
    def curve(self) -> EllipticCurve:
        return SECP256R1()

    @property
    def key_size(self) -> int:
        return self.curve.key_size

    def public_key(self) -> EllipticCurvePublicKey:
        return self._public

    def sign(self, data: Any, signature_algorithm: EllipticCurveSignatureAlgorithm) -> bytes:
        return self._sign(bytes(data))

    def exchange(self, algorithm: ECDH, peer_public_key: EllipticCurvePublicKey) -> NoReturn:
        raise UnsupportedAlgorithm("this key signs only")

    def private_numbers(self) -> EllipticCurvePrivateNumbers:
        raise UnsupportedAlgorithm("this key does not leave its place")

    def private_bytes(self, *_: object) -> NoReturn:
        raise UnsupportedAlgorithm("this key does not leave its place")

    def __copy__(self) -> "_SigningKey":
        return self

    def __deepcopy__(self, memo: dict[Any, Any]) -> "_SigningKey":
        return self
