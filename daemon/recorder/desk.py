"""Acts on the batch: open, swap, close, report (and a simulated station's quota). A refusal is one line that helps."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from daemon import config
from daemon.acts import LONGEST, clipped, recorded, unfit
from daemon.config import Station
from daemon.messages import Act, Answer, Arm, Loaded, Report
from daemon.recorder import swap
from daemon.recorder.batch import BatchFacts, BatchRecord, BatchState, Rules, why_open
from daemon.recorder.gather import Gather
from daemon.recorder.ledger import Ledger
from daemon.recorder.papers import Papers
from daemon.recorder.reading import RUNNING
from daemon.recorder.report import build_report, document
from daemon.recorder.rows import Received
from daemon.recorder.schema import Advanced, LedgerError, nobody
from daemon.recorder.verify import TrailBroken
from daemon.recorder.wall import WallClock
from daemon.records import AuditRow, BatchClosed, BatchOpened
from daemon.states import State
from daemon.units import LineMode
from signing.errors import SigningError

BATCH_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAMED_REASONS = 5
# Reading the rows of more units would keep the line's rows waiting for longer than it allows.
LIVE_UNITS = 10_000
BATCH_ACTS = ("batch-open", "batch-close", "swap")
NOTHING_ARMED = Arm("", "", "", "")


class Refused(Exception):
    """The act is not done; the text says what to do first."""


@dataclass(frozen=True, slots=True)
class Pins:
    """What stands fixed while the recorder runs: three parts of the configuration digest and a flag of the map."""

    station: str
    register_map: str
    release: str
    permitted_flag: int


class Desk:
    """Answers acts. Owned by the recorder's loop, which tells it what vision has loaded and whether line is there."""

    def __init__(
        self, station: Station, papers: Papers, pins: Pins, ledger: Ledger, gather: Gather, clock: WallClock
    ) -> None:
        self._station = station
        self._papers = papers
        self._pins = pins
        self._ledger = ledger
        self._gather = gather
        self._clock = clock
        self.loaded: Loaded | None = None
        self.staged: list[Loaded] = []
        self._revoked = ""
        self.line_present = False
        self.advanced: Advanced = nobody
        self.batch: BatchRecord | None = ledger.current_batch()

    @property
    def arm(self) -> Arm:
        """What may judge now, with the digests pinned when the batch, or its last sub-lot, began."""
        if not self.batch:
            return NOTHING_ARMED
        lot = self.batch.sublots[-1]
        return Arm(self.batch.id, lot.bundle, lot.recipe, lot.configuration, self._revoked)

    @property
    def warm(self) -> list[Loaded]:
        """Everything that vision has loaded."""
        return [*([self.loaded] if self.loaded else []), *self.staged]

    def vision_lost(self) -> None:
        """Vision went away."""
        self.loaded, self.staged = None, []

    def look_for_revocations(self) -> bool:
        """See whether what judges the open batch was revoked; True if that is news for the line."""
        arm, before = self.arm, self._revoked
        warm = swap.among(self.warm, arm.bundle, arm.recipe)
        if self.batch is None or warm is None:
            return False  # without vision nothing is accepted, and who signed is not known
        signers = [*warm.signers, *(lot.key for lot in self.batch.sublots[-1:] if lot.key)]
        self._revoked = self._papers.revoked(arm.bundle, arm.recipe, signers)[: LONGEST["new"]]
        return self._revoked != before

    def act(self, act: Act) -> tuple[Answer, AuditRow | None]:
        """Do one act, or say in one line why not; return the answer and what is still to go into the trail."""
        old = self._looks
        answer = self._do(act)
        if answer.ok and act.kind in BATCH_ACTS:
            return answer, None
        return answer, recorded(act, old, clipped(act.new, LONGEST["new"]), answer, time.monotonic_ns())

    @property
    def _looks(self) -> str:
        return looks(self.batch.id if self.batch else "")

    def _told(self, act: Act, batch: str, after: str, text: str) -> Received:
        """Return a batch act that is done, as the entry beside the batch's own."""
        row = recorded(act, self._looks, looks(after), Answer(True, text), time.monotonic_ns())
        return self._gather.numbered(row, batch)

    def _do(self, act: Act) -> Answer:
        doers: dict[str, Callable[[Act], str]] = {
            "batch-open": self._open,
            "batch-close": self._close,
            "swap": self._swap,
            "record-quota": self._quota,
        }
        doer = doers.get(act.kind)
        if doer is None:
            return Answer(False, f"the recorder does not know the act {act.kind!r}: it does {', '.join(doers)}")
        if refusal := unfit(act):
            return Answer(False, refusal)
        if act.old and act.old != self._looks:
            return Answer(False, f"{act.kind} takes {act.old!r} for granted: it is {self._looks!r} now")
        try:
            return Answer(True, doer(act))
        except (Refused, LedgerError) as error:
            return Answer(False, str(error))

    def report(self) -> Report | Answer:
        """Return the report of the open batch, else of the one closed last."""
        try:
            if self.batch and (units := self._ledger.units(self.batch.id)) > LIVE_UNITS:
                return Answer(False, f"batch {self.batch.id} has {units} units: its report is made when it closes")
            text = document(build_report(self._facts(self.batch))) if self.batch else self._ledger.last_report()
        except LedgerError as error:
            return Answer(False, str(error))
        return Report(text) if text else Answer(False, "no batch is on record yet: open one")

    def _open(self, act: Act) -> str:
        if not BATCH_ID.fullmatch(act.new):
            raise Refused(f"batch id {act.new!r} is not usable: 1 to 64 letters, digits, '.', '_' or '-'")
        if self.batch:
            raise Refused(f"batch {self.batch.id} is open: close it first")
        if self.loaded is None:
            raise Refused("vision has nothing loaded: wait until it is ready, or see its status for why not")
        if why := self._papers.revoked(self.loaded.bundle, self.loaded.recipe, self.loaded.signers):
            raise Refused(why)
        self._revoked = ""
        text = f"batch {act.new} is open"
        told = self._told(act, act.new, act.new, text)
        self.batch = self._ledger.open_batch(self._opening(act, self.loaded), self._clock.now(), told)
        return text

    def _swap(self, act: Act) -> str:
        batch, wish = self.batch, swap.wished(act)
        if batch is None:
            raise Refused("no batch is open: what is activated judges the next one")
        if wish is None:
            raise Refused("swap: name the digests of bundle and recipe, 64 hexadecimal digits each")
        if not self.line_present:
            raise Refused("line is not connected: start it and try again")
        new, now = swap.among(self.warm, *wish), swap.among(self.warm, self.arm.bundle, self.arm.recipe)
        if new is None or now is None:
            raise Refused("vision has not both pairs warm, the one that judges and that one: stage it first")
        if new is now:
            raise Refused(f"bundle {new.bundle[:12]} and recipe {new.recipe[:12]} judge already")
        try:
            order = self._papers.order(act.signature)
        except SigningError as error:
            raise Refused(str(error)) from error
        signers = [*new.signers, order.key_id]
        for why in (
            swap.misorder(order, batch, new),
            swap.misfit(now, new),
            self._papers.revoked(new.bundle, new.recipe, signers),
        ):
            if why:
                raise Refused(why)
        row = swap.sublot(act, order, batch, new, self._configuration(new))
        text = f"sub-lot {row.number} of batch {batch.id} begins, signed {row.signer}"
        told = recorded(act, swap.looks(batch.sublots[-1]), swap.looks(row), Answer(True, text), time.monotonic_ns())
        self.batch = self._ledger.begin_sublot(row, self._clock.now(), self._gather.numbered(told, batch.id))
        self._revoked = ""
        return text

    def _close(self, act: Act) -> str:
        batch = self.batch
        if batch is None:
            raise Refused("no batch is open")
        if act.new not in ("", batch.id):
            raise Refused(f"batch {act.new} is not open, {batch.id} is")
        if not self.line_present:
            raise Refused("line is not connected, its last rows may be missing: start it and try again")
        if (state := self._ledger.line_state(batch.id)) in {State.STARTING.name, *RUNNING}:
            raise Refused(f"the line is in {state}: stop it first, so that no unit comes in after the count")
        with self._ledger.one_moment():
            facts = self._proven_facts(batch)
        now = self._clock.now()
        closed = replace(batch, state=BatchState.CLOSED, closed_wall_ns=now.ns, closed_clock=now.quality.value)
        report = document(build_report(replace(facts, batch=closed)))
        text = f"batch {batch.id} is closed"
        told = self._told(act, batch.id, "", text)
        self._ledger.close_batch(BatchClosed(0, batch.id, act.actor, act.reason, report), now, told)
        self.batch = None
        return text

    def _proven_facts(self, batch: BatchRecord) -> BatchFacts:
        """Return what the batch came to, after the rows that say so were compared with their entries."""
        facts = self._facts(batch)
        if why := why_open(facts):
            more = f" (and {len(why) - NAMED_REASONS} more)" if len(why) > NAMED_REASONS else ""
            raise Refused(f"batch {batch.id} stays open: {'; '.join(why[:NAMED_REASONS])}{more}")
        try:
            self._ledger.prove(batch.id, self.advanced)
        except TrailBroken as error:
            raise Refused(f"batch {batch.id} stays open, its record was altered: {error}; call QA") from error
        return facts

    def _quota(self, act: Act) -> str:
        if not self._station.simulated:
            raise Refused("record-quota is for simulated stations: this one is real")
        if not act.new.isdecimal():
            raise Refused(f"record-quota {act.new!r}: give a number of pages, 0 lifts the quota")
        return f"the ledger may have {self._ledger.set_quota(int(act.new))} pages"

    def _facts(self, batch: BatchRecord) -> BatchFacts:
        rules = Rules(self._station.mode is LineMode.AUTOMATIC, self._pins.permitted_flag)
        return self._ledger.facts(batch, self._gather.unstored, rules)

    def _opening(self, act: Act, loaded: Loaded) -> BatchOpened:
        pins = self._pins
        return BatchOpened(
            seq=0,
            id=act.new,
            station=pins.station,
            bundle=loaded.bundle,
            recipe=loaded.recipe,
            bundle_name=loaded.bundle_name,
            recipe_name=loaded.recipe_name,
            register_map=pins.register_map,
            release=pins.release,
            configuration=self._configuration(loaded),
            actor=act.actor,
            role=act.role,
            reason=act.reason,
            plan=loaded.plan,
        )

    def _configuration(self, loaded: Loaded) -> str:
        pins = self._pins
        return config.configuration_digest(
            pins.station, loaded.bundle, loaded.recipe, pins.register_map, pins.release, loaded.plan
        )


def looks(batch: str) -> str:
    """Return what an act changes, as the trail says it before and after."""
    return f"batch {batch} open" if batch else "no batch open"
