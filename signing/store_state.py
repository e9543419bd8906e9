"""What the store of bundles and recipes holds, and how an act changes it. Pure: no file, no clock.

Everything that decides stands in one document, `state.json`, which is replaced whole: that replacement is the act, and
the rows that tell of it are in it too. The links `active`, `previous` and `staged` follow it (signing/store.py).
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta, Struct, structs

from signing.errors import SigningError
from signing.index import Kind, Sha256Hex

Number = Annotated[int, Meta(ge=0)]
NO_GENERATION = 0


class StoreError(SigningError):
    """The store cannot be used: the text says what to repair."""


class StoreRefused(StoreError):
    """The act was not done and nothing changed; the text says what stands in its way."""


class Health(StrEnum):
    """What became of a generation: not tried yet, ran once, or vision refused to load it."""

    NEW = "new"
    GOOD = "good"
    REFUSED = "refused"


class Installed(Struct, frozen=True, forbid_unknown_fields=True):
    """One bundle or recipe that was verified. `files`: path below its folder -> sha256 (hex).

    `trust` is the digest of the trust document it was verified against, `versions` root, timestamp and snapshot of the
    metadata that listed it (0, 0, 0: it came as a folder), `signers` the ids of the keys that signed it, `bundle` the
    bundle that a recipe names; `order` counts.
    """

    kind: Kind
    name: str
    version: str
    trust: Sha256Hex
    utc: str
    source: str
    order: Number
    files: dict[str, Sha256Hex]
    versions: tuple[Number, Number, Number] = (0, 0, 0)
    signers: tuple[Sha256Hex, ...] = ()
    bundle: str = ""


class Generation(Struct, frozen=True, forbid_unknown_fields=True):
    """A bundle and a recipe that belong together, and the trust both were verified against. `text`: why refused."""

    bundle: Sha256Hex
    recipe: Sha256Hex
    trust: Sha256Hex
    utc: str
    health: Health = Health.NEW
    text: str = ""


class Said(Struct, frozen=True, forbid_unknown_fields=True):
    """Who wanted something, in which role, why and when: of a pin, and of an activation that waits."""

    who: str
    role: str
    why: str
    utc: str


class Owed(Struct, frozen=True, forbid_unknown_fields=True):
    """A row of the audit trail that the recorder has not stored yet (daemon.records.AuditRow)."""

    seq: Number
    at_ns: int
    what: str
    who: str
    role: str
    why: str
    old: str
    new: str
    done: bool
    answer: str
    signature: str = ""


class Told(Struct, frozen=True, forbid_unknown_fields=True):
    """The answer to a request whose file is still there."""

    ok: bool
    text: str


class Listing(Struct, frozen=True, forbid_unknown_fields=True):
    """What the newest trusted metadata permits this line: digests, and which metadata that was."""

    bundles: tuple[Sha256Hex, ...]
    recipes: tuple[Sha256Hex, ...]
    versions: tuple[Number, Number, Number]
    signed_at: str

    def has(self, digest: str) -> bool:
        return digest in self.bundles or digest in self.recipes


class StoreState(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole content of state.json. Generation 0 is none.

    `ordered` is the order of the allow-list that was carried out last: each is carried out once, so that what a person
    rolled back stays so. `owed` are numbered from 1 under `session`, which changes once the recorder has stored them
    all: sent twice they are recorded once.
    """

    format: Literal[1]
    trust: Sha256Hex
    session: Number
    made: Number = 0
    installs: Number = 0
    active: Number = NO_GENERATION
    previous: Number = NO_GENERATION
    staged: Number = NO_GENERATION
    waiting: Said | None = None
    generations: dict[int, Generation] = {}
    installed: dict[Sha256Hex, Installed] = {}
    pins: dict[Sha256Hex, Said] = {}
    listing: Listing | None = None
    ordered: str = ""
    owed: tuple[Owed, ...] = ()
    told: dict[str, Told] = {}

    def looks(self) -> str:
        """Return what an act changes, as the trail says it before and after."""
        return f"active {self._shown(self.active)}, staged {self._shown(self.staged)}"

    def _shown(self, number: int) -> str:
        if not number:
            return "none"
        one = self.generations[number]
        return f"{number} (bundle {one.bundle[:12]}, recipe {one.recipe[:12]})"


class Batch(Struct, frozen=True):
    """The open batch and the pair it runs on."""

    id: str
    bundle: str
    recipe: str


class Facts(Struct, frozen=True):
    """What an act is judged by besides the state. `revoked`: digest -> why."""

    batch: Batch | None
    revoked: Mapping[str, str]


def owing(state: StoreState, row: Owed) -> StoreState:
    """Return the state with one more row for the recorder."""
    return structs.replace(state, owed=(*state.owed, structs.replace(row, seq=len(state.owed) + 1)))


def settled(state: StoreState, session: int) -> StoreState:
    """Return the state after the recorder has stored all rows; the next ones come under `session`."""
    return structs.replace(state, owed=(), session=session)


def with_installed(state: StoreState, digest: str, entry: Installed) -> StoreState:
    """Return the state with one more bundle or recipe; the same content again keeps its place."""
    order = state.installed[digest].order if digest in state.installed else state.installs + 1
    installed = state.installed | {digest: structs.replace(entry, order=order)}
    return structs.replace(state, installed=installed, installs=max(order, state.installs))


def recipe_for(state: StoreState, digest: str) -> str:
    """Return the installed recipe that goes with a bundle or is itself named by `digest`.

    Raises:
        StoreRefused: not installed, or it takes a person to choose.
    """
    entry = entry_of(state, digest)
    if entry.kind is Kind.RECIPE:
        return digest
    found = [name for name, one in state.installed.items() if one.bundle == digest]
    if len(found) == 1:
        return found[0]
    if not found:
        raise StoreRefused(
            f"no recipe for bundle {digest[:12]} is installed: install one, it names the bundle it is for"
        )
    recipes = ", ".join(sorted(name[:12] for name in found))
    raise StoreRefused(f"bundle {digest[:12]} has {len(found)} recipes: activate one of them by name: {recipes}")


def entry_of(state: StoreState, digest: str) -> Installed:
    """Return what is installed under a digest.

    Raises:
        StoreRefused: nothing is.
    """
    if digest not in state.installed:
        raise StoreRefused(f"{digest[:12]} is not installed: install it first, `linewarden bundle list` shows what is")
    return state.installed[digest]


def named(state: StoreState, text: str) -> str:
    """Return the digest that a person means by the first digits of it, or by NAME or NAME-VERSION.

    Raises:
        StoreRefused: none or several.
    """
    found = [
        digest
        for digest, one in state.installed.items()
        if text in (one.name, f"{one.name}-{one.version}") or (len(text) >= 8 and digest.startswith(text))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise StoreRefused(f"{text}: {len(found)} installed things are called so: name one by its digest")
    raise StoreRefused(f"{text}: not installed: give a name or at least 8 digits of the digest as `list` shows them")


def with_generation(state: StoreState, bundle: str, recipe: str, trust: str, utc: str) -> tuple[StoreState, int]:
    """Return the state with a generation of this pair, and its number; one that vision refused is not used again."""
    for number, one in state.generations.items():
        if (one.bundle, one.recipe, one.trust) == (bundle, recipe, trust) and one.health is not Health.REFUSED:
            return state, number
    number = state.made + 1
    generations = state.generations | {number: Generation(bundle, recipe, trust, utc)}
    return structs.replace(state, generations=generations, made=number), number


def activated(state: StoreState, number: int, facts: Facts, said: Said) -> tuple[StoreState, str]:
    """Return the state after the act `activate`, and what to answer. While a batch is open it waits, staged.

    Raises:
        StoreRefused: a pin or a revocation stands in its way, vision refused it, or it is active.
    """
    one = state.generations[number]
    if one.health is Health.REFUSED:
        raise StoreRefused(f"vision refused generation {number}: {one.text}; activate its bundle to try it once more")
    if number == state.active:
        raise StoreRefused(
            f"generation {number} (bundle {one.bundle[:12]}, recipe {one.recipe[:12]}) is active already"
        )
    _unpinned(state, one)
    _unrevoked(one, facts.revoked)
    if facts.batch is not None and (facts.batch.bundle, facts.batch.recipe) != (one.bundle, one.recipe):
        text = f"staged: batch {facts.batch.id} is open and keeps what it runs on; active once it is closed"
        return structs.replace(state, staged=number, waiting=said), text
    return _flipped(state, number), f"generation {number} is active: bundle {one.bundle[:12]}, recipe {one.recipe[:12]}"


def rolled_back(state: StoreState, facts: Facts, said: Said) -> tuple[StoreState, str]:
    """Return the state with the previous generation active again, and what to answer.

    Raises:
        StoreRefused: there is none, or as `activated`.
    """
    if not state.previous:
        raise StoreRefused("there is no previous generation to go back to: activate another bundle instead")
    return activated(state, state.previous, facts, said)


def due(state: StoreState, facts: Facts) -> tuple[StoreState, str] | None:
    """Return the state after what waited for the end of a batch, None while it has to wait or nothing does."""
    if state.waiting is None or not state.staged:
        return None
    try:
        after, text = activated(state, state.staged, facts, state.waiting)
    except StoreRefused as refused:
        return structs.replace(state, staged=NO_GENERATION, waiting=None), str(refused)
    return None if after.waiting else (after, text)


def pinned(state: StoreState, digest: str, said: Said) -> StoreState:
    """Return the state with a pin on what is installed under a digest.

    Raises:
        StoreRefused: it is not installed, or pinned.
    """
    entry_of(state, digest)
    if digest in state.pins:
        raise StoreRefused(f"{digest[:12]} is pinned already, by {state.pins[digest].who}: {state.pins[digest].why}")
    return structs.replace(state, pins=state.pins | {digest: said})


def unpinned(state: StoreState, digest: str) -> StoreState:
    """Return the state without the pin.

    Raises:
        StoreRefused: there is none.
    """
    if digest not in state.pins:
        raise StoreRefused(f"{digest[:12]} is not pinned")
    return structs.replace(state, pins={name: pin for name, pin in state.pins.items() if name != digest})


def reported(state: StoreState, number: int, ok: bool, text: str, facts: Facts) -> tuple[StoreState, str] | None:
    """Return the state after vision said what became of a generation, and in words; None if that is nothing new.

    One that never ran and is refused is taken back: from `active` if no batch is open and nothing is pinned.
    """
    one = state.generations.get(number)
    if one is None or one.health is (Health.GOOD if ok else Health.REFUSED):
        return None
    if one.health is Health.GOOD:
        return None
    generations = state.generations | {
        number: structs.replace(one, health=Health.GOOD if ok else Health.REFUSED, text=text)
    }
    state = structs.replace(state, generations=generations)
    if ok:
        return state, f"generation {number} is good"
    if number == state.staged:
        return structs.replace(state, staged=NO_GENERATION, waiting=None), f"generation {number} refused: {text}"
    if number != state.active:
        return state, f"generation {number} refused: {text}"
    return _taken_back(state, number, text, facts)


def _taken_back(state: StoreState, number: int, text: str, facts: Facts) -> tuple[StoreState, str]:
    why = f"generation {number} refused: {text}"
    if not state.previous:
        return state, f"{why}; there is no previous generation: activate another bundle"
    back = state.generations[state.previous]
    if facts.batch is not None:
        return state, f"{why}; batch {facts.batch.id} is open, so it stays: call QA"
    try:
        _unpinned(state, back)
        _unrevoked(back, facts.revoked)
    except StoreRefused as refused:
        return state, f"{why}; not rolled back: {refused}"
    return _flipped(state, state.previous), f"{why}; rolled back to generation {state.previous}"


def _flipped(state: StoreState, number: int) -> StoreState:
    previous = state.active or state.previous
    return structs.replace(state, active=number, previous=previous, staged=NO_GENERATION, waiting=None)


def _unpinned(state: StoreState, one: Generation) -> None:
    if state.pins and not {one.bundle, one.recipe} & state.pins.keys():
        digest, pin = next(iter(state.pins.items()))
        raise StoreRefused(f"{digest[:12]} is pinned by {pin.who} ({pin.why}): unpin it first")


def _unrevoked(one: Generation, revoked: Mapping[str, str]) -> None:
    for digest in (one.bundle, one.recipe):
        if digest in revoked:
            raise StoreRefused(f"{digest[:12]} is revoked: {revoked[digest]}; activate another one")
