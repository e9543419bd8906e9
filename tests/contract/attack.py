"""One attack, the section it belongs to, and what became of it. For the tests and for `make attacks`."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from signing.errors import SigningError

LONGEST_LINE = 600
Attempt = Callable[[], object]


class Ground(Protocol):
    """A world that attacks are played in: built once, copied for each."""

    @property
    def folder(self) -> Path: ...

    def copy(self, folder: Path) -> Self: ...

    def state(self) -> Mapping[str, bytes]:
        """Return what no attack may change; a file named by its own digest may be added."""


G = TypeVar("G", bound=Ground)


@dataclass(frozen=True, slots=True)
class Attack(Generic[G]):
    """`expected` is the name of the exception that must refuse it, and `says` is in its message.

    `prepare` plays the attacker and returns what the device is then made to do.
    """

    name: str
    expected: str
    prepare: Callable[[G], Attempt]
    says: str = ""


@dataclass(frozen=True, slots=True)
class Section(Generic[G]):
    """Attacks of one kind. Only `refusals` are refusals, all else is a bug."""

    title: str
    build: Callable[[Path], G]
    attacks: list[Attack[G]]
    refusals: tuple[type[Exception], ...] = (SigningError,)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attack. `refused_with` is empty when it was accepted, `wrong` when all is as it must be."""

    section: str
    case: str
    expected: str
    refused_with: str
    text: str
    wrong: str


class Grounds:
    """The worlds under one folder, by section: each is built when its first attack comes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._built: dict[str, Any] = {}
        self._played = 0

    def outcome(self, section: Section[Any], attack: Attack[Any]) -> Outcome:
        """Play one attack in a world of its own."""
        if section.title not in self._built:
            self._built[section.title] = section.build(self._folder / f"built-{len(self._built)}")
        self._played += 1
        return outcome(section, attack, self._built[section.title].copy(self._folder / str(self._played)))


def outcome(section: Section[G], attack: Attack[G], world: G) -> Outcome:
    """Play one attack in this world."""
    attempt = attack.prepare(world)
    before = dict(world.state())
    name, text = "", ""
    try:
        attempt()
    except section.refusals as error:
        text = str(error).replace(f"{world.folder}/", "")
        name = attack.expected if attack.expected in text else type(error).__name__
    wrong = _wrong(attack, name, text) or _changed(before, world.state())
    return Outcome(section.title, attack.name, attack.expected, name, text, wrong)


def listed_in(attacks: list[Attack[G]]) -> Callable[..., Callable[[Callable[[G], Attempt]], Callable[[G], Attempt]]]:
    """Return the decorator that adds an attack to `attacks`."""

    def attack(name: str, expected: str, says: str = "") -> Callable[[Callable[[G], Attempt]], Callable[[G], Attempt]]:
        def add(prepare: Callable[[G], Attempt]) -> Callable[[G], Attempt]:
            attacks.append(Attack(name, expected, prepare, says))
            return prepare

        return add

    return attack


def _wrong(attack: Attack[Any], name: str, text: str) -> str:
    if not name:
        return "ACCEPTED"
    if name != attack.expected:
        return f"expected {attack.expected}"
    if attack.says not in text:
        return f"it does not say {attack.says!r}"
    return "" if len(text.splitlines()) == 1 and len(text) < LONGEST_LINE else "not one short line"


def _changed(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> str:
    lost = before.keys() - after.keys()
    other = {name for name in after if after[name] != before.get(name) and not _names_itself(name, after[name])}
    return f"changed: {', '.join(sorted(lost | other))}" if lost or other else ""


def _names_itself(name: str, data: bytes) -> bool:
    """A whole blob, which no state names yet."""
    return name.rpartition("/")[2] == hashlib.sha256(data).hexdigest()


def files_of(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
