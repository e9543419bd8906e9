"""Private keys in PEM files: ECDSA P-256, nobody else's to read, and marked where they are for development.

A key file that cannot be read is never replaced by a new one: a new key would look like another device.
"""

import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from signing.durable import SECRET, write_durably
from signing.errors import KeyRefused
from signing.keyring import DEVELOPMENT_MARK

MARK = f"{DEVELOPMENT_MARK}\n".encode()
LARGEST_PEM = 16_384
# Permission bits that a key file must not have; systemd itself gives a credential to the group: 0440.
EXPOSED = 0o027


def private_pem(private: EllipticCurvePrivateKey) -> bytes:
    """Return a private key as unencrypted PKCS#8."""
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def make_development_key(path: Path) -> None:
    """Write a new key that is marked as one for development.

    Raises:
        OSError: the folder cannot be written.
    """
    write_durably(path, MARK + private_pem(generate_private_key(SECP256R1())), SECRET)


def development_key(path: Path, *, make: bool, missing: str) -> EllipticCurvePrivateKey:
    """Return the marked key in `path`; `make`: made first if there is none. `missing` says what to do without one.

    Raises:
        KeyRefused: it cannot be made or read, or is not a marked one.
    """
    try:
        if make and not os.path.lexists(path):
            make_development_key(path)
    except OSError as error:
        raise KeyRefused(
            f"{path}: a development key cannot be made: {error.strerror}; make the folder writable"
        ) from error
    raw = read_key_file(path, missing)
    if not raw.startswith(MARK):
        raise KeyRefused(f"{path}: not a development key of this device; move it away if it is not needed")
    return load_key(path, raw)


def read_key_file(path: Path, missing: str) -> bytes:
    """Return the bytes of a key file.

    Raises:
        KeyRefused: it cannot be read (`missing` says what to do), or others can read it too.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode, raw = os.fstat(fd).st_mode, os.read(fd, LARGEST_PEM)
        finally:
            os.close(fd)
    except OSError as error:
        raise KeyRefused(f"{path}: {error.strerror}; {missing}") from error
    if mode & EXPOSED:
        raise KeyRefused(
            f"{path}: mode {stat.S_IMODE(mode):04o} lets others at the key; make a new key with mode 0600, this one "
            "may be known"
        )
    return raw


def load_key(path: Path, raw: bytes) -> EllipticCurvePrivateKey:
    """Return the P-256 key in `raw`, the bytes of `path`.

    Raises:
        KeyRefused: it is none.
    """
    try:
        private = load_pem_private_key(raw, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyRefused(f"{path}: not an unencrypted PEM private key; restore it from where it was made") from error
    if not isinstance(private, EllipticCurvePrivateKey) or not isinstance(private.curve, SECP256R1):
        raise KeyRefused(f"{path}: not an ECDSA P-256 key; make one with openssl ecparam -name prime256v1 -genkey")
    return private
