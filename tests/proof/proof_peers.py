"""The line's peers in virtual time: vision over the product's own fusion and judging, and a recorder in memory."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec
from proof_agenda import MS, Agenda

from daemon.messages import (
    AlarmRow,
    Arm,
    Bound,
    GapRow,
    Judged,
    Loaded,
    PermitRow,
    PlcTotals,
    Resume,
    Staged,
    Stored,
    Unbound,
    UnitRow,
)
from daemon.recorder.batch import LaneFacts, Totals, runs
from daemon.states import RUNNING
from daemon.units import Channel, Evidence, FrameKey, UnitId, ViewKey
from daemon.vision.fusion import Again, Fusion, Judge, Looked
from daemon.vision.judging import Limit, Rules
from daemon.wire import Message

BATCH = "B1"
PAIRS = {"recipe 1": ("bundle 1", "configuration 1"), "recipe 2": ("bundle 2", "configuration 2")}
RECIPE, OTHER = PAIRS
TINT = {RECIPE: 0.0, OTHER: 0.05}
REVOKING = {"CAMERA_UNSYNCED", "TOO_CLOSE", "ESCAPED"}
RUNNING_NAMES = {state.name for state in RUNNING}
RESUMED = 256


class Vision:
    """One process of vision. `bad(vial)` says whether those pixels show a defect."""

    def __init__(self, agenda: Agenda, chance: random.Random, loaded: Loaded, bad: Callable[[int], bool]) -> None:
        self.answer: Callable[[Message], None] = lambda _: None
        self.loaded = loaded
        self.up = True
        self.hung = False
        self.slow_ns = (1 * MS, 4 * MS)
        self.spoil: Callable[[Judged], list[Judged]] | None = None
        self._agenda, self._chance, self._bad = agenda, chance, bad
        self._sessions: dict[str, int] = {}
        self._free_ns = 0
        self._backlog: list[Callable[[], None]] = []
        self._recipes: dict[str, str] = {}
        self._seen: dict[FrameKey, Looked] = {}
        self.life = 0
        self._fusion = self._fresh()

    @property
    def staged(self) -> Staged:
        """What it has warm besides."""
        return Staged([msgspec.structs.replace(self.loaded, bundle=PAIRS[OTHER][0], recipe=OTHER)])

    def begin(self) -> None:
        """A fresh process."""
        self._fusion = self._fresh()
        self.life += 1
        self._backlog.clear()

    def _fresh(self) -> Fusion:
        limits = {view: {"defect": Limit(0.3, 0.7)} for view in self.loaded.views}
        rules = Rules(limits, {"defect": Channel.CRITICAL})
        fusion = Fusion({recipe: Judge(bundle, rules) for recipe, (bundle, _) in PAIRS.items()})
        for camera, session in self._sessions.items():
            fusion.session(camera, session)
        return fusion

    def session(self, camera: str, session: int) -> None:
        """The camera process passed a new ring."""
        self._sessions[camera] = session
        self._when_up(lambda: self._say(self._fusion.session(camera, session)))

    def line_lost(self) -> None:
        """The connection to the line ended."""
        self._when_up(lambda: self._say(self._fusion.line_lost()))

    def frame(self, evidence: Evidence, digest: str) -> None:
        """A frame lies in the ring: infer it after those before it."""
        started = max(self._agenda.now, self._free_ns)
        self._free_ns = done = started + self._chance.randrange(*self.slow_ns)
        life = self.life
        self._agenda.at(done, lambda: life == self.life and self._when_up(lambda: self._looked(evidence, digest)))

    def receive(self, message: Message) -> None:
        """The line says which frame shows which unit."""
        match message:
            case Bound():
                self._recipes[message.key.camera] = message.recipe
                self._when_up(lambda: self._say(self._fusion.bound(message, self._agenda.now)))
            case Unbound():
                self._when_up(lambda: self._say(self._fusion.unbound(message.key)))

    def wake(self) -> None:
        """It goes on where it hung."""
        self.hung = False
        backlog, self._backlog = self._backlog, []
        for act in backlog:
            act()

    def _when_up(self, act: Callable[[], None]) -> None:
        if self.up and self.hung:
            self._backlog.append(act)
        elif self.up:
            act()

    def _looked(self, evidence: Evidence, digest: str) -> None:
        now = self._agenda.now
        recipe = self._recipes.get(evidence.key.camera, RECIPE)
        scores = self._scores(digest, recipe)
        looked = Looked(evidence.key, evidence.device_ts, digest, scores, evidence.received_ns, now, 1 * MS, recipe)
        self._seen[evidence.key] = looked
        self._say(self._fusion.looked(looked, now))

    def _scores(self, digest: str, recipe: str) -> dict[str, float]:
        """What the models of a recipe see in a vial's pixels; each recipe sees it its own way."""
        return {"defect": (0.9 if self._bad(int(digest.removeprefix("vial "))) else 0.1) + TINT[recipe]}

    def _say(self, commands: Sequence[object]) -> None:
        for command in commands:
            if isinstance(command, Again):
                seen = self._seen[command.key]
                again = replace(seen, recipe=command.recipe, scores=self._scores(seen.digest, command.recipe))
                self._say(self._fusion.looked(again, self._agenda.now))
            if isinstance(command, Judged):
                for judged in self.spoil(command) if self.spoil else [command]:
                    self.answer(judged)


class Recorder:
    """Keeps rows as the ledger does: permits and units by their id, the first row stands and a second says the same."""

    def __init__(self, agenda: Agenda, chance: random.Random) -> None:
        self.answer: Callable[[Message], None] = lambda _: None
        self.state: Callable[[str], None] = lambda _: None
        self.up = True
        self.full = False
        self.recipe = RECIPE
        self.late_ns = 0
        self.units: dict[UnitId, UnitRow] = {}
        self.permits: dict[UnitId, PermitRow] = {}
        self.gaps: list[GapRow] = []
        self.alarms: list[AlarmRow] = []
        self.totals: dict[tuple[int, int], PlcTotals] = {}
        self.contradictions: list[str] = []
        self._agenda, self._chance = agenda, chance
        self.starved_ns: list[int] = []
        self.died_ns = 0
        self._waiting: list[Message] = []
        self._life = 0
        self._state = ""
        self._epoch = 0
        self._revoked_ns = 0

    def receive(self, row: Message) -> None:
        """Take a row; it is durable a group commit later."""
        if not self._waiting and self.full:
            self.starved_ns.append(self._agenda.now)
        elif not self._waiting:
            self._commit_later()
        self._waiting.append(row)

    def _commit_later(self) -> None:
        life = self._life
        delay = self.late_ns + self._chance.randrange(2 * MS, 12 * MS)
        self._agenda.after(delay, lambda: self._commit() if life == self._life else None)

    def die(self) -> None:
        """What was not committed is gone."""
        self.died_ns = self._agenda.now
        self.up = False
        self._life += 1
        self._waiting.clear()

    def fill(self) -> None:
        """The disk takes nothing more. `starved_ns` notes since when a row waits for it."""
        self.full = True
        if self._waiting:
            self.starved_ns.append(self._agenda.now)

    def free(self) -> None:
        """The disk takes rows again."""
        self.full = False
        if self._waiting:
            self._commit_later()

    def resume(self) -> Resume:
        """What a line that connects has to know (daemon/recorder/reading.py)."""
        open_permits = [row for unit, row in self.permits.items() if unit not in self.units]
        known = [row for row in open_permits if row.stages.permit_ns > self._revoked_ns]
        running = self._state in RUNNING_NAMES
        totals = [row for (epoch, _), row in self.totals.items() if epoch == max(self.totals)[0]]
        return Resume(self._epoch, known, 0, list(self.units)[-RESUMED:], running, totals=totals)

    def lanes(self) -> list[LaneFacts]:
        """What the closing rule looks at (daemon/recorder/reading.py)."""
        known = set(self.totals) | {(unit.epoch, unit.lane) for unit in (*self.units, *self.permits)}
        found = []
        for epoch, lane in sorted(known):
            told = self.totals.get((epoch, lane))
            totals = Totals(told.created, told.passed, told.diverted, told.first, told.last) if told else None
            rows = runs(unit.number for unit in self.units if (unit.epoch, unit.lane) == (epoch, lane))
            found.append(LaneFacts(epoch, lane, totals, rows, 0, epoch == max(known)[0]))
        return found

    @property
    def arm(self) -> Arm:
        bundle, configuration = PAIRS[self.recipe]
        return Arm(BATCH, bundle, self.recipe, configuration)

    def _commit(self) -> None:
        if self.full:
            return
        rows, self._waiting = self._waiting, []
        for row in rows:
            self._store(row)
        if rows:
            self.answer(Stored(max(row.seq for row in rows)))

    def _store(self, row: Message) -> None:
        match row:
            case UnitRow():
                self._epoch = max(self._epoch, row.unit.epoch)
                old = self.units.setdefault(row.unit, row)
                if (old.outcome, old.reason) != (row.outcome, row.reason):
                    self.contradictions.append(f"{row.unit}: {old.outcome} {old.reason} / {row.outcome} {row.reason}")
            case PermitRow():
                self._epoch = max(self._epoch, row.unit.epoch)
                self.permits.setdefault(row.unit, row)
            case GapRow():
                self.gaps.append(row)
            case PlcTotals():
                self._epoch = max(self._epoch, row.epoch)
                self.totals[row.epoch, row.lane] = row
            case AlarmRow():
                self.alarms.append(row)
                if row.code in REVOKING:
                    self._revoked_ns = max(self._revoked_ns, row.at_ns)
                if row.code == "STATE":
                    self._state = row.state
                    self.state(row.state)


def loaded(views: tuple[ViewKey, ...], min_gap_mm: float) -> Loaded:
    """What vision says it has loaded."""
    return Loaded(PAIRS[RECIPE][0], RECIPE, "bundle", "recipe", list(views), 120.0, 25.0, min_gap_mm, 0.0)
