"""Makes a person's key inside a PKCS#11 token, so that its private half is never anywhere else."""

import os
from pathlib import Path

import pkcs11
from pkcs11.exceptions import PKCS11Error
from pkcs11.util.ec import encode_named_curve_parameters

from fleet.errors import KeyUnusable
from fleet.people import MODULE_VARIABLE, AskPin

CURVE = "secp256r1"


def make_token_key(module: Path, label: str, number: bytes, name: str, ask_pin: AskPin) -> None:
    """Make an ECDSA P-256 key in a token. The token itself is initialised with its vendor's tool.

    Args:
        module: the PKCS#11 library.
        label: of the token.
        number: the id under which the key is found.
        name: the key's label, for people.

    Raises:
        KeyUnusable: no such token, a wrong PIN, or a key with this id is there already.
    """
    if not module.is_file():
        raise KeyUnusable(f"{module}: the token's PKCS#11 library is not there; name it with --module")
    os.environ[MODULE_VARIABLE] = str(module)
    where = f"pkcs11:token={label}"
    try:
        token = pkcs11.lib(str(module)).get_token(token_label=label)
        with token.open(user_pin=ask_pin(), rw=True) as session:
            if list(session.get_objects({pkcs11.Attribute.ID: number})):
                raise KeyUnusable(f"{where}: there is a key with id {number.hex()} already; choose another id")
            _generate(session, number, name)
    except (PKCS11Error, RuntimeError) as error:
        said = " ".join(f"{type(error).__name__} {error}".split())
        raise KeyUnusable(f"{where}: {said}; put the token in and give its label and PIN") from error


def _generate(session: pkcs11.Session, number: bytes, name: str) -> None:
    curve = encode_named_curve_parameters(CURVE)
    parameters = session.create_domain_parameters(pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: curve}, local=True)
    parameters.generate_keypair(
        id=number,
        label=name,
        store=True,
        public_template={pkcs11.Attribute.PRIVATE: False},
        private_template={pkcs11.Attribute.SENSITIVE: True, pkcs11.Attribute.EXTRACTABLE: False},
    )
