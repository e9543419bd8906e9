"""A stick for lines without a network: the part of the repository they need, under a timestamp that lasts longer.

The stick's timestamp is number t+1 and the public one becomes t+2: no two timestamps share a number, and a device that
took the stick takes the network afterwards. A device that saw t+2 refuses the stick; it has a network and needs none.
"""

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from tuf.api.metadata import MetaFile, Root

from fleet.errors import NotDone
from fleet.repository import RepositoryBuilder
from fleet.repository_online import Online, check_online, next_snapshot, next_version, timestamp_bytes
from fleet.repository_plan import BUNDLES, DELEGATED, TOP, location, told
from signing.durable import sync_directory
from signing.fetchers import CHUNK_BYTES, make_folder, write_under
from signing.floor import Versions
from signing.index import Kind, read_index
from signing.intake import held
from signing.permission import REVOKED_PATH, ROLLOUT_PATH, TRUST_PATH, allowlist_path, read_allowlist

_ALWAYS = (TRUST_PATH, REVOKED_PATH, ROLLOUT_PATH)


@dataclass(frozen=True, slots=True)
class Export:
    """What lies on the stick, in bytes of blobs, and until when (UTC) it can be used.

    `absent` is what an allow-list permits and the repository no longer holds.
    """

    versions: Versions
    until: datetime
    documents: tuple[str, ...]
    absent: tuple[str, ...]
    size: int


def export_usb(
    builder: RepositoryBuilder, stick: Path, lines: list[str], online: Online, now: datetime, life: timedelta
) -> Export:
    """Write to the folder `stick` what the lines' allow-lists permit, and nothing else. timestamp.json comes last.

    Args:
        life: how long the stick may be used.

    Raises:
        NotDone: a line has no allow-list, something it permits is not published, a role expires before the stick, or
            drafts are waiting (they would not be on it).
        RepositoryUnusable: the stick is full or not writable; it holds no timestamp then, so no device takes it.
    """
    if drafts := builder.files.draft_names():
        raise NotDone(f"{', '.join(drafts)} staged and not published; publish or discard first")
    if linked := next((path for path in stick.rglob("*") if path.is_symlink()), None):
        raise NotDone(f"{linked}: a link on the stick; empty the stick first")
    root = builder.published_root().signed
    check_online(root, online)
    until = (now + life).replace(microsecond=0)
    here = builder.documents()
    wanted = _wanted(builder, here, lines)
    roles = _roles(builder, wanted, until)
    snapshot = next_snapshot(builder.files, {}, online, builder.lifetimes, now, until)
    version = next_version(builder.files)
    ours = timestamp_bytes(version + 1, snapshot, online, now, builder.lifetimes.timestamp)
    builder.files.write_metadata("timestamp.json", ours)
    with told(stick):
        (stick / "metadata" / "timestamp.json").unlink(missing_ok=True)
        _copy_metadata(builder.public, stick, root, snapshot, roles)
        size = sum(_copy_document(builder.public, stick, path, here[path]) for path in wanted if path in here)
        write_under(stick, "metadata/timestamp.json", timestamp_bytes(version, snapshot, online, now, life))
    held_here = tuple(path for path in wanted if path in here)
    absent = tuple(path for path in wanted if path not in here and path not in _ALWAYS)
    return Export(Versions(root.version, version, snapshot.version), until, held_here, absent, size)


def _wanted(builder: RepositoryBuilder, here: dict[str, str], lines: list[str]) -> list[str]:
    """Return the paths of the lines' allow-lists and of what these permit."""
    paths = list(_ALWAYS)
    for line in lines:
        raw = builder.read_document(allowlist_path(line)) if allowlist_path(line) in here else None
        if raw is None:
            raise NotDone(f"line {line} has no allow-list; publish one first")
        listed = read_allowlist(raw, line)
        paths.append(allowlist_path(line))
        paths += [Kind.BUNDLE.target(digest) for digest in listed.bundles]
        paths += [Kind.RECIPE.target(digest) for digest in listed.recipes]
    return sorted(set(paths))


def _roles(builder: RepositoryBuilder, wanted: list[str], until: datetime) -> dict[str, int]:
    """Return the version of each role the stick needs, every one of which must outlast it."""
    needed = {TOP, *DELEGATED, *(builder.role_for(path) for path in wanted if path.startswith(f"{BUNDLES}/"))}
    found: dict[str, int] = {}
    for name in sorted(needed):
        role = builder.files.role(name)
        if role is None or role.signed.expires < until:
            raise NotDone(f"role {name} expires before the stick does; have it renewed, or ask for a shorter life")
        found[name] = role.signed.version
    return found


def _copy_metadata(public: Path, stick: Path, root: Root, snapshot: MetaFile, roles: dict[str, int]) -> None:
    names = [file.name for file in (public / "metadata").glob("*.root.json")]
    names += [f"{snapshot.version}.snapshot.json", *(f"{version}.{name}.json" for name, version in roles.items())]
    for name in sorted(names):
        write_under(stick, f"metadata/{name}", (public / "metadata" / name).read_bytes())


def _copy_document(public: Path, stick: Path, path: str, sha256: str) -> int:
    """Copy a document and, of an index, its blobs; return the bytes of the blobs."""
    where = location(path, sha256)
    raw = (public / where).read_bytes()
    write_under(stick, where, raw)
    kinds = [kind for kind in Kind if path.startswith(f"{kind}s/")]
    if not kinds:
        return 0
    blobs = read_index(raw, kinds[0], path.rpartition("/")[2].removesuffix(".json")).blobs()
    for digest, size in blobs.items():
        if not held(stick / "blobs", digest, size):
            _copy_blob(public / "blobs" / digest, stick / "blobs")
    return sum(blobs.values())


def _copy_blob(blob: Path, folder: Path) -> None:
    make_folder(folder)
    part = folder / f".{blob.name}.part"
    try:
        with blob.open("rb") as source, part.open("wb") as copy:
            while chunk := source.read(CHUNK_BYTES):
                copy.write(chunk)
            copy.flush()
            os.fsync(copy.fileno())
        os.replace(part, folder / blob.name)
    finally:
        part.unlink(missing_ok=True)
    sync_directory(folder)
