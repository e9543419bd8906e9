"""A disk that loses its power: what may lie on it after a cut, from the calls that a process made.

What an fsync covered is there: a file's by its own fsync, names by one of their folder. Of everything later any part
may be there: later writes without earlier ones, single sectors of a write, a longer file without its bytes, a name
without the rename before it. Only a rename is one step: the old name never goes before the new one is there.
"""

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from random import Random

from power_trace import Event, TraceError

SECTOR = 512
STYLES = ("least", "most", "ordered", "subset", "sectors")
State = dict[str, bytes | str | None]


@dataclass(slots=True, eq=False)
class File:
    """`base` is what was synced, `later` what was not: (begin, end, offset, data), a truncation has data None.

    A symbolic link has a `target` and nothing else.
    """

    base: bytearray = field(default_factory=bytearray)
    later: list[tuple[int, int, int, bytes | None]] = field(default_factory=list)
    size: int = 0
    target: str = ""

    def add(self, event: Event, offset: int, data: bytes | None) -> None:
        if offset < 0:
            offset = self.size
        self.size = offset if data is None else max(self.size, offset + len(data))
        self.later.append((event.begin, event.end, offset, data))

    def sync(self, begin: int) -> None:
        for _, _, offset, data in (op for op in self.later if op[1] < begin):
            _apply(self.base, offset, data)
        self.later = [op for op in self.later if op[1] >= begin]


FOLDER = File()


@dataclass(slots=True, eq=False)
class Name:
    """What a name leads to: synced, and what it led to later: (begin, end, file or None, the other name)."""

    base: File | None = None
    later: list[tuple[int, int, File | None, str]] = field(default_factory=list)

    @property
    def now(self) -> File | None:
        return self.later[-1][2] if self.later else self.base

    def sync(self, begin: int) -> None:
        for version in (version for version in self.later if version[1] < begin):
            self.base = version[2]
        self.later = [version for version in self.later if version[1] >= begin]


class Disk:
    """`feed` it the events of a log in order; at any time `crash` gives a state. Paths are those of the log."""

    def __init__(self, root: str, at_first: Mapping[str, bytes | str | None]) -> None:
        self._root = root
        self._names: dict[str, Name] = {}
        for path, data in at_first.items():
            made = FOLDER if data is None else _file_of(data)
            self._names[posixpath.join(root, path)] = Name(made)

    def feed(self, event: Event) -> None:
        """Take one event of files; the others do nothing."""
        if event.kind in ("create", "mkdir", "unlink", "rename", "link", "symlink", "write", "truncate", "sync"):
            getattr(self, f"_{event.kind}")(event)

    def _create(self, event: Event) -> None:
        file = self._now(event.path)
        if file is None:
            self._set(event.path, event, File())
        elif event.offset and file is not FOLDER:
            file.add(event, 0, None)

    def _mkdir(self, event: Event) -> None:
        self._set(event.path, event, FOLDER)

    def _unlink(self, event: Event) -> None:
        self._set(event.path, event, None)

    def _rename(self, event: Event) -> None:
        self._set(event.to, event, self._file(event.path))
        self._set(event.path, event, None, event.to)

    def _link(self, event: Event) -> None:
        self._set(event.to, event, self._file(event.path))

    def _symlink(self, event: Event) -> None:
        self._set(event.path, event, File(target=event.to))

    def _write(self, event: Event) -> None:
        self._file(event.path).add(event, event.offset, event.data)

    def _truncate(self, event: Event) -> None:
        self._file(event.path).add(event, event.offset, None)

    def _sync(self, event: Event) -> None:
        if event.path == self._root or self._now(event.path) is FOLDER:
            for path, name in self._names.items():
                if posixpath.dirname(path) == event.path:
                    name.sync(event.begin)
        else:
            self._file(event.path).sync(event.begin)

    def _now(self, path: str) -> File | None:
        name = self._names.get(path)
        return name.now if name else None

    def _file(self, path: str) -> File:
        found = self._now(path)
        if found is None:
            raise TraceError(f"{path} is used and was never made")
        return found

    def _set(self, path: str, event: Event, file: File | None, partner: str = "") -> None:
        name = self._names.setdefault(path, Name())
        name.later.append((event.begin, event.end, file, partner))

    @property
    def unsettled(self) -> int:
        """How many changes a cut may take or leave."""
        files = {id(name.now): name.now for name in self._names.values() if name.now}
        return sum(len(file.later) for file in files.values()) + sum(len(n.later) for n in self._names.values())

    def crash(self, chance: Random, style: str) -> State:
        """Return a folder as the cut may have left it: {path below it: bytes, a link's target, None for a folder}."""
        until = chance.choice(self._begins()) if style == "ordered" else 0
        share = chance.choice((0.1, 0.5, 0.9))
        choice = _Choice(style, chance, until, share)
        chosen = {path: choice.versions(name.later) for path, name in self._names.items()}
        self._renames_are_one_step(chosen)
        state: State = {}
        for path in sorted(chosen):
            name, count = self._names[path], chosen[path]
            file = name.later[count - 1][2] if count else name.base
            parent = posixpath.dirname(path)
            if file is None or (parent != self._root and state.get(self._below(parent), b"") is not None):
                continue
            state[self._below(path)] = None if file is FOLDER else file.target or choice.content(file)
        return state

    def _below(self, path: str) -> str:
        return posixpath.relpath(path, self._root)

    def _begins(self) -> list[int]:
        names = [version[0] for name in self._names.values() for version in name.later]
        files = [op[0] for name in self._names.values() if name.now for op in name.now.later]
        return sorted({-1, *names, *files})

    def _renames_are_one_step(self, chosen: dict[str, int]) -> None:
        for path, name in self._names.items():
            for begin, _, _, partner in name.later[: chosen[path]]:
                if partner:
                    needed = [i for i, version in enumerate(self._names[partner].later, 1) if version[0] == begin]
                    chosen[partner] = max(chosen[partner], *needed, 0)


@dataclass(frozen=True, slots=True)
class _Choice:
    """What a cut takes and leaves."""

    style: str
    chance: Random
    until: int
    share: float

    def versions(self, later: Iterable[tuple[int, int, File | None, str]]) -> int:
        found = list(later)
        if self.style in ("least", "most"):
            return len(found) if self.style == "most" else 0
        if self.style == "ordered":
            return sum(version[0] <= self.until for version in found)
        return self.chance.randint(0, len(found))

    def content(self, file: File) -> bytes:
        made = bytearray(file.base)
        if self.style == "sectors":
            self._sectors(file, made)
        else:
            self._whole(file, made)
        if self.style in ("subset", "sectors") and len(made) < file.size and self.chance.random() < 0.5:
            rest = file.size - len(made)
            made += self.chance.randbytes(rest) if self.chance.random() < 0.3 else bytes(rest)
        return bytes(made)

    def _whole(self, file: File, made: bytearray) -> None:
        taken = [op for op in file.later if self._takes(op[0])]
        for index, (_, _, offset, data) in enumerate(taken, 1):
            torn = data is not None and index == len(taken) and self.style != "most" and self.chance.random() < 0.5
            _apply(made, offset, self._torn(data) if torn and data else data)

    def _takes(self, begin: int) -> bool:
        if self.style == "ordered":
            return begin <= self.until
        return self.style == "most" or (self.style == "subset" and self.chance.random() < self.share)

    def _torn(self, data: bytes) -> bytes:
        if self.chance.random() < 0.5:
            return data[: self.chance.randrange(0, len(data) + SECTOR, SECTOR)]
        return data[: self.chance.randrange(len(data) + 1)]

    def _sectors(self, file: File, made: bytearray) -> None:
        for _, _, offset, data in file.later:
            if data is None:
                if self.chance.random() < self.share:
                    _apply(made, offset, None)
                continue
            at = 0
            while at < len(data):
                step = SECTOR - (offset + at) % SECTOR
                if self.chance.random() < self.share:
                    _apply(made, offset + at, data[at : at + step])
                at += step


def _file_of(data: bytes | str) -> File:
    return File(target=data) if isinstance(data, str) else File(bytearray(data), size=len(data))


def _apply(made: bytearray, offset: int, data: bytes | None) -> None:
    if len(made) < offset:
        made += bytes(offset - len(made))
    if data is None:
        del made[offset:]
    else:
        made[offset : offset + len(data)] = data
