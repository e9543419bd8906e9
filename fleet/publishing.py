"""Acts on the repository: what goes in, what is revoked, and the signatures of people without which nothing changes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from securesystemslib.signer import Signer

from engines.errors import EngineError
from fleet import rollout
from fleet.errors import NotDone
from fleet.folder import Fleet, Folder, Member, Pins, open_key, open_member
from fleet.people import open_signer
from fleet.rollout import Document
from signing.floor import Versions
from signing.index import Kind
from signing.manifest import BUNDLE_DOCUMENT, RECIPE_DOCUMENT
from signing.permission import REVOKED_PATH, ROLLOUT_PATH, Revocation, allowlist_path
from signing.sealed import open_directory
from signing.trust import Role, Trust

if TYPE_CHECKING:
    from signing.verify import VerifiedBundle


@dataclass(frozen=True, slots=True)
class Signed:
    """A directory that devices accept: both people signed it."""

    kind: Kind
    directory: Path
    name: str
    version: str
    digest: str


class _Head(msgspec.Struct, frozen=True):
    name: str
    version: str


def read_signed(directory: Path, trust: Trust) -> Signed:
    """Return what a directory is, after the checks of a device.

    Raises:
        SigningError: a device would refuse it.
        NotDone: neither a bundle nor a recipe, or its golden set does not give what it should.
    """
    from signing.verify import verify, verify_recipe  # noqa: PLC0415 - brings onnx along, needed here alone

    if (directory / BUNDLE_DOCUMENT).is_file():
        with open_directory(directory) as fd:
            bundle = verify(fd, trust)
        _require_golden(directory, bundle)
        return Signed(Kind.BUNDLE, directory, bundle.manifest.name, bundle.manifest.version, bundle.digest)
    if (directory / RECIPE_DOCUMENT).is_file():
        with open_directory(directory) as fd:
            recipe = verify_recipe(fd, trust)
        head = msgspec.json.decode(recipe.raw, type=_Head)
        return Signed(Kind.RECIPE, directory, head.name, head.version, recipe.digest)
    raise NotDone(f"{directory}: holds neither {BUNDLE_DOCUMENT} nor {RECIPE_DOCUMENT}; name a signed bundle or recipe")


def _require_golden(directory: Path, bundle: "VerifiedBundle") -> None:
    from engines.golden import check_golden  # noqa: PLC0415 - engines are needed here alone, and take their time

    try:
        findings = [str(finding) for finding in check_golden(bundle)]
    except EngineError as error:
        findings = [str(error)]
    if findings:
        raise NotDone(f"{directory}: golden set: {findings[0]}; no device would use it, correct it and sign again")


def stage(folder: Folder, signed: Sequence[Signed], now: datetime) -> None:
    """Copy files into the repository and stage their indexes; what is there with these signatures is left alone."""
    for one in signed:
        if one.digest not in folder.digests(one.kind) or not _same(folder, one):
            folder.builder.add_index(one.kind, one.directory, one.name, one.version, now)


def _same(folder: Folder, one: Signed) -> bool:
    """Return whether the repository has the same files; after a key was replaced the signatures are others."""
    files = folder.index(one.kind, one.digest).files
    found = {path.relative_to(one.directory).as_posix(): path for path in one.directory.rglob("*") if path.is_file()}
    if found.keys() != files.keys():
        return False
    for name, path in found.items():
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != files[name].sha256:
                return False
    return True


def collect(
    folder: Folder, fleet: Fleet, named: Sequence[str], keys: Sequence[str], pins: Pins
) -> dict[str, list[str]]:
    """Have people sign what is staged, one at a time; return the roles by name.

    Args:
        named: printed names; with `keys` empty too, everybody in order of fleet.json whose signature is still needed.
        keys: addresses of further keys, for example one that is being replaced.

    Raises:
        KeyUnusable: a key cannot be opened.
        NotDone: nothing staged needs a signature of one of them.
    """
    chosen = [fleet.person(name) for name in named] if named or keys else _in_turn(fleet)
    signed: dict[str, list[str]] = {}
    for person in chosen:
        if not named and not _needed(folder, person):
            continue
        signed[person.name] = folder.builder.sign(open_member(fleet, person, pins).signer)
    for key in keys:
        signed[key] = folder.builder.sign(open_key(key, fleet.module, key, pins).signer)
    return signed


def _in_turn(fleet: Fleet) -> list[Member]:
    """Return everybody, one of role qa and another of release first."""
    first = fleet.having(Role.QA)[:1]
    first += [person for person in fleet.having(Role.RELEASE) if person not in first][:1]
    return first + [person for person in fleet.people if person not in first]


def _require_both_roles(folder: Folder, fleet: Fleet) -> None:
    """TUF counts two different people; that they are one of each role is ours to see.

    Raises:
        NotDone: a draft is signed by people of one role only.
    """
    files = folder.builder.files
    for name in set(files.draft_names()) - {"root", "targets"}:
        draft = files.draft(name)
        signed = [person for person in fleet.people if draft and person.key_id in draft.signatures]
        pairs = [(one, other) for one in signed for other in signed if one is not other]
        if not any(Role.QA in one.duties and Role.RELEASE in other.duties for one, other in pairs):
            raise NotDone(
                f"{name}: one person of role qa and another of release must sign; name who is missing with --as"
            )


def _needed(folder: Folder, person: Member) -> bool:
    return any(person.name in waiting.people for waiting in folder.builder.waiting())


def make_public(folder: Folder, fleet: Fleet, now: datetime) -> Versions:
    """Publish what is staged and signed.

    Raises:
        NotDone: nothing is staged, a signature is missing, or all are of one role.
    """
    _require_both_roles(folder, fleet)
    return folder.builder.publish(online_of(fleet), now)


def renew_timestamp(folder: Folder, fleet: Fleet, now: datetime) -> Versions:
    """Sign the timestamp again, without people: a job of every day.

    Raises:
        NotDone: nothing is published yet.
    """
    return folder.builder.resign(online_of(fleet), now)


def online_of(fleet: Fleet) -> Signer:
    """Open the key of snapshot and timestamp.

    Raises:
        KeyUnusable: it is not where fleet.json says.
    """
    return open_signer(fleet.online).signer


def revoke_content(folder: Folder, kind: Kind, entry: Revocation, now: datetime) -> list[str]:
    """Stage that a bundle or recipe is gone: from its role, every allow-list and roll-out, and why.

    Returns:
        the lines whose allow-list activated it.

    Raises:
        NotDone: revoked already.
    """
    revoked = rollout.revoked(folder.revoked(), entry)
    hit, documents = [], dict[str, Document]()
    for line in folder.lines():
        before = folder.allowlist(line)
        after = rollout.without(before, entry.what, entry.id)
        if after != before:
            documents[allowlist_path(line)] = after
            hit += [line] if after.activate != before.activate else []
    rollouts = folder.rollouts()
    kept = tuple(one for one in rollouts.rollouts if entry.id not in one.pair)
    if kept != rollouts.rollouts:
        documents[ROLLOUT_PATH] = msgspec.structs.replace(rollouts, rollouts=kept)
    folder.builder.revoke(kind, entry.id, rollout.encode(revoked), now)
    folder.stage(documents, now)
    return hit


def revoke_key(folder: Folder, fleet: Fleet, entry: Revocation, now: datetime) -> None:
    """Stage that a key is no longer good. It must not sign anything any more, so its owner has another one by then.

    Raises:
        NotDone: revoked already, or still in use.
    """
    for person in fleet.people:
        if person.key_id == entry.id:
            raise NotDone(f"this is {person.name}'s key in use: replace it with rotate-root first, then revoke it")
    folder.stage({REVOKED_PATH: rollout.revoked(folder.revoked(), entry)}, now)


def revoke_device(folder: Folder, entry: Revocation, now: datetime) -> None:
    """Stage that a device is no longer one of the fleet.

    Raises:
        NotDone: revoked already.
    """
    folder.stage({REVOKED_PATH: rollout.revoked(folder.revoked(), entry)}, now)
