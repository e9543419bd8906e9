"""Public keys of devices, as they lie in a records folder (docs/interfaces/records-v1.md)."""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from signing.chain import key_id
from signing.errors import KeyRefused


def public_key(public_der: bytes) -> EllipticCurvePublicKey:
    """Return the key of a SubjectPublicKeyInfo.

    Raises:
        KeyRefused: not that of a P-256 key.
    """
    try:
        key = load_der_public_key(public_der)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyRefused("not a public key in DER; take it from the device again") from error
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise KeyRefused("not an ECDSA P-256 public key; take it from the device again")
    return key


def public_key_file(public_der: bytes) -> tuple[str, str]:
    """Return name and text of a public key in a records folder: `keys/c91ccff1.pem` and its PEM.

    Raises:
        KeyRefused: not the SubjectPublicKeyInfo of a P-256 key.
    """
    pem = public_key(public_der).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return f"keys/{key_id(public_der).hex()}.pem", pem.decode()
