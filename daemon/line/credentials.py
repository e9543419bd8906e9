"""The files of [wiring.tls]: certificates beside the station file, the private key as a systemd credential."""

import os
import ssl
from pathlib import Path

from daemon.config import ConfigError, Tls, resolve
from drivers.errors import DeviceRefused
from drivers.tls import client_context, server_context

VARIABLE = "CREDENTIALS_DIRECTORY"


def tls_client(tls: Tls, station: Path) -> ssl.SSLContext:
    """Return the context for a PLC that listens. `station` is the station file, which relative paths refer to.

    Raises:
        ConfigError: a file or the credential is missing or unfit.
    """
    try:
        return client_context(resolve(station, tls.authority), resolve(station, tls.certificate), credential(tls.key))
    except DeviceRefused as error:
        raise ConfigError(f"$.wiring.tls: {error}") from error


def tls_server(tls: Tls, station: Path) -> ssl.SSLContext:
    """Return the context for a PLC that connects; as `tls_client`.

    Raises:
        ConfigError: a file or the credential is missing or unfit.
    """
    try:
        return server_context(resolve(station, tls.authority), resolve(station, tls.certificate), credential(tls.key))
    except DeviceRefused as error:
        raise ConfigError(f"$.wiring.tls: {error}") from error


def credential(name: str) -> Path:
    """Return the file of a systemd credential of this service.

    Raises:
        ConfigError: not a credential's name, or systemd gave none of that name.
    """
    if not name or "/" in name or name.startswith("."):
        raise ConfigError(f"$.wiring.tls.key: {name!r} is a path; write the name of a systemd credential")
    folder = os.environ.get(VARIABLE, "")
    path = Path(folder) / name
    if not folder or not path.is_file():
        advice = f"add LoadCredential={name}:FILE to a drop-in of linewarden-line.service"
        raise ConfigError(f"$.wiring.tls.key: there is no credential {name}; {advice}")
    return path
