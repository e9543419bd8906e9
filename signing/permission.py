"""What a line may take from its fleet: the documents under `allowlists/` (docs/interfaces/fleet-documents-1.md). Pure.

Rules of this file:
  1. Only what the allow-list of this very line names may be downloaded or activated, and nothing that is revoked.
  2. The allow-list alone activates, and what it activates may be downloaded at once.
  3. A roll-out lets a share of the devices download early. A paused one stops its pair, activation included.
  4. An orchestrator's wish takes roll-outs away and never adds one; activation is not its matter.
  5. A missing allow-list or a missing revocation list permits nothing.
Each document is read after TUF verified it; nothing here reads a file or a clock.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct

from signing.errors import DocumentInvalid
from signing.index import Kind
from signing.manifest import Sentence, Sha256Hex, strict_json

LARGEST_BYTES = 1024 * 1024
REVOKED_PATH = "allowlists/revoked.json"
ROLLOUT_PATH = "allowlists/rollout.json"
TRUST_PATH = "trust.json"
RESERVED = frozenset({"revoked", "rollout"})

Line = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]
Identifier = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}\Z")]
Utc = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")]
Percent = Annotated[int, Meta(ge=0, le=100)]


class What(StrEnum):
    """What can be revoked: a document by its digest, a person's key by its KEYID, a device by its id."""

    BUNDLE = "bundle"
    RECIPE = "recipe"
    KEY = "key"
    DEVICE = "device"


class Pair(NamedTuple):
    """Digests of a bundle and of a recipe that belong together."""

    bundle: str
    recipe: str


class Activation(Struct, frozen=True, forbid_unknown_fields=True):
    """The pair a line is to run from its next batch on, and the change control that says so."""

    bundle: Sha256Hex
    recipe: Sha256Hex
    change_control: Sentence
    printed_name: Sentence
    utc: Utc
    reason: Sentence

    @property
    def pair(self) -> Pair:
        return Pair(self.bundle, self.recipe)


class AllowList(Struct, frozen=True, forbid_unknown_fields=True, tag_field="document", tag="allowlist"):
    """All that one line may ever install, and what it is to activate; None leaves that to the people at the line."""

    format: Literal[1]
    line: Line
    bundles: tuple[Sha256Hex, ...]
    recipes: tuple[Sha256Hex, ...]
    activate: Activation | None = None


class Revocation(Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that is no longer good, why, and who said so."""

    what: What
    id: Identifier
    reason: Sentence
    by: Sentence
    utc: Utc


class RevokedList(Struct, frozen=True, forbid_unknown_fields=True, tag_field="document", tag="revoked"):
    """Everything the fleet revoked, oldest first. Entries are never removed."""

    format: Literal[1]
    entries: tuple[Revocation, ...] = ()

    def ids(self, what: What) -> frozenset[str]:
        """Return the ids revoked of this kind."""
        return frozenset(entry.id for entry in self.entries if entry.what is what)


class Rollout(Struct, frozen=True, forbid_unknown_fields=True):
    """A pair on its way to `percent` of the devices of `lines` (none named: all lines).

    `most_failures` is the publishers' limit: with more failed devices they pause it. The device does not read it.
    """

    id: Identifier
    bundle: Sha256Hex
    recipe: Sha256Hex
    percent: Percent
    paused: bool = False
    lines: tuple[Line, ...] = ()
    most_failures: Annotated[int, Meta(ge=0, le=1_000_000)] = 0

    @property
    def pair(self) -> Pair:
        return Pair(self.bundle, self.recipe)

    def concerns(self, line: str) -> bool:
        return not self.lines or line in self.lines


class RolloutList(Struct, frozen=True, forbid_unknown_fields=True, tag_field="document", tag="rollout"):
    """The roll-outs under way."""

    format: Literal[1]
    rollouts: tuple[Rollout, ...] = ()


@dataclass(frozen=True, slots=True)
class Documents:
    """The newest verified documents of a line; None is one that the repository does not list."""

    allowlist: AllowList | None
    revoked: RevokedList | None
    rollouts: RolloutList | None


class Refusal(NamedTuple):
    """A pair that somebody named and that this device does not take."""

    pair: Pair
    why: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What a device may do now.

    download: pairs to have in the store, the one to activate first.
    activate: the pair for the next batch, None if nothing is to be changed. A batch pin of the device beats it.
    refused: pairs that the documents or the orchestrator name and that are not taken, each with the reason.
    why: the state as one line for people.
    """

    download: tuple[Pair, ...]
    activate: Activation | None
    refused: tuple[Refusal, ...]
    why: str


def read_allowlist(raw: bytes, line: str) -> AllowList:
    """Read the allow-list of `line`.

    Raises:
        DocumentInvalid: not an allow-list of format 1, or of another line.
    """
    where = allowlist_path(line)
    found = strict_json(raw, AllowList, where)
    if found.line != line:
        raise DocumentInvalid(f"{where}: is the allow-list of line '{found.line}'; publish that of '{line}' there")
    return found


def read_revoked(raw: bytes) -> RevokedList:
    """Read what the fleet revoked.

    Raises:
        DocumentInvalid: not a revocation list of format 1.
    """
    return strict_json(raw, RevokedList, REVOKED_PATH)


def read_rollouts(raw: bytes) -> RolloutList:
    """Read the roll-outs under way.

    Raises:
        DocumentInvalid: not a list of roll-outs of format 1, or an id occurs twice.
    """
    found = strict_json(raw, RolloutList, ROLLOUT_PATH)
    if len({rollout.id for rollout in found.rollouts}) != len(found.rollouts):
        raise DocumentInvalid(f"{ROLLOUT_PATH}: two roll-outs have the same id; publish it again")
    return found


def allowlist_path(line: str) -> str:
    """Return the target path of a line's allow-list.

    Raises:
        DocumentInvalid: a line cannot have this name: another document lies there.
    """
    if line in RESERVED:
        raise DocumentInvalid(f"a line cannot be called '{line}': name it otherwise")
    return f"allowlists/{line}.json"


def line_of(path: str) -> str:
    """Return the line whose allow-list has this target path."""
    return path.removeprefix("allowlists/").removesuffix(".json")


def read_documents(document: Callable[[str, int], bytes | None], line: str) -> Documents:
    """Return what decides for `line`; `document` gives the verified bytes of a target path of at most a size, or None.

    All are asked for before one is read: a mirror holds them all even where one is not good.

    Raises:
        DocumentInvalid: one is not what lies at such a path.
    """
    paths = (allowlist_path(line), REVOKED_PATH, ROLLOUT_PATH)
    allowlist, revoked, rollouts = [document(path, LARGEST_BYTES) for path in paths]
    return Documents(
        read_allowlist(allowlist, line) if allowlist is not None else None,
        read_revoked(revoked) if revoked is not None else None,
        read_rollouts(rollouts) if rollouts is not None else None,
    )


def parts(pairs: Iterable[Pair]) -> Iterable[tuple[Kind, str]]:
    """Return the bundles and recipes of these pairs, each once, in their order."""
    return dict.fromkeys(part for pair in pairs for part in zip(Kind, pair, strict=True)).keys()


def included(device: str, rollout: str, percent: int) -> bool:
    """Return whether a device is among the first `percent` of a roll-out. Raising it never takes a device out."""
    place = int.from_bytes(hashlib.sha256(f"{rollout}\n{device}".encode()).digest()[:8], "big")
    return place * 100 < percent << 64


def decide(device: str, line: str, documents: Documents, wish: Sequence[Pair] | None = None) -> Decision:
    """Return what the device may download and activate.

    Called by: `slots`, the judge, after each verified refresh; `uplink` to know what to mirror.

    Args:
        device: the device's id, as its certificate and its status name it.
        line: the line's name in the station file.
        documents: read from targets that TUF verified.
        wish: what the orchestrator ordered, () if it ordered nothing, None if the station has no orchestrator.
    """
    allowed, revoked = documents.allowlist, documents.revoked
    closed = _closed(device, line, allowed, revoked)
    if closed or allowed is None or revoked is None:
        return Decision((), None, tuple(Refusal(pair, closed) for pair in dict.fromkeys(wish or ())), closed)
    rollouts = [rollout for rollout in _rollouts(documents) if rollout.concerns(line)]
    staged = [one.pair for one in rollouts if included(device, one.id, one.percent)]
    wanted = staged if wish is None else [pair for pair in wish if pair in staged]
    named = [allowed.activate.pair] if allowed.activate else []
    paused = {rollout.pair for rollout in rollouts if rollout.paused}
    faults = {pair: _fault(pair, allowed, revoked, paused) for pair in [*named, *wanted]}
    late = {pair: "no roll-out brings it to this device" for pair in wish or () if pair not in faults}
    download = tuple(pair for pair, fault in faults.items() if not fault)
    activate = allowed.activate if named and not faults[named[0]] else None
    refused = tuple(Refusal(pair, fault) for pair, fault in {**faults, **late}.items() if fault)
    return Decision(download, activate, refused, _why(download, activate, refused))


def _closed(device: str, line: str, allowed: AllowList | None, revoked: RevokedList | None) -> str:
    if revoked is None:
        return "the fleet lists no revocations, so nothing may be taken from it; publish revoked.json"
    if device in revoked.ids(What.DEVICE):
        return "this device is revoked; enrol it again"
    if allowed is None or allowed.line != line:
        return f"the fleet has no allow-list for line '{line}', so it may take nothing"
    return ""


def _rollouts(documents: Documents) -> tuple[Rollout, ...]:
    return documents.rollouts.rollouts if documents.rollouts else ()


def _fault(pair: Pair, allowed: AllowList, revoked: RevokedList, paused: set[Pair]) -> str:
    """Return why this line does not take a pair, "" if it does."""
    for what, digest, listed in (
        (What.BUNDLE, pair.bundle, allowed.bundles),
        (What.RECIPE, pair.recipe, allowed.recipes),
    ):
        if digest in revoked.ids(what):
            return f"{what} {digest[:12]} is revoked"
        if digest not in listed:
            return f"{what} {digest[:12]} is not on the allow-list of line '{allowed.line}'"
    return "its roll-out is paused" if pair in paused else ""


def _why(download: tuple[Pair, ...], activate: Activation | None, refused: tuple[Refusal, ...]) -> str:
    said = [f"{len(download)} to have" if download else "nothing to have"]
    if activate:
        said.append(f"bundle {activate.bundle[:12]} to activate by {activate.change_control}")
    if refused:
        said.append(f"{len(refused)} refused: {refused[0].why}")
    return ", ".join(said)
