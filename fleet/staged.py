"""What the next publication changes, in words: people must see what they sign. Reads only."""

from collections.abc import Iterator

from fleet.errors import NotDone
from fleet.folder import Folder
from fleet.repository_plan import role_of
from signing.index import Kind
from signing.keyring import STORE_DOCUMENT, read_trust
from signing.permission import (
    REVOKED_PATH,
    ROLLOUT_PATH,
    Activation,
    AllowList,
    Pair,
    RevokedList,
    Rollout,
    RolloutList,
    line_of,
    read_allowlist,
    read_revoked,
    read_rollouts,
)

SHORT = 12
TOP_OF_ALL = "root"


def changes(folder: Folder) -> list[str]:
    """Return a line for each difference between what is published and what is staged.

    Raises:
        NotDone: a draft lacks a revocation that is published.
        RepositoryUnusable: a document that differs is not there.
    """
    files, found = folder.builder.files, []
    for role in files.draft_names():
        if role == TOP_OF_ALL:
            found.append("change root: who signs what")
            continue
        published, draft = files.role(role), files.draft(role)
        before = published.signed.targets if published else {}
        after = draft.signed.targets if draft else {}
        differing = [path for path in sorted(before.keys() | after.keys()) if before.get(path) != after.get(path)]
        for path in differing:
            lying = [each.get(path) for each in (before, after)]
            old, new = (folder.builder.read_target(file) if file else None for file in lying)
            found += list(_told(path, old, new))
        if not differing:
            found.append(f"renew {role}: same documents, new date or people")
    return found


def _told(path: str, old: bytes | None, new: bytes | None) -> Iterator[str]:
    if new is None:
        yield f"take out {path}"
    elif path == STORE_DOCUMENT:
        yield from _people(old, new)
    elif path == REVOKED_PATH:
        yield from _revocations(read_revoked(old) if old else RevokedList(1), read_revoked(new))
    elif path == ROLLOUT_PATH:
        yield from _rollouts(read_rollouts(old) if old else RolloutList(1), read_rollouts(new))
    elif role_of(path) == "allowlists":
        line = line_of(path)
        empty = AllowList(1, line, (), ())
        yield from _allowlist(read_allowlist(old, line) if old else empty, read_allowlist(new, line))
    else:
        yield f"{'change' if old else 'add'} {path}"


def _people(old: bytes | None, new: bytes) -> Iterator[str]:
    before = read_trust(old, STORE_DOCUMENT, production=False).people if old else {}
    after = read_trust(new, STORE_DOCUMENT, production=False)
    for key_id in sorted(before.keys() - after.people.keys()):
        yield f"no longer trust {before[key_id].name}'s key {key_id[:SHORT]}"
    new_ids = after.people.keys() - before.keys()
    for key_id in sorted(new_ids, key=lambda key_id: after.people[key_id].name):
        roles = ", ".join(role for role, ids in after.roles.items() if key_id in ids)
        yield f"trust {after.people[key_id].name}'s key {key_id[:SHORT]} as {roles}"


def _revocations(old: RevokedList, new: RevokedList) -> Iterator[str]:
    if old.entries != new.entries[: len(old.entries)]:
        raise NotDone(f"{REVOKED_PATH}: an earlier revocation is gone from the draft; begin again")
    for entry in new.entries[len(old.entries) :]:
        yield f"revoke {entry.what} {entry.id[:SHORT]}, answered for by {entry.by}: {entry.reason}"


def _rollouts(old: RolloutList, new: RolloutList) -> Iterator[str]:
    before = {one.id: one for one in old.rollouts}
    after = {one.id: one for one in new.rollouts}
    for name in sorted(before.keys() - after.keys()):
        yield f"end roll-out {name}"
    for name, one in after.items():
        if before.get(name) != one:
            yield f"{'change' if name in before else 'begin'} roll-out {rollout_text(one)}"


def rollout_text(one: Rollout) -> str:
    """Return a roll-out in one line."""
    where = ", ".join(one.lines) or "all lines"
    return f"{one.id}: {pair_text(one.pair)} to {one.percent} % of {where}{', paused' * one.paused}"


def _allowlist(old: AllowList, new: AllowList) -> Iterator[str]:
    for kind, before, after in ((Kind.BUNDLE, old.bundles, new.bundles), (Kind.RECIPE, old.recipes, new.recipes)):
        for digest in after:
            if digest not in before:
                yield f"let {new.line} take {kind} {digest[:SHORT]}"
        for digest in before:
            if digest not in after:
                yield f"no longer let {new.line} take {kind} {digest[:SHORT]}"
    if new.activate != old.activate:
        yield f"have {new.line} {activation_text(new.activate)}"


def activation_text(active: Activation | None) -> str:
    """Return what a line is to activate, in one line."""
    if active is None:
        return "activate nothing"
    return f"activate {pair_text(active.pair)} by {active.change_control}, answered for by {active.printed_name}"


def pair_text(pair: Pair) -> str:
    """Return a pair in short."""
    return f"bundle {pair.bundle[:SHORT]} with recipe {pair.recipe[:SHORT]}"
