"""Which frames make up a unit, and when all of them have been looked at. Pure: the caller brings the time.

Rules of this file:
  1. Only `line` says which frame shows which unit (`Bound`); nothing is inferred from the order of arrival.
  2. A sight (a frame, or one region of a frame that shows several units) is credited once, to one view of one unit. A
     contradiction about a sight or a view spoils every unit in it: they are never judged, and silence rejects them.
  3. A frame of another session than its camera's present one is never credited.
  4. A unit is judged once. What waits too long is dropped.
  5. A unit is judged by the recipe that `line` names for it, and by no score of another one: a frame that was inferred
     for another recipe is inferred again. So a swap inside a batch needs no agreed moment.
"""

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from daemon.messages import Bound, Judged
from daemon.units import FrameKey, JudgedView, UnitId, ViewKey
from daemon.vision.judging import Rules, judge

UNBOUND_NS = 2_000_000_000
BOUND_NS = 60_000_000_000
REMEMBERED = 8192

WHOLE = -1

K = TypeVar("K", bound=Hashable)
Sight = tuple[FrameKey, int]
Owner = tuple[UnitId, ViewKey]


@dataclass(frozen=True, slots=True)
class Looked:
    """One frame, or one `region` of it, after the model of `recipe` ran. `scores` is empty where the engine failed or
    the light was out of its band (not `lit`); `inference_ns` is a duration.
    """

    key: FrameKey
    device_ts: int
    digest: str
    scores: Mapping[str, float]
    frame_ns: int
    inferred_ns: int
    inference_ns: int
    recipe: str
    lit: bool = True
    region: int = 0


@dataclass(frozen=True, slots=True)
class Drop:
    """This sight will not be judged (any more).

    `of` is the unit, and the view of it, that it shows and that is not judged; None where it shows none for certain.
    """

    key: FrameKey
    region: int = 0
    of: Owner | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """Infer this sight with the models of `recipe`, and tell of it by `looked`."""

    key: FrameKey
    region: int
    recipe: str


@dataclass(frozen=True, slots=True)
class Judge:
    """What judges a unit: the rules of a recipe, and the digest of the bundle that goes with it."""

    bundle: str
    rules: Rules


Command = Judged | Drop | Again


@dataclass(slots=True)
class _Open:
    """A unit of which at least one view is bound."""

    since_ns: int
    recipe: str
    sights: dict[ViewKey, Sight] = field(default_factory=dict)


class _Memory(Generic[K]):
    """The last REMEMBERED things that must not count twice."""

    def __init__(self) -> None:
        self._seen: OrderedDict[K, None] = OrderedDict()

    def __contains__(self, thing: K) -> bool:
        return thing in self._seen

    def add(self, thing: K) -> None:
        self._seen[thing] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)


class Fusion:
    """Owned by thread `infer`. Every method returns what follows, in order."""

    def __init__(self, judges: Mapping[str, Judge], looks: Mapping[str, str] | None = None) -> None:
        """`judges` by digest of the recipe; the caller may add some, and take away those that are not in `in_use`.

        `looks`: which view of the recipe each camera takes; a camera that is not in it takes that of its name.
        """
        self._looks = looks or {}
        self._judges = judges
        self._sessions: dict[str, int] = {}
        self._frames: dict[Sight, Looked] = {}
        self._bindings: dict[Sight, tuple[UnitId, ViewKey]] = {}
        self._units: dict[UnitId, _Open] = {}
        self._closed_units: _Memory[UnitId] = _Memory()
        self._spent: _Memory[Sight] = _Memory()
        self._owners: dict[Sight, Owner] = {}

    @property
    def in_use(self) -> set[str]:
        """The recipes that judge units of which a view is bound."""
        return {open_.recipe for open_ in self._units.values()}

    def session(self, camera: str, session: int) -> list[Command]:
        """A new acquisition of `camera` began: frames and bindings of the earlier one are void."""
        self._sessions[camera] = session
        known = {*self._frames, *self._bindings}
        sights = {sight for sight in known if sight[0].camera == camera and sight[0].session != session}
        return [command for sight in sorted(sights) for command in self._void(sight)]

    def line_lost(self) -> list[Command]:
        """The connection to `line` ended: its bindings are void, the next one begins another epoch."""
        return [command for unit in list(self._units) for command in self._spoil(unit)]

    def looked(self, frame: Looked, now_ns: int) -> list[Command]:
        """A frame, or one region of it, was inferred."""
        sight = (frame.key, frame.region)
        if self._sessions.get(frame.key.camera) != frame.key.session or self._is_spent(sight):
            return [Drop(*sight, self._owners.pop(sight, None))]
        if sight in self._frames:
            return [*self._void(sight, doubted=True)]
        self._frames[sight] = frame
        binding = self._bindings.get(sight)
        return self._follow(sight, binding[0], now_ns) if binding else []

    def bound(self, message: Bound, now_ns: int) -> list[Command]:
        """`line` says which unit and view a frame shows; may come before or after the frame."""
        unit, view, sight = message.unit, message.view, (message.key, message.view.region)
        known = self._bindings.get(sight)
        if known == (unit, view):
            return []
        if known or self._is_foreign(message) or self._is_spent(sight) or self._has(unit, view):
            return [*self._void(sight, doubted=True), *self._spoil(unit, doubted=True)]
        if unit in self._closed_units:
            return [*self._void(sight)]
        self._bindings[sight] = (unit, view)
        self._units.setdefault(unit, _Open(now_ns, message.recipe)).sights[view] = sight
        return self._follow(sight, unit, now_ns)

    def unbound(self, key: FrameKey, region: int | None = None) -> list[Command]:
        """`line` says that this frame, or one region of it, shows no unit that can still be accepted."""
        if region is not None:
            return [*self._void((key, region))]
        self._spent.add((key, WHOLE))
        sights = sorted({sight for sight in (*self._frames, *self._bindings) if sight[0] == key})
        return [command for sight in sights for command in self._void(sight)]

    def expire(self, now_ns: int) -> list[Command]:
        """Drop what waited too long: frames nobody bound, units whose other views never came."""
        self._owners = {sight: owner for sight, owner in self._owners.items() if owner[0] in self._closed_units}
        late_units = [unit for unit, open_ in self._units.items() if now_ns - open_.since_ns > BOUND_NS]
        late_frames = [
            sight
            for sight, frame in self._frames.items()
            if sight not in self._bindings and now_ns - frame.inferred_ns > UNBOUND_NS
        ]
        voided: list[Command] = [command for sight in late_frames for command in self._void(sight)]
        return voided + [command for unit in late_units for command in self._spoil(unit)]

    def _is_foreign(self, message: Bound) -> bool:
        """True for a view that the unit's recipe does not ask of that camera, or for a recipe that is not here."""
        view, camera = message.view, message.key.camera
        judge, open_ = self._judges.get(message.recipe), self._units.get(message.unit)
        if judge is None or (open_ and open_.recipe != message.recipe):
            return True
        return view.role not in judge.rules.limits or view.camera != self._looks.get(camera, camera)

    def _is_spent(self, sight: Sight) -> bool:
        return sight in self._spent or (sight[0], WHOLE) in self._spent

    def _has(self, unit: UnitId, view: ViewKey) -> bool:
        return any(other.role == view.role for other in self._sights_of(unit))

    def _sights_of(self, unit: UnitId) -> Mapping[ViewKey, Sight]:
        open_ = self._units.get(unit)
        return open_.sights if open_ else {}

    def _follow(self, sight: Sight, unit: UnitId, now_ns: int) -> list[Command]:
        """A sight is bound now, or inferred: judge its unit if that was the last; infer what another recipe saw."""
        frame, recipe = self._frames.get(sight), self._units[unit].recipe
        if frame and frame.recipe != recipe:
            del self._frames[sight]
            return [Again(*sight, recipe)]
        return self._judge_if_whole(unit, self._judges[recipe], now_ns)

    def _judge_if_whole(self, unit: UnitId, judge_: Judge, now_ns: int) -> list[Command]:
        sights = self._sights_of(unit)
        frames = {view: self._frames[sight] for view, sight in sights.items() if sight in self._frames}
        if {view.role for view in frames} != judge_.rules.limits.keys():
            return []
        judged = self._judged(unit, judge_, frames, now_ns)
        self._close(unit)
        return [judged]

    def _judged(self, unit: UnitId, judge_: Judge, frames: Mapping[ViewKey, Looked], now_ns: int) -> Judged:
        dark = not all(frame.lit for frame in frames.values())
        judgement = judge(judge_.rules, {view.role: frame.scores for view, frame in frames.items()}, dark=dark)
        last = max(frames.values(), key=lambda frame: frame.frame_ns)
        return Judged(
            unit=unit,
            verdict=judgement.verdict,
            reason=judgement.reason,
            channel=judgement.channel,
            defect=judgement.defect,
            views=[
                JudgedView(view, frame.key, frame.device_ts, frame.digest, dict(frame.scores))
                for view, frame in sorted(frames.items())
            ],
            bundle=judge_.bundle,
            recipe=self._units[unit].recipe,
            frame_ns=last.frame_ns,
            inferred_ns=last.inferred_ns,
            inference_ns=last.inference_ns,
            judged_ns=now_ns,
        )

    def _void(self, sight: Sight, *, doubted: bool = False) -> list[Drop]:
        """The sight is never credited, and neither is the unit that claimed it."""
        self._spent.add(sight)
        binding = self._bindings.get(sight)
        if binding:
            return self._spoil(binding[0], doubted=doubted)
        return [Drop(*sight)] if self._frames.pop(sight, None) else []

    def _spoil(self, unit: UnitId, *, doubted: bool = False) -> list[Drop]:
        """The unit is never judged. `doubted`: two things were said about it, so nobody knows what its frames show."""
        drops = []
        for view, sight, held in self._close(unit):
            of = None if doubted else (unit, view)
            if held:
                drops.append(Drop(*sight, of))
            elif of:
                self._owners[sight] = of
        return drops

    def _close(self, unit: UnitId) -> list[tuple[ViewKey, Sight, bool]]:
        """Forget the unit and return its sights, and whether their frames were held."""
        self._closed_units.add(unit)
        open_ = self._units.pop(unit, None)
        sights = list(open_.sights.items()) if open_ else []
        for _, sight in sights:
            self._spent.add(sight)
            del self._bindings[sight]
        return [(view, sight, self._frames.pop(sight, None) is not None) for view, sight in sights]
