"""Keys of people, as securesystemslib signers: a PEM file for development, a PKCS#11 token for everybody else.

    file:PATH                       unencrypted PEM, ECDSA P-256
    pkcs11:token=LABEL;id=%02       ECDSA P-256 on a token; `object=` may be there and is ignored

A PIN is asked for at the terminal, or read from a descriptor or file that the caller names; never from argv or the
environment. It stays in this process's memory until the process ends, so that it is asked for once.
"""

import getpass
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote, unquote_to_bytes

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from pkcs11.exceptions import PinIncorrect, PinLenRange, PinLocked, PKCS11Error
from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import CryptoSigner, HSMSigner, Key, SecretsHandler, Signature, Signer, SSlibKey

from fleet.errors import KeyUnusable
from signing.trust import CURVE, Algorithm, key_id_of, public_pem

MODULE_VARIABLE = "PYKCS11LIB"
LARGEST_PIN = 256

AskPin = Callable[[], str]
# What of a token's address is read. Anything else may be a PIN and is not even shown.
ADDRESS = frozenset({"token", "object", "id"})


@dataclass(frozen=True, slots=True)
class Signatory:
    """An opened key: its signer, its public half as PEM SubjectPublicKeyInfo, and its key id (signing.trust)."""

    signer: Signer
    public_pem: bytes
    key_id: str


class PersonSigner(Signer):
    """Any signer; what its backend raises becomes one line. `public_key.keyid` is the key id of signing.trust."""

    def __init__(self, inner: Signer, where: str) -> None:
        self._inner, self._where = inner, where

    @property
    def public_key(self) -> Key:
        return self._inner.public_key

    def sign(self, payload: bytes) -> Signature:
        """Return the signature over `payload`.

        Raises:
            KeyUnusable: the token, the PIN or the key does not do.
        """
        try:
            return self._inner.sign(payload)
        except (PKCS11Error, UnsupportedLibraryError, ValueError, OSError) as error:
            _refuse(self._where, error)

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> "PersonSigner":
        """Nobody's way in: `open_signer` is."""
        raise NotImplementedError


def open_signer(uri: str, *, module: Path | None = None, ask_pin: AskPin | None = None) -> Signatory:
    """Open the key at `uri`.

    Args:
        module: the PKCS#11 library of the token; needed for pkcs11: alone.
        ask_pin: where the PIN comes from, `pin_at_terminal` if not given; asked once.

    Raises:
        KeyUnusable: one line, what to do.
    """
    kind, _, rest = uri.partition(":")
    if kind == "file" and rest:
        return signatory(_file_signer(Path(rest)), uri)
    if kind == "pkcs11" and rest:
        return _token_signatory(uri, rest, module, ask_pin or pin_at_terminal)
    raise KeyUnusable(f"{uri}: not the address of a key; write file:PATH or pkcs11:token=LABEL;id=%02")


def signatory(signer: Signer, where: str) -> Signatory:
    """Return a signer with its public half; only ECDSA P-256 is accepted.

    Raises:
        KeyUnusable: another kind of key.
    """
    public = signer.public_key.keyval.get("public", "")
    try:
        key = load_pem_public_key(public.encode())
    except ValueError as error:
        raise KeyUnusable(f"{where}: the key has no PEM public half; use an ECDSA P-256 key") from error
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name != CURVE:
        raise KeyUnusable(f"{where}: not an ECDSA P-256 key; make one on that curve")
    return Signatory(PersonSigner(signer, where), public_pem(key), key_id_of(key))


def ssl_key(key: EllipticCurvePublicKey) -> SSlibKey:
    """Return a public key as securesystemslib and TUF metadata carry it, under the key id of signing.trust."""
    return SSlibKey.from_crypto(key, keyid=key_id_of(key), scheme=Algorithm.ECDSA_P256)


def pin_at_terminal() -> str:
    """Ask the person at the terminal.

    Raises:
        KeyUnusable: there is no terminal.
    """
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError as error:
        raise KeyUnusable(
            "there is no terminal to ask for the PIN; name a file or descriptor to read it from"
        ) from error
    return getpass.getpass("PIN: ")


def pin_from(source: Path | int) -> AskPin:
    """Return what reads the PIN's one line from a file or an open descriptor."""

    def read() -> str:
        try:
            with open(source, "rb", closefd=not isinstance(source, int)) as file:
                raw = file.read(LARGEST_PIN + 1)
            line = raw.decode().removesuffix("\n")
        except (OSError, ValueError) as error:
            raise KeyUnusable(f"{source}: the PIN cannot be read: {_said(error)}; name another file") from error
        if not line or len(raw) > LARGEST_PIN or "\n" in line:
            raise KeyUnusable(f"{source}: not one line with a PIN; correct it")
        return line

    return read


def load_private_key(path: Path) -> EllipticCurvePrivateKey:
    """Read an unencrypted PEM private key.

    Raises:
        KeyUnusable: the file is missing or holds no ECDSA key.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise KeyUnusable(f"{path}: {error.strerror}; make the keys first") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnusable(f"{path}: not an unencrypted PEM private key; make the keys again") from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise KeyUnusable(f"{path}: not an elliptic-curve key; make the keys again")
    return key


def _file_signer(path: Path) -> Signer:
    private = load_private_key(path)
    if private.curve.name != CURVE:
        raise KeyUnusable(f"{path}: not an ECDSA P-256 key; make the keys again")
    return CryptoSigner(private, ssl_key(private.public_key()))


def _token_signatory(uri: str, rest: str, module: Path | None, ask_pin: AskPin) -> Signatory:
    label, number, _ = token_address(uri, rest)
    if module is None or not module.is_file():
        raise KeyUnusable(f"{uri}: the token's PKCS#11 library {module or ''} is not there; name it")
    os.environ[MODULE_VARIABLE] = str(module)
    asked: list[str] = []

    def pin(_what: str) -> str:
        if not asked:
            asked.append(ask_pin())
        return asked[0]

    try:
        _, public = HSMSigner.import_(number, label, pin)
        key = load_pem_public_key(public.keyval["public"].encode())
        if not isinstance(key, EllipticCurvePublicKey):
            raise KeyUnusable(f"{uri}: not an ECDSA P-256 key; make one on that curve")
        return signatory(HSMSigner(number, ssl_key(key), pin, label), uri)
    except (PKCS11Error, UnsupportedLibraryError, ValueError, RuntimeError) as error:
        _refuse(uri, error)


def token_address(uri: str, rest: str) -> tuple[str, int, str]:
    """Return token label, key number and key label ("" where none is named) of an RFC 7512 address.

    Args:
        rest: what follows pkcs11: in `uri`.

    Raises:
        KeyUnusable: it says more than these, or does not name one key.
    """
    parts = dict(part.partition("=")[::2] for part in rest.partition("?")[0].split(";"))
    if "?" in rest or parts.keys() - ADDRESS:
        shown = ";".join(f"{name}={value}" for name, value in parts.items() if name in ADDRESS)
        raise KeyUnusable(f"pkcs11:{shown}: only token=, object= and id= are read; leave the rest out")
    number = unquote_to_bytes(parts.get("id", ""))
    if not parts.get("token") or not number or number[0] == 0:
        raise KeyUnusable(f"{uri}: token= and id= must name one key; write pkcs11:token=LABEL;id=%02")
    return unquote(parts["token"]), int.from_bytes(number, "big"), unquote(parts.get("object", ""))


def _refuse(where: str, error: Exception) -> NoReturn:
    raise KeyUnusable(f"{where}: {_said(error)}; put the token in and name the right key and PIN") from error


def _said(error: Exception) -> str:
    if isinstance(error, PinIncorrect | PinLenRange):
        return "the PIN is wrong"
    if isinstance(error, PinLocked):
        return "the PIN is locked after too many wrong ones"
    if isinstance(error, OSError):
        return str(error.strerror)
    return " ".join(f"{type(error).__name__} {error}".split())[:200]
