"""What a candidate in shadow leaves behind: counts, disagreements and their frames (docs/operations/shadow.md).

`state/shadow/status.json` says what became of the candidate that the station file names. Beside it each candidate pair
has a folder `<bundle digest, 16>-<recipe digest, 16>/` with `counts.json`, `disagreements.jsonl` and `frames/`, images
as in the evidence store. Vision writes, `linewarden shadow report` reads.
"""

import enum
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from daemon.units import FrameKey, Reason, UnitId, Verdict, ViewKey
from signing.durable import write_durably

SHADOW, STATUS, COUNTS, DISAGREEMENTS, FRAMES = "shadow", "status.json", "counts.json", "disagreements.jsonl", "frames"
SHOWN_DIGITS = 16

T = TypeVar("T")


class ShadowUnreadable(Exception):
    """A file of the shadow cannot be read; the text names it and says what to do."""


class Phase(enum.StrEnum):
    """Where a candidate is in its life."""

    LOADING = "loading"
    LOOKING = "looking"
    REFUSED = "refused"
    ENDED = "ended"
    STOPPED = "stopped"


class Standing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`status.json`: what the candidate does, or why it does nothing. `at_ns` UTC by this computer's clock."""

    phase: Phase
    text: str
    at_ns: int


class Round(msgspec.Struct, forbid_unknown_fields=True):
    """Units that one active pair and the candidate both judged; `bundle` and `recipe` are digests of the active pair.

    `pairs` by "active verdict candidate verdict". `incomplete`: not compared, the active pair had no scores of a view
    that the candidate's recipe asks for (light, engine, another set of views). `dropped`: the candidate was too slow.
    `since_ns`, `until_ns`: UTC by this computer's clock.
    """

    bundle: str
    recipe: str
    since_ns: int
    until_ns: int
    pairs: dict[str, int] = {}
    incomplete: int = 0
    dropped: int = 0

    def add(self, active: Verdict, candidate: Verdict) -> None:
        key = f"{active} {candidate}"
        self.pairs[key] = self.pairs.get(key, 0) + 1

    def count(self, *, active: bool, candidate: bool) -> int:
        """Return how many units the active pair accepted (or not) and the candidate accepted (or not)."""
        wanted = (active, candidate)
        return sum(n for key, n in self.pairs.items() if tuple(word == "accept" for word in key.split()) == wanted)

    @property
    def undecided(self) -> int:
        """Units that the candidate neither accepted nor rejected; they count as not accepted."""
        return sum(n for key, n in self.pairs.items() if key.endswith(f" {Verdict.UNDECIDED}"))


class Counts(msgspec.Struct, forbid_unknown_fields=True):
    """`counts.json` of one candidate: its digests and names, and one round for each active pair beside it."""

    station: str
    bundle: str
    recipe: str
    bundle_name: str
    recipe_name: str
    rounds: list[Round] = []

    def round_of(self, bundle: str, recipe: str) -> Round:
        """Return the round of an active pair; the first unit of another one begins it."""
        for one in self.rounds:
            if (one.bundle, one.recipe) == (bundle, recipe):
                return one
        now_ns = time.time_ns()
        self.rounds.append(Round(bundle, recipe, now_ns, now_ns))
        return self.rounds[-1]


class Opinion(msgspec.Struct, frozen=True):
    """What one side came to."""

    verdict: Verdict
    reason: Reason
    defect: str


class Sight(msgspec.Struct, frozen=True):
    """One view of a unit: its frame, and the scores that both sides gave it."""

    view: ViewKey
    key: FrameKey
    digest: str
    active: dict[str, float]
    candidate: dict[str, float]


class Disagreement(msgspec.Struct, frozen=True):
    """A unit that one side accepts and the other does not. `kept`: its frames were written.

    `at_ns`: UTC by this computer's clock; batch, time and the quality of the clock stand in the unit's own row.
    """

    unit: UnitId
    at_ns: int
    bundle: str
    recipe: str
    active: Opinion
    candidate: Opinion
    sights: list[Sight]
    kept: bool


def folder_of(state: Path, bundle: str, recipe: str) -> Path:
    """Return where the records of a candidate lie."""
    return state / SHADOW / f"{bundle[:SHOWN_DIGITS]}-{recipe[:SHOWN_DIGITS]}"


def frame_file(folder: Path, digest: str) -> Path:
    """Return where a frame lies in a candidate's folder."""
    return folder / FRAMES / f"{digest}.pgm"


def candidates(state: Path) -> list[Path]:
    """Return the folders of all candidates that ever looked on here."""
    return sorted(path.parent for path in (state / SHADOW).glob(f"*/{COUNTS}"))


def tell(state: Path, phase: Phase, text: str) -> None:
    """Write the status, durable when it returns.

    Raises:
        OSError: the disk does not take it.
    """
    (state / SHADOW).mkdir(exist_ok=True)
    write_durably(state / SHADOW / STATUS, msgspec.json.encode(Standing(phase, text, time.time_ns())) + b"\n")


def read_standing(state: Path) -> Standing | None:
    """Return what was said last, None where nothing was.

    Raises:
        ShadowUnreadable: not a status.
    """
    path = state / SHADOW / STATUS
    return _read(path, Standing) if path.exists() else None


def read_counts(folder: Path) -> Counts:
    """Return the counts of a candidate.

    Raises:
        ShadowUnreadable: not there, or no counts.
    """
    return _read(folder / COUNTS, Counts)


def read_disagreements(folder: Path) -> list[Disagreement]:
    """Return the stored disagreements, oldest first; a line that was cut off is left out.

    Raises:
        ShadowUnreadable: the file cannot be read.
    """
    try:
        lines = (folder / DISAGREEMENTS).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ShadowUnreadable(f"{folder / DISAGREEMENTS}: {error.strerror}") from error
    return list(_whole(lines))


def _whole(lines: Iterable[bytes]) -> Iterable[Disagreement]:
    for line in lines:
        try:
            yield msgspec.json.decode(line, type=Disagreement)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue


def _read(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise ShadowUnreadable(f"{path}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ShadowUnreadable(f"{path}: {error}; move its folder away, a new one is begun") from error
