"""Who may say yes. Pure: bytes in, exception or person out.

Rules of this file:
  1. A document is trusted when *every* role in `Role` signed it, each role by another person.
  2. One key belongs to one person. A person may be listed in both roles, and then fills one of them for a document.
  3. Nothing here reads a file, a clock or the document's content.
"""

import hashlib
import unicodedata
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
    """What a person answers for with a signature; also the stem of the signature's file name."""

    QA = "qa"
    RELEASE = "release"


class Algorithm(StrEnum):
    """Signature algorithms by their name in trust.json; a further one is a further member and its verification."""

    ECDSA_P256 = "ecdsa-sha2-nistp256"


@dataclass(frozen=True, slots=True)
class Person:
    """One key and the name its owner signs with. `key_id` is `key_id_of(key)`."""

    key_id: str
    name: str
    key: EllipticCurvePublicKey

    def signed(self, message: bytes, signature: bytes) -> bool:
        """Return whether `signature` (DER) over `message` is this person's."""
        try:
            self.key.verify(signature, message, _ALGORITHM)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Trust:
    """People by key id, the key ids of each role, and whether this is a development store.

    `digest` is the sha256 (hex) of trust.json.

    Raises:
        TrustStoreError: a role is empty or names nobody's key, or a key is not on P-256 or under another's id.
    """

    people: Mapping[str, Person]
    roles: Mapping[Role, frozenset[str]]
    development: bool
    digest: str

    def __post_init__(self) -> None:
        for key_id, person in self.people.items():
            if person.key.curve.name != CURVE:
                raise TrustStoreError(
                    f"trust store: key of {person.name} is on {person.key.curve.name}; only P-256 is accepted"
                )
            if not key_id == person.key_id == key_id_of(person.key):
                raise TrustStoreError(
                    f"trust store: key of {person.name} is not key {key_id[:16]}...; install it again"
                )
        for role in Role:
            self._require_people(role)

    def _require_people(self, role: Role) -> None:
        if not self.roles.get(role):
            raise TrustStoreError(f"trust store: no key for role '{role}'; install its public key")
        for key_id in sorted(self.roles[role] - self.people.keys()):
            raise TrustStoreError(f"trust store: role '{role}' names key {key_id[:16]}..., which is nobody's")

    def person(self, role: Role, key_id: str, where: str) -> Person:
        """Return the person who has this key and this role.

        Args:
            where: the signature's file name, for the message.

        Raises:
            SignatureInvalid: the key is nobody's, or its owner does not have the role (any more).
        """
        person = self.people.get(key_id)
        if person is None:
            raise SignatureInvalid(
                f"{where}: key {key_id[:16]}... is nobody's in the trust store; have it signed by a person of role "
                f"'{role}', or install the newest trust store"
            )
        if key_id not in self.roles[role]:
            raise SignatureInvalid(
                f"{where}: {person.name} does not have role '{role}' in the trust store; have it signed by somebody "
                "who has"
            )
        return person


def key_id_of(key: EllipticCurvePublicKey) -> str:
    """Return the sha256 (hex) of the PEM SubjectPublicKeyInfo: what a Sigstore bundle's publicKey.hint carries."""
    return hashlib.sha256(public_pem(key)).hexdigest()


def public_pem(key: EllipticCurvePublicKey) -> bytes:
    """Return the key as PEM SubjectPublicKeyInfo, with the line feed at its end."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def require_two_people(document: str, signers: Mapping[Role, Person]) -> None:
    """Refuse a document whose roles were filled by one person, with one key or with two under one name.

    Raises:
        SignatureInvalid: naming the person.
    """
    first, second = signers[Role.QA], signers[Role.RELEASE]
    if first.key_id == second.key_id or _folded(first.name) == _folded(second.name):
        raise SignatureInvalid(
            f"{document}: {first.name} signed as both '{Role.QA}' and '{Role.RELEASE}'; have a second person sign"
        )


def _folded(name: str) -> str:
    shown = "".join(letter for letter in name if unicodedata.category(letter) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", shown).casefold().split())
