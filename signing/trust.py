"""Who may say yes. Pure: bytes in, exception or nothing out.

Rules of this file:
  1. A document is trusted when *every* role in `Role` signed its raw bytes.
  2. No key serves two roles, so one person's key can never be both signatures.
  3. Nothing here reads a file, a clock or the document's content.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signing.errors import SignatureInvalid, TrustStoreError

CURVE = "secp256r1"
_ALGORITHM = ECDSA(SHA256())


class Role(StrEnum):
    """The two people whose signatures a document needs; also the stem of their signature's file name."""

    QA = "qa"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Trust:
    """The public keys of each role (ECDSA P-256), and whether they are development keys.

    Raises:
        TrustStoreError: a role has no key, a key is not on P-256, or one key serves both roles.
    """

    keys: Mapping[Role, tuple[EllipticCurvePublicKey, ...]]
    development: bool

    def __post_init__(self) -> None:
        owner: dict[bytes, Role] = {}
        for role in Role:
            if not self.keys.get(role):
                raise TrustStoreError(f"trust store: no key for role '{role}'; install its public key")
            for key in self.keys[role]:
                self._own(owner, role, key)

    @staticmethod
    def _own(owner: dict[bytes, Role], role: Role, key: EllipticCurvePublicKey) -> None:
        if key.curve.name != CURVE:
            raise TrustStoreError(f"trust store: key of role '{role}' is on {key.curve.name}; only P-256 is accepted")
        first = owner.setdefault(_fingerprint(key), role)
        if first is not role:
            raise TrustStoreError(f"trust store: one key serves '{first}' and '{role}'; each role needs its own key")

    def check(self, where: str, document: bytes, signatures: Mapping[Role, bytes]) -> None:
        """Accept `document` only if every role signed exactly these bytes.

        Args:
            where: the document's name, for the message.
            signatures: DER-encoded ECDSA/SHA-256 signature of each role.

        Raises:
            SignatureInvalid: a role's signature is absent, or by no key of that role, or over other bytes.
        """
        for role in Role:
            signature = signatures.get(role)
            if signature is None or not any(_signed(key, document, signature) for key in self.keys[role]):
                raise SignatureInvalid(
                    f"{where}: signatures/{role}.sig is not a signature of these bytes by a '{role}' key in the "
                    "trust store; have it signed again or install the right trust store"
                )


def _signed(key: EllipticCurvePublicKey, document: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, document, _ALGORITHM)
    except InvalidSignature:
        return False
    return True


def _fingerprint(key: EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
