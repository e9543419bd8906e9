"""Thread `infer`: frames in, verdicts out. One epoll loop over the sockets of line, recorder and cameras.

A frame is inferred when it arrives, straight from its ring slot; what has to wait for its unit, or is kept as evidence,
is copied out and the slot is given back at once, so that a camera never runs short of slots because a unit is far away.

Which pair of bundle and recipe judges a unit is for `line` to say (`Bound`). A frame is inferred by the pair of the
last unit that its camera showed; at a swap one frame of each camera, or a few, are inferred twice.
"""

import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from daemon.evidence_file import Image
from daemon.messages import Arm, Bound, FrameReady, Judged, Release, Ring, Staged, Stored, Unbound, VisionFault
from daemon.records import EvidenceRow, Kept
from daemon.units import FrameKey, JudgedView, UnitId, Verdict, ViewKey
from daemon.vision.choice import is_kept
from daemon.vision.fusion import Again, Command, Drop, Fusion, Judge, Looked, Sight
from daemon.vision.idle import Idle
from daemon.vision.keep import Keeper, Offer
from daemon.vision.links import Link, Links
from daemon.vision.loading import Loader, Warm
from daemon.vision.plan import Plan, Scored, Seen, rules_of
from daemon.vision.reports import Reports
from daemon.vision.ring_map import RingMap, RingRefused
from daemon.wire import Message, WireError
from engines.engine import Frame
from engines.errors import EngineError

IDLE_S = 0.05
EXPIRE_NS = 100_000_000
FAULT_PERIOD_NS = 1_000_000_000
FAULT_CODE, DROPPED_CODE, GOLDEN_CODE = "VISION_FAULT", "EVIDENCE_DROPPED", "GOLDEN_FAILED"
NOT_JUDGED = "not judged"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Held:
    """A frame whose unit is not judged yet; `image` is a ring slot until it was copied out.

    `usable`: it is complete and in good light. `seen`: what its model gave, where that explains anything.
    """

    width: int
    height: int
    image: Frame | bytes
    digest: str
    usable: bool
    looked: Looked | None = None
    seen: Seen | None = None

    def pixels(self) -> bytes:
        return self.image if isinstance(self.image, bytes) else self.image.tobytes()

    def frame(self) -> Frame:
        """Return the pixels, (height, width) uint8."""
        return np.frombuffer(self.pixels(), np.uint8).reshape(self.height, self.width)

    def picture(self) -> Image:
        return Image(self.width, self.height, self.pixels())

    def offer(self, unit: UnitId, view: ViewKey, key: FrameKey, why: str) -> Offer:
        """Return the image for the evidence store, named by the digest of these very pixels."""
        image = self.picture()
        row = EvidenceRow(0, unit, view, key, self.digest, Kept.RETAINED, why, image.file_bytes)
        return Offer(row, image)


class Onlooker(Protocol):
    """Who sees a unit once its verdict is on its way, and can do nothing about it. `offer` never blocks.

    While it is not `looking` nothing has to be copied for it.
    """

    @property
    def looking(self) -> bool: ...

    def offer(self, judged: Judged, sights: Sequence[tuple[JudgedView, Image]]) -> None: ...


class Pipeline:
    """Everything thread `infer` owns. `turns` grows with every pass of the loop."""

    def __init__(
        self, loader: Loader, links: Sequence[Link], keeper: Keeper, idle: Idle, onlooker: Onlooker | None = None
    ) -> None:
        self._loader = loader
        self._warm = loader.warm
        self._active = plan = loader.warm.active
        self._plans: dict[str, Plan] = {}
        self._left: Plan | None = None
        self._judges: dict[str, Judge] = {}
        self._recipes: dict[str, str] = {}
        self._line = next(link for link in links if link.process == "line")
        self._links = Links(list(links))
        self._recorder = next((link for link in links if link.process == "recorder"), None)
        self._keeper = keeper
        self._reports = Reports(keeper.outcomes)
        self._arm = Arm("", "", "", "")
        self._fusion = Fusion(self._judges, plan.looks)
        self._rings: dict[str, RingMap] = {}
        self._waiting: deque[tuple[Link, FrameReady]] = deque()
        self._held: dict[Sight, _Held] = {}
        self._faults: dict[str, int] = {}
        self._idle = idle
        self._onlooker = onlooker
        self._next_expiry_ns = 0
        self._reported_drops = 0
        self._stopping = False
        self.turns = 0
        self._hold_warm()

    def stop(self) -> None:
        """Ask `run` to return; at most IDLE_S later it does."""
        self._stopping = True

    def run(self) -> None:
        """Body of thread `infer`: serve until `stop`, or until an engine fails its golden frames, which was told."""
        try:
            while not self._stopping:
                self._advance()
                self._turn()
        except EngineError as error:
            _log.critical("the engines are not to be trusted any more: %s", error)
        finally:
            self._links.close()

    def _turn(self) -> None:
        for link in self._links.connect_due(time.monotonic_ns()):
            if link.process != "camera":
                self._tell_warm(link)
            if link is self._recorder:
                self._reports.connected()
        if self._loader.warm is not self._warm:
            self._take(self._loader.warm)
        for link in self._links.wait(0 if self._waiting else IDLE_S):
            self._read(link)
        if self._waiting:
            link, ready = self._waiting.popleft()
            self._look(link, ready)
        if not self._waiting or self._idle.overdue(self._warm_plans(), time.monotonic_ns()):
            self._prove(self._idle.work)
        self._report()
        self._expire(time.monotonic_ns())

    def _take(self, warm: Warm) -> None:
        """Take over what thread `load` has ready. Inside a batch what a new one is judged by stays as it is (law 5)."""
        self._warm = warm
        if not self._arm.batch:
            self._active = warm.active
        self._hold_warm()
        for link in self._links.all:
            if link.process != "camera":
                self._tell_warm(link)

    def _hold_warm(self) -> None:
        """Hold every pair that is wanted or may judge a unit under way, and forget the others."""
        left = [self._left] if self._left else []
        wanted = {plan.loaded.recipe: plan for plan in (*left, *self._warm.plans, self._active)}
        used = {recipe: plan for recipe, plan in self._plans.items() if recipe in self._fusion.in_use}
        self._plans = used | wanted
        for recipe in self._judges.keys() - self._plans.keys():
            del self._judges[recipe]
        for recipe, plan in self._plans.items():
            self._judges[recipe] = Judge(plan.loaded.bundle, rules_of(plan.recipe))

    def _tell_warm(self, link: Link) -> None:
        others = [plan.loaded for plan in self._plans.values() if plan.key != self._active.key]
        self._send(link, Staged(others))
        self._send(link, self._active.loaded)

    def _report(self) -> None:
        """Tell the recorder what became of images, and the keeper what the recorder has."""
        recorder = self._recorder
        if recorder and recorder.peer:
            self._reports.pump(lambda row: self._send(recorder, row))
        self._keeper.acknowledged = self._reports.acknowledged

    def _expire(self, now_ns: int) -> None:
        if now_ns < self._next_expiry_ns:
            return
        self._next_expiry_ns = now_ns + EXPIRE_NS
        self._carry_out(self._fusion.expire(now_ns))
        if self._keeper.dropped != self._reported_drops:
            self._reported_drops = self._keeper.dropped
            text = f"{self._keeper.failure} ({self._reported_drops} images since the start)"
            self._fault("evidence dropped", text, DROPPED_CODE)

    def _read(self, link: Link) -> None:
        try:
            for message, fds in link.messages():
                self._dispatch(link, message, fds)
        except (WireError, RingRefused) as error:
            self._lose(link, error)

    def _lose(self, link: Link, cause: Exception) -> None:
        self._links.drop(link, cause)
        self._waiting = deque(entry for entry in self._waiting if entry[0] is not link)
        if link is self._line:
            self._carry_out(self._fusion.line_lost())

    def _dispatch(self, link: Link, message: Message, fds: list[int]) -> None:
        now_ns = time.monotonic_ns()
        match message:
            case FrameReady() if link.process == "camera":
                self._waiting.append((link, message))
            case Bound() if link is self._line:
                self._recipes[message.key.camera] = message.recipe
                self._carry_out(self._fusion.bound(message, now_ns))
            case Unbound() if link is self._line:
                self._carry_out(self._fusion.unbound(message.key, message.region))
            case Ring() if link.process == "camera" and len(fds) == 1:
                self._rings[message.camera] = RingMap(message, fds[0])
                self._carry_out(self._fusion.session(message.camera, message.session))
            case Arm() if link.process == "recorder":
                self._armed(message)
            case Stored() if link is self._recorder:
                self._reports.stored(message.seq)
            case _:
                raise WireError(f"{link.process} sent {type(message).__name__}, which is not its to send")

    def _armed(self, arm: Arm) -> None:
        left = self._left
        if arm.batch != self._arm.batch:
            self._recipes.clear()
            self._left = None
        elif arm.recipe != self._arm.recipe:
            self._left = self._plans.get(self._arm.recipe)  # units under way are its own still
        began = arm.batch and arm.batch != self._arm.batch
        self._arm = arm
        if began:
            self._prove(lambda plans, now_ns: self._idle.batch_began(plans, now_ns, self._advance))
        self._loader.armed = (arm.bundle, arm.recipe)
        if not arm.batch and (left or self._active is not self._warm.active):
            self._take(self._warm)
        if arm.batch and (arm.bundle, arm.recipe) not in {plan.key for plan in self._plans.values()}:
            self._fault("wrong digest", f"batch {arm.batch} is armed for another bundle or recipe than is loaded")

    def _advance(self) -> None:
        self.turns += 1

    def _warm_plans(self) -> list[Plan]:
        """Return what is warm, what judges now first."""
        judging = self._plans.get(self._arm.recipe, self._active)
        return [judging, *(plan for plan in self._plans.values() if plan is not judging)]

    def _prove(self, work: Callable[[Sequence[Plan], int], None]) -> None:
        """Ask the engines for golden answers.

        Raises:
            EngineError: they do not give them; the process ends with it, and starts again from verified bytes.
        """
        plans, now_ns = self._warm_plans(), time.monotonic_ns()
        try:
            work(plans, now_ns)
        except EngineError as error:
            minutes = (now_ns - min(plan.canary.right_since_ns for plan in plans)) / 60e9
            doubt = f"all of them were right {minutes:.1f} minutes ago: what was accepted since then is in doubt"
            self._fault("golden", f"{error}; {doubt}", GOLDEN_CODE)
            raise

    def _plan_for(self, camera: str) -> Plan:
        """Return what probably judges the next unit that this camera shows."""
        recipe = self._recipes.get(camera, self._arm.recipe)
        return self._plans.get(recipe, self._active)

    def _look(self, link: Link, ready: FrameReady) -> None:
        key = ready.evidence.key
        ring = self._rings.get(key.camera)
        if ring is None or ring.session != key.session:
            self._send(link, Release(key.session, ready.slot))
            return
        try:
            image = ring.image(ready.slot, ready.width, ready.height)
        except RingRefused as error:
            self._lose(link, error)
            return
        self._inferred(ready, image)
        self._send(link, Release(key.session, ready.slot))

    def _inferred(self, ready: FrameReady, image: Frame) -> None:
        camera, key = ready.evidence.key.camera, ready.evidence.key
        lit = not ready.evidence.complete or self._lit(camera, image)
        parts = self._active.parts(camera, image)
        for region, part in enumerate(parts):
            digest = hashlib.sha256(part.data).hexdigest()
            usable = ready.evidence.complete and lit
            self._held[key, region] = _Held(part.shape[1], part.shape[0], part, digest, usable)
            self._inferred_part(ready, part, region, lit=lit)
        if self._line.peer:
            self._read(self._line)
        for region in range(len(parts)):
            held = self._held.get((key, region))
            if held:
                held.image = held.pixels()

    def _inferred_part(self, ready: FrameReady, image: Frame, region: int, *, lit: bool) -> None:
        evidence = ready.evidence
        held, plan = self._held[evidence.key, region], self._plan_for(evidence.key.camera)
        started_ns = time.monotonic_ns()
        scores = self._scores(plan, evidence.key.camera, image, held)
        inferred_ns = time.monotonic_ns()
        looked = Looked(
            key=evidence.key,
            device_ts=evidence.device_ts,
            digest=held.digest,
            scores=scores,
            frame_ns=evidence.received_ns,
            inferred_ns=inferred_ns,
            inference_ns=inferred_ns - started_ns,
            recipe=plan.loaded.recipe,
            lit=lit,
            region=region,
        )
        held.looked = looked
        self._carry_out(self._fusion.looked(looked, time.monotonic_ns()))

    def _again(self, wanted: Again) -> None:
        """Infer a frame by the pair that judges its unit; it was inferred by another one."""
        held, plan = self._held.get((wanted.key, wanted.region)), self._plans.get(wanted.recipe)
        if held is None or held.looked is None or plan is None:
            self._carry_out(self._fusion.unbound(wanted.key, wanted.region))
            return
        started_ns = time.monotonic_ns()
        scores = self._scores(plan, wanted.key.camera, held.frame(), held)
        now_ns = time.monotonic_ns()
        took_ns = now_ns - started_ns
        held.looked = replace(
            held.looked, recipe=wanted.recipe, scores=scores, inferred_ns=now_ns, inference_ns=took_ns
        )
        self._carry_out(self._fusion.looked(held.looked, now_ns))

    def _lit(self, camera: str, image: Frame) -> bool:
        reading = self._active.light(camera, image)
        if reading is None:
            return True
        if not reading.lit or reading.near_edge:
            code = "LIGHT_TREND" if reading.lit else "LIGHT"
            self._fault(f"{code} {camera}", self._active.lights[camera].text(reading), code, camera)
        return reading.lit

    def _scores(self, plan: Plan, camera: str, image: Frame, held: _Held) -> dict[str, float]:
        scored = plan.scores(camera, image) if held.usable else Scored({})
        held.seen = scored.seen
        self._idle.inferred(time.monotonic_ns())
        if scored.fault:
            self._fault("engine fault", scored.fault)
        return scored.scores

    def _carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Drop):
                held = self._held.pop((command.key, command.region), None)
                if held and command.of:
                    self._keeper.offer(held.offer(*command.of, command.key, NOT_JUDGED))
            elif isinstance(command, Again):
                self._again(command)
            else:
                self._send(self._line, command)
                self._keep(command)

    def _keep(self, judged: Judged) -> None:
        wanted = is_kept(judged, self._plans[judged.recipe].recipe.evidence_share, self._arm.batch)
        found = [(view, self._held.pop((view.key, view.view.region), None)) for view in judged.views]
        sights = [(view, held) for view, held in found if held is not None]
        for view, held in sights if wanted else ():
            offer = held.offer(judged.unit, view.view, view.key, "")
            rejected = judged.verdict is not Verdict.ACCEPT
            self._keeper.offer(replace(offer, seen=held.seen, defect=judged.defect) if rejected else offer)
        if self._onlooker is not None and self._onlooker.looking:
            self._onlooker.offer(judged, [(view, held.picture()) for view, held in sights])

    def _fault(self, kind: str, text: str, code: str = FAULT_CODE, subject: str = "") -> None:
        """Tell the log and `line`, at most once in FAULT_PERIOD_NS for each kind."""
        now_ns = time.monotonic_ns()
        if now_ns - self._faults.get(kind, -FAULT_PERIOD_NS) >= FAULT_PERIOD_NS:
            self._faults[kind] = now_ns
            _log.error("%s: %s", kind, text)
            self._send(self._line, VisionFault(code, f"{kind}: {text}" if code == FAULT_CODE else text, subject))

    def _send(self, link: Link, message: Message) -> bool:
        """Send if connected; True if the peer has it."""
        try:
            link.send(message)
        except WireError as error:
            self._lose(link, error)
        return link.peer is not None
