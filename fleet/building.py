"""Builds trust stores and development keys. A folder is whole or not there at all."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)

from provisioning.unsigned import document, new_folder
from signing.durable import SECRET, write_durably
from signing.key_file import MARK, private_pem
from signing.keyring import DEVELOPMENT_MARK, STORE_DOCUMENT, read_trust
from signing.trust import Algorithm, Role, key_id_of, public_pem

DEVELOPERS = {Role.QA: "Anna Berg", Role.RELEASE: "Jonas Weber"}


def trust_document(
    people: Iterable[tuple[str, EllipticCurvePublicKey]],
    roles: Mapping[Role, Collection[str]],
    *,
    development: bool,
) -> bytes:
    """Return a trust.json.

    Args:
        people: printed name and public key; a person whose key was replaced is there with both.
        roles: the printed names of each role; all keys of a name have it.
        development: mark the keys and the store.

    Raises:
        TrustStoreError: the device would refuse it.
    """
    mark = f"{DEVELOPMENT_MARK}\n" if development else ""
    listed = {key_id_of(key): (name, public_pem(key).decode()) for name, key in people}
    raw = document(
        {
            "document": "trust",
            "format": 1,
            "development": development,
            "people": {
                key_id: {"name": name, "algorithm": Algorithm.ECDSA_P256, "public": mark + pem}
                for key_id, (name, pem) in listed.items()
            },
            "roles": {
                role: [key_id for key_id, (name, _) in listed.items() if name in names] for role, names in roles.items()
            },
        }
    )
    read_trust(raw, STORE_DOCUMENT, production=False)
    return raw


def make_development_keys(directory: Path) -> dict[Role, EllipticCurvePrivateKey]:
    """Make a trust store with one person and fresh key for each role, marked as development, and return the keys.

    `directory` receives trust.json; `directory`/private (0700) the private keys (0600), one file a role.

    Raises:
        NotBuilt: `directory` exists already.
        OSError: it cannot be written.
    """
    keys = {role: generate_private_key(SECP256R1()) for role in Role}
    people = [(DEVELOPERS[role], key.public_key()) for role, key in keys.items()]
    with new_folder(directory) as folder:
        private = folder / "private"
        private.mkdir(mode=0o700)
        for role, key in keys.items():
            write_durably(private / f"{role}.pem", MARK + private_pem(key), SECRET)
        roles = {role: (name,) for role, name in DEVELOPERS.items()}
        write_durably(folder / STORE_DOCUMENT, trust_document(people, roles, development=True))
    return keys
