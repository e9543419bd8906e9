"""Snapshot and timestamp: what the online key signs, without a person, as often as the timestamp expires.

Writes in this order: N.snapshot.json, a new N.root.json, timestamp.json. Root is the one file a device reads before the
timestamp. A cut between the two, when root changes the online key, leaves a timestamp that devices refuse (they keep
what they have) until it is signed again.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Timestamp

from fleet.errors import NotDone
from fleet.repository_files import Files, text_of
from fleet.repository_plan import Lifetimes
from signing.freshness import SIGNED_AT
from signing.utc import utc_text

Online = Signer


def issue(
    files: Files,
    root: Metadata[Root],
    meta: Mapping[str, MetaFile],
    online: Online,
    lifetimes: Lifetimes,
    now: datetime,
) -> None:
    """Publish a new timestamp, and a new snapshot where `meta` changes it or it would not outlive the timestamp.

    Raises:
        NotDone: `online` is not the key root names.
    """
    check_online(root.signed, online)
    snapshot = next_snapshot(files, meta, online, lifetimes, now, now + lifetimes.timestamp)
    version = next_version(files)
    files.write_metadata(f"{root.signed.version}.root.json", text_of(root))
    files.write_metadata("timestamp.json", timestamp_bytes(version, snapshot, online, now, lifetimes.timestamp))


def check_online(root: Root, online: Online) -> None:
    for role in ("snapshot", "timestamp"):
        if online.public_key.keyid not in root.roles[role].keyids:
            raise NotDone(f"the online key given is not the one root names for {role}; use that or rotate root")


def next_version(files: Files) -> int:
    timestamp = files.timestamp()
    return timestamp.signed.version + 1 if timestamp else 1


def next_snapshot(
    files: Files, meta: Mapping[str, MetaFile], online: Online, lifetimes: Lifetimes, now: datetime, until: datetime
) -> MetaFile:
    """Write the snapshot that holds until `until` at least, and return what a timestamp says of it."""
    published, timestamp = files.snapshot(), files.timestamp()
    if published and timestamp and not meta and published.signed.expires >= until and _signed_by(published, online):
        return timestamp.signed.snapshot_meta
    version = published.signed.version + 1 if published else 1
    expires = max(now + lifetimes.snapshot, until).replace(microsecond=0)
    every = {**(published.signed.meta if published else {}), **meta}
    snapshot = Metadata(Snapshot(version=version, expires=expires, meta=every))
    snapshot.sign(online)
    data = text_of(snapshot)
    files.write_metadata(f"{version}.snapshot.json", data)
    return MetaFile.from_data(version, data, ["sha256"])


def timestamp_bytes(version: int, snapshot: MetaFile, online: Online, now: datetime, life: timedelta) -> bytes:
    """Return a signed timestamp that says when it was signed."""
    expires = (now + life).replace(microsecond=0)
    fields = {SIGNED_AT: utc_text(now)}
    timestamp = Timestamp(version=version, expires=expires, snapshot_meta=snapshot, unrecognized_fields=fields)
    metadata = Metadata(timestamp)
    metadata.sign(online)
    return text_of(metadata)


def _signed_by(snapshot: Metadata[Snapshot], online: Online) -> bool:
    return online.public_key.keyid in snapshot.signatures
