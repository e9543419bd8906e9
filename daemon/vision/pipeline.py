"""Thread `infer`: frames in, verdicts out. One epoll loop over the sockets of line, recorder and cameras.

A frame is inferred when it arrives, straight from its ring slot; what has to wait for its unit, or is kept as evidence,
is copied out and the slot is given back at once, so that a camera never runs short of slots because a unit is far away.
"""

import hashlib
import logging
import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from daemon.config import Region
from daemon.messages import Arm, Bound, FrameReady, Judged, Loaded, Release, Ring, Unbound, VisionFault
from daemon.recipe import Recipe
from daemon.units import JudgedView, Verdict
from daemon.vision.fusion import Command, Drop, Fusion, Looked, Sight
from daemon.vision.judging import Limit, Rules
from daemon.vision.keep import Entry, Keeper, Kept, file_of
from daemon.vision.light import Light
from daemon.vision.links import Link, Links
from daemon.vision.ring_map import RingMap, RingRefused
from daemon.wire import Message, WireError
from engines.engine import Engine, Frame, Outputs, allocate
from engines.errors import EngineError
from engines.heads import decode
from signing.manifest import Model

IDLE_S = 0.05
EXPIRE_NS = 100_000_000
FAULT_PERIOD_NS = 1_000_000_000
FAULT_CODE = "VISION_FAULT"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Looker:
    """The engine of one view, with the buffers it writes into; it serves the cameras of every lane in turn."""

    engine: Engine
    model: Model
    out: Outputs


@dataclass(frozen=True, slots=True)
class Plan:
    """What was verified and loaded. `lookers` by view of the recipe, `looks` says which view each camera takes.

    `lights` by camera, where there is a reference patch; `regions` by camera, where a frame shows several units.
    """

    loaded: Loaded
    recipe: Recipe
    lookers: Mapping[str, Looker]
    looks: Mapping[str, str]
    lights: Mapping[str, Light] = field(default_factory=dict)
    regions: Mapping[str, Sequence[Region]] = field(default_factory=dict)


@dataclass(slots=True)
class _Held:
    """A frame whose unit is not judged yet; `image` is a ring slot until it was copied out."""

    width: int
    height: int
    image: Frame | bytes

    def pixels(self) -> bytes:
        return self.image if isinstance(self.image, bytes) else self.image.tobytes()


def looker(engine: Engine, model: Model) -> Looker:
    """Return `engine` with its own buffers."""
    return Looker(engine, model, allocate(engine.outputs))


def rules_of(recipe: Recipe) -> Rules:
    """Return what `judging` needs of a recipe."""
    limits = {
        view.key: {name: Limit(limit.accept_below, limit.reject_from) for name, limit in view.limits.items()}
        for view in recipe.views
    }
    return Rules(limits, {name: recipe.channel_of(name) for name in recipe.channels})


class Pipeline:
    """Everything thread `infer` owns. `turns` grows with every pass of the loop."""

    def __init__(self, plan: Plan, line: Link, others: list[Link], keeper: Keeper) -> None:
        self._plan = plan
        self._line = line
        self._links = Links([line, *others])
        self._keeper = keeper
        self._fusion = Fusion(rules_of(plan.recipe), plan.loaded.bundle, plan.looks)
        self._rings: dict[str, RingMap] = {}
        self._waiting: deque[tuple[Link, FrameReady]] = deque()
        self._held: dict[Sight, _Held] = {}
        self._faults: dict[str, int] = {}
        self._next_expiry_ns = 0
        self._reported_drops = 0
        self._stopping = False
        self.turns = 0

    def stop(self) -> None:
        """Ask `run` to return; at most IDLE_S later it does."""
        self._stopping = True

    def run(self) -> None:
        """Body of thread `infer`: serve until `stop`."""
        try:
            while not self._stopping:
                self.turns += 1
                self._turn()
        finally:
            self._links.close()

    def _turn(self) -> None:
        for link in self._links.connect_due(time.monotonic_ns()):
            if link.process != "camera":
                self._send(link, self._plan.loaded)
        for link in self._links.wait(0 if self._waiting else IDLE_S):
            self._read(link)
        if self._waiting:
            link, ready = self._waiting.popleft()
            self._look(link, ready)
        self._expire(time.monotonic_ns())

    def _expire(self, now_ns: int) -> None:
        if now_ns < self._next_expiry_ns:
            return
        self._next_expiry_ns = now_ns + EXPIRE_NS
        self._carry_out(self._fusion.expire(now_ns))
        if self._keeper.dropped != self._reported_drops:
            self._reported_drops = self._keeper.dropped
            self._fault("evidence dropped", f"{self._reported_drops} images not kept: {self._keeper.failure}")

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
                self._carry_out(self._fusion.bound(message, now_ns))
            case Unbound() if link is self._line:
                self._carry_out(self._fusion.unbound(message.key, message.region))
            case Ring() if link.process == "camera" and len(fds) == 1:
                self._rings[message.camera] = RingMap(message, fds[0])
                self._carry_out(self._fusion.session(message.camera, message.session))
            case Arm() if link.process == "recorder":
                self._arm(message)
            case _:
                raise WireError(f"{link.process} sent {type(message).__name__}, which is not its to send")

    def _arm(self, arm: Arm) -> None:
        loaded = self._plan.loaded
        if arm.batch and (arm.bundle, arm.recipe) != (loaded.bundle, loaded.recipe):
            self._fault("wrong digest", f"batch {arm.batch} is armed for another bundle or recipe than is loaded")

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
        regions = self._plan.regions.get(camera, ())
        parts = [image[r.y : r.y + r.height, r.x : r.x + r.width].copy() for r in regions] or [image]
        for region, part in enumerate(parts):
            self._held[key, region] = _Held(part.shape[1], part.shape[0], part)
            self._inferred_part(ready, part, region, lit=lit)
        if self._line.peer:
            self._read(self._line)
        for region in range(len(parts)):
            held = self._held.get((key, region))
            if held:
                held.image = held.pixels()

    def _inferred_part(self, ready: FrameReady, image: Frame, region: int, *, lit: bool) -> None:
        evidence = ready.evidence
        started_ns = time.monotonic_ns()
        scores = self._scores(evidence.key.camera, image) if evidence.complete and lit and image.size else {}
        inferred_ns = time.monotonic_ns()
        looked = Looked(
            key=evidence.key,
            device_ts=evidence.device_ts,
            digest=hashlib.sha256(image.data).hexdigest(),
            scores=scores,
            frame_ns=evidence.received_ns,
            inferred_ns=inferred_ns,
            inference_ns=inferred_ns - started_ns,
            lit=lit,
            region=region,
        )
        self._carry_out(self._fusion.looked(looked, time.monotonic_ns()))

    def _lit(self, camera: str, image: Frame) -> bool:
        light = self._plan.lights.get(camera)
        if light is None:
            return True
        reading = light.look(image)
        if not reading.lit or reading.near_edge:
            code = "LIGHT_TREND" if reading.lit else "LIGHT"
            self._fault(f"{code} {camera}", light.text(reading), code, camera)
        return reading.lit

    def _scores(self, camera: str, image: Frame) -> dict[str, float]:
        looker_ = self._plan.lookers.get(self._plan.looks.get(camera, ""))
        if looker_ is None:
            return {}
        try:
            looker_.engine.infer(image, looker_.out)
        except EngineError as error:
            self._fault("engine fault", str(error))
            return {}
        scores = decode(looker_.model, looker_.out)
        if not all(math.isfinite(score) for score in scores.values()):
            self._fault("engine fault", f"model {looker_.model.file} gave a score that is not a number")
            return {}
        return scores

    def _carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Drop):
                self._held.pop((command.key, command.region), None)
                continue
            self._send(self._line, command)
            for view in command.views:
                held = self._held.pop((view.key, view.view.region), None)
                if held and self._wanted(command, view):
                    self._keeper.offer(_kept(command, view, held))

    def _wanted(self, judged: Judged, view: JudgedView) -> bool:
        """All of what is not accepted; of the rest a share chosen by the digest, so that it can be told again."""
        share = self._plan.recipe.evidence_share
        return judged.verdict is not Verdict.ACCEPT or int(view.digest[:8], 16) < share * (1 << 32)

    def _fault(self, kind: str, text: str, code: str = FAULT_CODE, subject: str = "") -> None:
        """Tell the log and `line`, at most once in FAULT_PERIOD_NS for each kind."""
        now_ns = time.monotonic_ns()
        if now_ns - self._faults.get(kind, -FAULT_PERIOD_NS) >= FAULT_PERIOD_NS:
            self._faults[kind] = now_ns
            _log.error("%s: %s", kind, text)
            self._send(self._line, VisionFault(code, text if subject else f"{kind}: {text}", subject))

    def _send(self, link: Link, message: Message) -> None:
        try:
            link.send(message)
        except WireError as error:
            self._lose(link, error)


def _kept(judged: Judged, view: JudgedView, held: _Held) -> Kept:
    entry = Entry(
        unit=judged.unit,
        view=view.view,
        key=view.key,
        verdict=judged.verdict,
        reason=judged.reason,
        defect=judged.defect,
        scores=view.scores,
        digest=view.digest,
        file=file_of(view.digest),
    )
    return Kept(entry, held.width, held.height, held.pixels())
