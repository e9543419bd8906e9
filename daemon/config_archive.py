"""[archive] of the station document: the second place of the records. Without it there is none, and `uplink` says so.

No key stands here: those of an S3 store are systemd credentials (docs/operations/archive.md).
"""

import ipaddress
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

EverySeconds = Annotated[float, msgspec.Meta(ge=0.2, le=86_400.0)]


class DirectoryArchive(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="directory"
):
    """A folder that is there already, on another disk or an NFS mount; relative to the station file."""

    path: Annotated[str, msgspec.Meta(min_length=1)]
    every_s: EverySeconds = 60.0


class S3Archive(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="s3"):
    """A bucket of an S3 store. `retain_days` > 0 locks every object that long (object lock, COMPLIANCE).

    `authority`: file with the certificates that sign the server's, relative to the station file; "" = the system's.
    """

    endpoint: str
    bucket: Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    prefix: Annotated[str, msgspec.Meta(pattern="^([A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*)?$")] = ""
    region: str = "us-east-1"
    retain_days: Annotated[int, msgspec.Meta(ge=0, le=36_500)] = 0
    authority: str = ""
    every_s: EverySeconds = 60.0


Archive = DirectoryArchive | S3Archive


def unfit(archive: Archive | None) -> list[str]:
    """Return what is wrong with [archive] beyond its types."""
    if isinstance(archive, S3Archive) and not _is_private(archive.endpoint):
        return ["$.archive.endpoint: write https://HOST[:PORT]; http only to this computer itself"]
    return []


def _is_private(endpoint: str) -> bool:
    """True for https, and for http over loopback, where nobody listens in."""
    try:
        parts = urlsplit(endpoint)
        whole = bool(parts.hostname) and parts.path in ("", "/") and not (parts.query or parts.username)
        return whole and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")))
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Return whether a host of a URL is this computer itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
