"""What may not be used any more, as process `slots` wrote it from the newest trusted metadata. Reads only.

Called by: the recorder before it opens a batch, and by whoever watches a running one.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from daemon.store_requests import STORE
from signing.store import REVOKED, STATE


class RevocationsUnreadable(Exception):
    """It cannot be known what is revoked: no new batch until the text's advice was followed."""


class Revoked(Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that is no longer good: a bundle or recipe by digest, a person's key, a device."""

    what: Literal["bundle", "recipe", "key", "device"]
    id: str
    reason: str
    by: str
    utc: str


class Revocations(Struct, frozen=True, forbid_unknown_fields=True, tag_field="document", tag="revocations"):
    """Everything revoked. Empty where this device has no store."""

    format: Literal[1] = 1
    entries: tuple[Revoked, ...] = ()

    def by_digest(self) -> dict[str, str]:
        """Return why, by the digest of a bundle or recipe."""
        return {one.id: one.reason for one in self.entries if one.what in ("bundle", "recipe")}

    def keys(self) -> dict[str, str]:
        """Return why, by the id of a person's key."""
        return {one.id: one.reason for one in self.entries if one.what == "key"}

    def why(self, bundle: str, recipe: str, signers: Iterable[str] = ()) -> str:
        """Return why a pair signed with these keys may not begin a batch, naming the digest; "" if it may."""
        found, keys = self.by_digest(), self.keys()
        for signer in signers:
            if signer in keys:
                return f"key {signer[:12]} that signed it is revoked: {keys[signer]}; activate another bundle"
        for what, digest in (("bundle", bundle), ("recipe", recipe)):
            if digest in found:
                return f"{what} {digest[:12]} is revoked: {found[digest]}; activate another one"
        return ""


def read(state: Path) -> Revocations:
    """Return what is revoked, by the store of a state folder.

    Raises:
        RevocationsUnreadable: the store is there and its list is not, or was damaged.
    """
    folder = state / STORE
    try:
        if not (folder / STATE).exists():
            return Revocations()
        return msgspec.json.decode((folder / REVOKED).read_bytes(), type=Revocations)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RevocationsUnreadable(
            f"{folder / REVOKED}: cannot be read ({error}); run `linewarden update check`"
        ) from error


def encode(entries: tuple[Revoked, ...]) -> bytes:
    """Return the file that says so."""
    return msgspec.json.format(msgspec.json.encode(Revocations(1, entries)), indent=1) + b"\n"
