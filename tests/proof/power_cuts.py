"""The two campaigns of power cuts: cut a real process before a system call, and cut its disk behind any of them.

Everything is drawn from a seed: state N of a life under seed S is cut at the same call in the same way, though the
recorder's keys and times are new in each run.
"""

import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Protocol

from power_disk import STYLES, Disk, State
from power_recorder import LIVES
from power_slots import SlotsLife
from power_stores import ArchiveLife, EvidenceLife
from power_tpm import TpmLife
from power_trace import Event, events, scratch, targets

# The first two give one state for each cut, the others many.
DRAWN = (*STYLES, *STYLES[2:], *STYLES[2:])
MOVED = "archive.json"


class Life(Protocol):
    """Something that is cut off: see power_recorder and power_stores."""

    name: str
    short: bool
    disk: bool
    unavailable: str

    def prepare(self, folder: Path) -> None: ...
    def live(self, folder: Path, log: Path, cut: tuple[str, int] | None) -> Any: ...
    def finish(self, folder: Path, held: Any) -> tuple[list[str], list[Any]]: ...
    def promises(self, found: Sequence[Event]) -> list[Any]: ...
    def judge(self, folder: Path, promised: Sequence[Any]) -> list[str]: ...
    def close(self) -> None: ...


ALL: tuple[Life, ...] = (*LIVES, EvidenceLife(), ArchiveLife(), TpmLife(), SlotsLife())
HERE = tuple(life for life, body in enumerate(ALL) if not body.unavailable)
DISK = tuple(life for life in HERE if ALL[life].disk)
SHORT = tuple(life for life, body in enumerate(ALL) if body.short and life in HERE)


@dataclass(frozen=True, slots=True)
class Recorded:
    """One whole life: what lay there before, what it did and what it promised."""

    life: int
    root: str
    before: State
    events: list[Event]
    promised: list[Any]

    @property
    def targets(self) -> list[tuple[str, int]]:
        return targets(self.events)


@dataclass(slots=True)
class Tally:
    """What came of the cuts of one life. `kinds`: before which calls, or how the disk was left."""

    done: int = 0
    promises: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, kind: str, promised: int, wrong: Sequence[str]) -> None:
        self.done += 1
        self.promises += promised
        self.kinds[kind] += 1
        self.wrong += wrong

    def merge(self, other: "Tally") -> None:
        self.done += other.done
        self.promises += other.promises
        self.kinds += other.kinds
        self.wrong += other.wrong


def record(life: int) -> Recorded:
    """Let a life run to its end and return everything about it."""
    with tempfile.TemporaryDirectory(dir=scratch()) as made, closing(ALL[life]):
        folder, log = Path(made) / "f", Path(made) / "log"
        _prepared(life, folder)
        before = snapshot(folder)
        ALL[life].live(folder, log, None)
        found = events(log, folder)
        return Recorded(life, str(folder), before, found, ALL[life].promises(found))


def snapshot(folder: Path) -> State:
    """Return what lies in a folder; what only memory holds (-shm, sockets) is not on the disk."""
    there = [path for path in sorted(folder.rglob("*")) if not path.is_socket() and not path.name.endswith("-shm")]
    return {str(path.relative_to(folder)): _content(path) for path in there}


def _content(path: Path) -> bytes | str | None:
    if path.is_symlink():
        return os.readlink(path)
    return None if path.is_dir() else path.read_bytes()


def states(
    recorded: Recorded, seed: int, count: int, part: tuple[int, int] = (0, 1)
) -> Iterator[tuple[str, int, State]]:
    """Draw `count` states and yield (style, line of the cut, state) of the different ones, in order of the cuts.

    `part` (i, n): the i-th of n stretches of the log.
    """
    chance = Random(f"{seed}:{recorded.life}")
    order = sorted(recorded.events, key=_at)
    changes = [index for index, event in enumerate(order) if event.kind not in ("say", "hear")]
    picked = sorted((chance.choice(changes), turn) for turn in range(count))
    disk, fed, seen = Disk(recorded.root, recorded.before), 0, set[bytes]()
    for index, turn in picked[count * part[0] // part[1] : count * (part[0] + 1) // part[1]]:
        while fed <= index:
            disk.feed(order[fed])
            fed += 1
        line, style = _at(order[index]), DRAWN[turn % len(DRAWN)]
        state = disk.crash(Random(f"{seed}:{recorded.life}:{turn}"), style)
        own = _fingerprint(state, sum(one.at <= line for one in recorded.promised))
        if own not in seen:
            seen.add(own)
            yield style, line, state


def try_states(recorded: Recorded, seed: int, count: int, part: tuple[int, int] = (0, 1)) -> Tally:
    """Lay out crash states and judge each."""
    tally = Tally()
    for number, (style, line, state) in enumerate(states(recorded, seed, count, part)):
        promised = [one for one in recorded.promised if one.at <= line]
        with tempfile.TemporaryDirectory(dir=scratch()) as made:
            lay_out(Path(made), state, recorded.root)
            wrong = ALL[recorded.life].judge(Path(made), promised)
        name = f"{ALL[recorded.life].name}, state {number} of part {part} ({style}, behind line {line})"
        tally.add(style, len(promised), [f"{name}: {text}" for text in wrong])
    return tally


def lay_out(folder: Path, state: State, root: str) -> None:
    """Write a state into an empty folder, as if it had lain at `root`."""
    for name, data in state.items():
        path = folder / name
        if data is None:
            path.mkdir()
        elif isinstance(data, str):
            path.symlink_to(data)
        else:
            path.write_bytes(data.replace(root.encode(), str(folder).encode()) if name.endswith(MOVED) else data)
            path.chmod(0o600)


def try_cut(life: int, target: tuple[str, int]) -> tuple[str, int, list[str]]:
    """Kill a real process before a call, judge what lies there, start it for real and judge that.

    Returns:
        Before which call it ended ("" if it came to its end), how much it had promised, and what was wrong.
    """
    body = ALL[life]
    with tempfile.TemporaryDirectory(dir=scratch()) as made, closing(body):
        folder, log, copy = Path(made) / "f", Path(made) / "log", Path(made) / "copy"
        _prepared(life, folder)
        held = body.live(folder, log, target)
        promised = body.promises(events(log, folder))
        lay_out_copy(folder, copy)
        name = f"{body.name}, killed before {target[0]} {target[1]}"
        wrong = body.judge(copy, promised)
        stuck, more = body.finish(folder, held)
        wrong += stuck or body.judge(folder, [*promised, *more])
        return _killed(log, target[0]), len(promised), [f"{name}: {text}" for text in wrong]


def lay_out_copy(folder: Path, copy: Path) -> None:
    copy.mkdir()
    lay_out(copy, snapshot(folder), str(folder))


def sample(found: Sequence[tuple[str, int]], count: int, chance: Random) -> list[tuple[str, int]]:
    """Return `count` of the targets, every kind of call among them where that is possible; 0 for all."""
    if not count or count >= len(found):
        return list(found)
    first = {call: (call, number) for call, number in chance.sample(list(found), len(found))}
    chosen = list(first.values())[:count]
    rest = [target for target in found if target not in chosen]
    return chosen + chance.sample(rest, count - len(chosen))


def _prepared(life: int, folder: Path) -> None:
    folder.mkdir()
    ALL[life].prepare(folder)
    for shared in folder.rglob("*-shm"):
        shared.unlink()


def _killed(log: Path, call: str) -> str:
    """A call that the power took has no result in the log."""
    last = log.read_bytes().splitlines()[-3:]
    taken = [line for line in last if line.partition(b" ")[2].strip().startswith(call.encode() + b"(")]
    return call if any(line.endswith((b"= ?", b"<unfinished ...>")) for line in taken) else ""


def _at(event: Event) -> int:
    return event.end if event.kind == "sync" else event.begin


def _fingerprint(state: State, promised: int) -> bytes:
    found = hashlib.blake2b(b"%d" % promised)
    for name, data in state.items():
        kept = b"/" if data is None else b"=" + data if isinstance(data, bytes) else b">" + data.encode()
        found.update(name.encode() + kept)
    return found.digest()
