"""Who signs what in a repository, for how long it holds, and where each path belongs. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from securesystemslib.signer import Key
from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.api.metadata import DelegatedRole, Delegations, Root, SuccinctRoles, Targets

from fleet.errors import FleetError, NotDone
from signing.permission import TRUST_PATH

NAME_FIELD = "x-linewarden-name"
TOP: Final = "targets"
BUNDLES: Final = "bundles"
DELEGATED: Final = (BUNDLES, "recipes", "releases", "allowlists")
THRESHOLD: Final = 2
_ONLINE: Final = ("snapshot", "timestamp")


class RepositoryUnusable(FleetError):
    """The repository's folder cannot be read or written, or holds what it must not: the text says what to do."""


@dataclass(frozen=True, slots=True)
class Keyholder:
    """A person's (or the online service's) public key and printed name."""

    name: str
    key: Key


@dataclass(frozen=True, slots=True)
class Plan:
    """The keys of a new repository. Every role but the online ones needs two of its keys.

    Args:
        root: three people, of whom two sign.
        top: the two people who sign delegations and `trust.json`.
        people: for each of DELEGATED, at least two people.
        online: signs snapshot and timestamp, alone.
        bins: hash bins below `bundles`, as a power of two, for fleets with more than some thousand bundles; 0: none.
    """

    root: Sequence[Keyholder]
    top: Sequence[Keyholder]
    people: Mapping[str, Sequence[Keyholder]]
    online: Keyholder
    bins: int = 0


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long each role holds after it was signed. Expiry stops installing, never a running line."""

    root: timedelta = field(default=timedelta(days=3 * 365))
    people: timedelta = field(default=timedelta(days=365))
    snapshot: timedelta = field(default=timedelta(days=90))
    timestamp: timedelta = field(default=timedelta(days=7))


@contextmanager
def told(where: object) -> Iterator[None]:
    """Translate what the disk and python-tuf raise into one line."""
    try:
        yield
    except OSError as error:
        raise RepositoryUnusable(
            f"{error.filename or where}: {error.strerror or error}; nothing was published"
        ) from error
    except (RepositoryError, DownloadError, ValueError) as error:
        text = " ".join(str(error).split())
        raise RepositoryUnusable(f"{where}: {type(error).__name__}: {text}; restore the repository") from error


def first_root(plan: Plan, root: Root) -> Root:
    """Give a new root its keys.

    Raises:
        NotDone: too few people, or one key twice in a role.
    """
    for role, holders, threshold in (("root", plan.root, THRESHOLD), (TOP, plan.top, THRESHOLD)):
        _enough(role, holders)
        for holder in holders:
            root.add_key(named(holder), role)
        root.roles[role].threshold = threshold
    for role in _ONLINE:
        root.add_key(named(plan.online), role)
    return root


def first_delegations(plan: Plan) -> Delegations:
    """Return who signs below `targets`.

    Raises:
        NotDone: as `first_root`, or a role of DELEGATED has nobody.
    """
    roles: dict[str, DelegatedRole] = {}
    keys: dict[str, Key] = {}
    for role in DELEGATED:
        holders = plan.people.get(role, ())
        _enough(role, holders)
        keys.update({holder.key.keyid: named(holder) for holder in holders})
        ids = [holder.key.keyid for holder in holders]
        roles[role] = DelegatedRole(role, ids, THRESHOLD, terminating=True, paths=[f"{role}/*"])
    return Delegations(keys, roles)


def bin_delegations(plan: Plan) -> Delegations | None:
    """Return the hash bins below `bundles`, signed by the same people; None without bins."""
    if not plan.bins:
        return None
    holders = plan.people[BUNDLES]
    bins = SuccinctRoles([holder.key.keyid for holder in holders], THRESHOLD, plan.bins, BUNDLES)
    return Delegations({holder.key.keyid: named(holder) for holder in holders}, succinct_roles=bins)


def named(holder: Keyholder) -> Key:
    """Return the key with its owner's name in it, so that "who is missing" can say a name."""
    holder.key.unrecognized_fields[NAME_FIELD] = holder.name
    return holder.key


def name_of(key: Key) -> str:
    return str(key.unrecognized_fields.get(NAME_FIELD, key.keyid[:12]))


def role_of(path: str) -> str:
    """Return the role below which a target path lies (`targets` itself for `trust.json`).

    Raises:
        NotDone: no role signs such a path.
    """
    if path == TRUST_PATH:
        return TOP
    folder, _, name = path.partition("/")
    if folder in DELEGATED and name and "/" not in name:
        return folder
    raise NotDone(f"{path}: no role signs this path; it begins with one of {', '.join(DELEGATED)}")


def location(path: str, sha256: str) -> str:
    """Return where below `public/` the bytes of a target path lie; `sha256` (hex) is that of the bytes."""
    folder, slash, name = path.rpartition("/")
    return f"targets/{folder}{slash}{sha256}.{name}"


def replace_key(keys: dict[str, Key], role_ids: Iterable[list[str]], old: str, new: Keyholder) -> int:
    """Put `new` where `old` stood in lists of key ids; return in how many.

    Raises:
        NotDone: the new key is one of these already.
    """
    lists = [ids for ids in role_ids if old in ids]
    for ids in lists:
        if new.key.keyid in ids or new.key.to_dict()["keyval"] in [keys[each].to_dict()["keyval"] for each in ids]:
            raise NotDone(f"{new.name}: this key is in the role already; a person signs once")
        ids[ids.index(old)] = new.key.keyid
    if lists:
        keys[new.key.keyid] = named(new)
        keys.pop(old, None)
    return len(lists)


def bins_of(bundles: Targets) -> SuccinctRoles | None:
    return bundles.delegations.succinct_roles if bundles.delegations else None


def _enough(role: str, holders: Sequence[Keyholder]) -> None:
    keys = {str(holder.key.to_dict()["keyval"]) for holder in holders}
    if len(keys) != len(holders):
        raise NotDone(f"role {role}: one key is named twice; each person has a key of their own")
    if len(holders) < THRESHOLD:
        raise NotDone(f"role {role}: {THRESHOLD} people must sign and {len(holders)} can; name more")
