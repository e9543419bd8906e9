"""Changes of the documents under `allowlists/`, and how far a roll-out has come. Pure: documents in, documents out.

Nothing here reaches a device: a changed document is a draft until two people signed it (`linewarden-fleet publish`).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from fleet.errors import NotDone
from signing.device_status import DeviceStatus
from signing.permission import (
    Activation,
    AllowList,
    Pair,
    Revocation,
    RevokedList,
    Rollout,
    RolloutList,
    What,
    included,
)

Document = AllowList | RevokedList | RolloutList


def encode(document: Document) -> bytes:
    """Return a document as it is published.

    Raises:
        NotDone: devices would refuse it, for example a name with a space in it.
    """
    try:
        msgspec.convert(msgspec.to_builtins(document), type(document))
    except msgspec.ValidationError as error:
        raise NotDone(f"no device would read that: {error}; say it otherwise") from error
    return (json.dumps(msgspec.to_builtins(document), indent=2, ensure_ascii=False) + "\n").encode()


def allowed(listed: AllowList, pair: Pair) -> AllowList:
    """Return the allow-list with a pair on it."""
    return msgspec.structs.replace(
        listed,
        bundles=tuple(dict.fromkeys((*listed.bundles, pair.bundle))),
        recipes=tuple(dict.fromkeys((*listed.recipes, pair.recipe))),
    )


def activated(listed: AllowList, activation: Activation) -> AllowList:
    """Return the allow-list that activates a pair, which it lists from now on."""
    return msgspec.structs.replace(allowed(listed, activation.pair), activate=activation)


def without(listed: AllowList, what: What, digest: str) -> AllowList:
    """Return the allow-list without a bundle or recipe; an activation that names it goes as well."""
    gone = listed.activate is not None and digest in listed.activate.pair
    return msgspec.structs.replace(
        listed,
        bundles=tuple(one for one in listed.bundles if what is not What.BUNDLE or one != digest),
        recipes=tuple(one for one in listed.recipes if what is not What.RECIPE or one != digest),
        activate=None if gone else listed.activate,
    )


def revoked(found: RevokedList, entry: Revocation) -> RevokedList:
    """Return the list with one more entry.

    Raises:
        NotDone: it is revoked already; the first entry stands.
    """
    if entry.id in found.ids(entry.what):
        raise NotDone(f"{entry.what} {entry.id[:12]} is revoked already")
    return msgspec.structs.replace(found, entries=(*found.entries, entry))


def begun(found: RolloutList, rollout: Rollout) -> RolloutList:
    """Return the list with a new roll-out.

    Raises:
        NotDone: its id is taken, or another roll-out of the pair is under way.
    """
    for other in found.rollouts:
        if other.id == rollout.id:
            raise NotDone(f"there is a roll-out '{rollout.id}' already: give the new one another id")
        if other.pair == rollout.pair:
            raise NotDone(f"roll-out '{other.id}' brings this pair already: change that one with `rollout set`")
    return msgspec.structs.replace(found, rollouts=(*found.rollouts, rollout))


def changed(found: RolloutList, name: str, **new: object) -> RolloutList:
    """Return the list with fields of one roll-out changed.

    Raises:
        NotDone: there is no such roll-out, or nothing would change.
    """
    old = one_of(found, name)
    rollout = msgspec.structs.replace(old, **new)
    if rollout == old:
        raise NotDone(f"roll-out '{name}' is like that already")
    return msgspec.structs.replace(found, rollouts=tuple(rollout if one is old else one for one in found.rollouts))


def ended(found: RolloutList, name: str) -> RolloutList:
    """Return the list without one roll-out.

    Raises:
        NotDone: there is no such roll-out.
    """
    old = one_of(found, name)
    return msgspec.structs.replace(found, rollouts=tuple(one for one in found.rollouts if one is not old))


def one_of(found: RolloutList, name: str) -> Rollout:
    """Return a roll-out by its id.

    Raises:
        NotDone: there is no such roll-out.
    """
    for rollout in found.rollouts:
        if rollout.id == name:
            return rollout
    there = ", ".join(one.id for one in found.rollouts) or "none"
    raise NotDone(f"there is no roll-out '{name}'; there are: {there}")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one roll-out is: devices on its lines, those its percentage reaches, and what these say of its pair."""

    rollout: Rollout
    devices: int
    reached: int
    installed: int
    active: int
    failures: Mapping[str, str]

    @property
    def too_many(self) -> bool:
        """Whether the roll-out is to be paused: more devices failed than its limit allows."""
        return len(self.failures) > self.rollout.most_failures


def progress(rollout: Rollout, statuses: Mapping[str, DeviceStatus]) -> Progress:
    """Count what the newest verified statuses say of a roll-out.

    Args:
        statuses: device id -> its newest status whose signature holds.
    """
    there = {device: one for device, one in statuses.items() if rollout.concerns(one.line)}
    return Progress(
        rollout,
        len(there),
        sum(included(device, rollout.id, rollout.percent) for device in there),
        sum(rollout.pair in {held.pair for held in one.installed} for one in there.values()),
        sum(one.pair == rollout.pair for one in there.values()),
        _failures(rollout.pair, there.values()),
    )


def _failures(pair: Pair, statuses: Iterable[DeviceStatus]) -> dict[str, str]:
    return {one.device: failed.why for one in statuses for failed in one.failed if failed.pair == pair}


def digest_of(short: str, known: Sequence[str], what: str) -> str:
    """Return the digest that begins like this: people type as much as tells it from the others.

    Raises:
        NotDone: none begins so, or several do.
    """
    found = [digest for digest in dict.fromkeys(known) if digest.startswith(short)] if len(short) >= 8 else []
    if len(found) != 1:
        several = "several begin" if found else "none begins (8 characters at least)"
        raise NotDone(f"{what} {short}: {several} like that; give more of its digest, or publish it first")
    return found[0]
