"""[updates] of the station document: where signed bundles and recipes come from. Without it they come on a stick only.

No secret stands here: the key is in the TPM, certificates are in the state folder (docs/operations/updates.md).
"""

from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from daemon.config_archive import is_loopback

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")]
Tenant = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}\Z")]
OTHER_DOCUMENTS = frozenset({"revoked", "rollout"})
Seconds = Annotated[float, msgspec.Meta(ge=10.0, le=86_400.0)]


class Updates(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`line` names the allow-list that holds for this device, `device` is its name in certificate and status.

    `repository`, `orchestrator` (a hawkBit server), `status` (where the signed status is put): URLs, "" = none.
    `authority`: file with the certificates that sign the servers', relative to the station file; "" = the system's.
    `identity`: where the device's own key is and its version floor with it, `tpm`: how that is reached. `poll_s`: from
    one look at the repository to the next, `status_s`: from one signed status to the next where nothing changes.
    """

    line: Name
    device: Name
    repository: str = ""
    orchestrator: str = ""
    tenant: Tenant = "DEFAULT"
    status: str = ""
    authority: str = ""
    identity: Literal["tpm", "development"] = "tpm"
    tpm: str = "device:/dev/tpmrm0"
    poll_s: Seconds = 60.0
    status_s: Seconds = 900.0


def unfit_updates(updates: Updates | None) -> list[str]:
    """Return what is wrong with [updates] beyond its types."""
    if updates is None:
        return []
    if updates.line in OTHER_DOCUMENTS:
        return [f"$.updates.line: {updates.line} is the name of another document beside the allow-lists: write another"]
    if updates.orchestrator and not updates.repository:
        return ["$.updates.orchestrator: needs a repository, out of which it chooses: write $.updates.repository"]
    places = {"repository": updates.repository, "orchestrator": updates.orchestrator, "status": updates.status}
    text = "write https://HOST[:PORT][/PATH]; http only to this computer itself"
    return [f"$.updates.{key}: {text}" for key, url in places.items() if url and not _is_private(url)]


def _is_private(url: str) -> bool:
    """True for https, and for http over loopback, where nobody listens in."""
    try:
        parts = urlsplit(url)
        whole = bool(parts.hostname) and not (parts.query or parts.fragment or parts.username or parts.password)
        _ = parts.port
    except ValueError:
        return False
    return whole and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")))
