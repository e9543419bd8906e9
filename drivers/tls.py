"""Modbus/TCP Security: TLS 1.2 or later, each side shows a certificate of the one authority that both trust."""

import ssl
from pathlib import Path

from drivers.errors import DeviceRefused


def client_context(authority: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """Return the context of the side that connects; the other side's certificate must name the address it is at.

    Raises:
        DeviceRefused: a file is missing, unreadable, or not what it should be.
    """
    return _loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), authority, certificate, key)


def server_context(authority: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """Return the context of the side that listens; it hears only who has a certificate of the authority.

    Raises:
        DeviceRefused: a file is missing, unreadable, or not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _loaded(context, authority, certificate, key)


def _loaded(context: ssl.SSLContext, authority: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cafile=authority)
    except OSError as error:
        raise DeviceRefused(f"authority {authority} cannot be used: {_text(error)}") from error
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except OSError as error:
        text = f"certificate {certificate} with key {key.name} cannot be used: {_text(error)}"
        raise DeviceRefused(text) from error
    return context


def _no_password() -> str:
    """A key with a password would be asked for on a terminal that a daemon does not have."""
    return ""


def _text(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "not PEM, or the key has a password"
    return error.strerror or str(error)
