"""`linewarden audit verify`: the whole trail of a ledger, its signed heads, its tables; and heads kept elsewhere."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from daemon import ledger_file
from daemon.ledger_file import LEDGER
from daemon.recorder import tables, verify
from daemon.recorder.opening import known_keys
from daemon.recorder.verify import TrailBroken
from signing import chain
from signing.chain import ChainError

WHOLE, BROKEN = 0, 1


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of a whole trail. `unsigned` entries came after the newest signed head."""

    ledger: str
    origin: str
    entries: int
    root: str
    heads: int
    signed: int
    unsigned: int
    keys: list[str]
    rows: int
    witnesses: int


def run(state: Path, witnesses: Sequence[Path], as_json: bool, console: Console) -> int:
    """Verify and tell; return the exit status: 0 whole, 1 not (one line on standard error says what and where).

    Raises:
        TrailBroken, LedgerUnreadable: the first thing that is wrong.
    """
    finding = check(state, witnesses, Console(stderr=True, quiet=as_json))
    if as_json:
        print(json.dumps(asdict(finding), indent=2))
        return WHOLE
    head = f"{finding.heads} signed heads, the newest over {finding.signed} entries: {finding.root[:16]}…"
    console.print(f"ledger   {finding.ledger}", highlight=False, soft_wrap=True)
    console.print(f"trail    {finding.origin}: {finding.entries} entries whole, chain and tree", highlight=False)
    console.print(f"heads    {head}, keys {', '.join(finding.keys)}", highlight=False, soft_wrap=True)
    console.print(f"tables   {finding.rows} rows say what the entries say", highlight=False)
    if finding.witnesses:
        console.print(f"witness  {finding.witnesses} heads kept elsewhere agree", highlight=False)
    if finding.unsigned:
        console.print(f"[yellow]not signed yet: the last {finding.unsigned} entries[/]", highlight=False)
    console.print("[bold green]WHOLE[/]")
    return WHOLE


def check(state: Path, witnesses: Sequence[Path], console: Console) -> Finding:
    """Return what a whole trail holds.

    Raises:
        TrailBroken: the first thing that is wrong.  LedgerUnreadable: no ledger, or damaged.
    """
    path = state / LEDGER
    keys = known_keys(state)
    with ledger_file.reading(path) as db, _progress(console, ledger_file.size(db)) as bars:
        tables.integrity(db)
        origin = _origin(db, path)
        found = verify.verify_trail(db, keys, origin, progress=bars[0])
        rows = tables.verify_tables(db, progress=bars[1])
        seen = sum(_witness(db, note, origin) for note in _notes(witnesses))
    return Finding(
        ledger=str(path),
        origin=origin,
        entries=found.size,
        root=found.root.hex(),
        heads=found.checkpoints,
        signed=found.signed,
        unsigned=found.size - found.signed,
        keys=[key.hex() for key in keys],
        rows=rows,
        witnesses=seen,
    )


def _origin(db: sqlite3.Connection, path: Path) -> str:
    """The name in the first head: `verify_trail` refuses heads of any other."""
    heads = ledger_file.checkpoints(db)
    if not heads:
        raise TrailBroken(f"{path}: no head is signed: nothing proves who wrote these entries; start the recorder")
    try:
        return chain.parse_note(heads[0].note).origin
    except ChainError as error:
        raise TrailBroken(f"checkpoint over {heads[0].size} entries: {error}") from error


def _notes(witnesses: Sequence[Path]) -> Iterator[Path]:
    for path in witnesses:
        if not path.exists():
            raise TrailBroken(f"{path}: there is no such note; name a file or folder of notes")
        yield from sorted(path.glob("*.note")) if path.is_dir() else [path]


def _witness(db: sqlite3.Connection, path: Path, origin: str) -> int:
    """Compare a head that was kept elsewhere with the tree over as many entries."""
    try:
        said = chain.parse_note(path.read_text(encoding="utf-8"))
    except (ChainError, OSError, UnicodeError) as error:
        raise TrailBroken(f"{path}: not a checkpoint: {error}") from error
    if said.origin != origin:
        raise TrailBroken(f"{path} is a head of {said.origin}, this trail is {origin}'s")
    size = ledger_file.size(db)
    if said.size > size:
        raise TrailBroken(f"{path} was signed over {said.size} entries, {size} are here: the trail was cut off")
    if ledger_file.frontier(db, said.size).root() != said.root:
        raise TrailBroken(f"{path}: its root over {said.size} entries is another: the trail was written again")
    return 1


@contextmanager
def _progress(console: Console, total: int) -> Iterator[tuple[verify.Progress, verify.Progress]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        trail, rows = shown.add_task("chain and tree", total=total), shown.add_task("tables", total=total)
        yield (lambda done: shown.update(trail, completed=done)), (lambda done: shown.update(rows, completed=done))
