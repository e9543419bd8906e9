"""Which frames make up a unit, and when all of them have been looked at. Pure: the caller brings the time.

Rules of this file:
  1. Only `line` says which frame shows which unit (`Bound`); nothing is inferred from the order of arrival.
  2. A frame is credited once, to one view of one unit. A contradiction about a frame or a view spoils every unit in it:
     they are never judged, and silence rejects them.
  3. A frame of another session than its camera's present one is never credited.
  4. A unit is judged once. What waits too long is dropped.
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

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Looked:
    """One frame after its model ran. `scores` is empty where the engine failed; `inference_ns` is a duration."""

    key: FrameKey
    device_ts: int
    digest: str
    scores: Mapping[str, float]
    frame_ns: int
    inferred_ns: int
    inference_ns: int


@dataclass(frozen=True, slots=True)
class Drop:
    """This frame will not be judged (any more): nothing of it needs to be held."""

    key: FrameKey


Command = Judged | Drop


@dataclass(slots=True)
class _Open:
    """A unit of which at least one view is bound."""

    since_ns: int
    keys: dict[ViewKey, FrameKey] = field(default_factory=dict)


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

    def __init__(self, rules: Rules, bundle: str) -> None:
        self._rules = rules
        self._bundle = bundle
        self._sessions: dict[str, int] = {}
        self._frames: dict[FrameKey, Looked] = {}
        self._bindings: dict[FrameKey, tuple[UnitId, ViewKey]] = {}
        self._units: dict[UnitId, _Open] = {}
        self._closed_units: _Memory[UnitId] = _Memory()
        self._spent_keys: _Memory[FrameKey] = _Memory()

    def session(self, camera: str, session: int) -> list[Command]:
        """A new acquisition of `camera` began: frames and bindings of the earlier one are void."""
        self._sessions[camera] = session
        keys = {key for key in (*self._frames, *self._bindings) if key.camera == camera and key.session != session}
        return [command for key in sorted(keys) for command in self._void(key)]

    def line_lost(self) -> list[Command]:
        """The connection to `line` ended: its bindings are void, the next one begins another epoch."""
        return [command for unit in list(self._units) for command in self._spoil(unit)]

    def looked(self, frame: Looked, now_ns: int) -> list[Command]:
        """A frame was inferred."""
        key = frame.key
        if self._sessions.get(key.camera) != key.session or key in self._spent_keys:
            return [Drop(key)]
        if key in self._frames:
            return self._void(key)
        self._frames[key] = frame
        binding = self._bindings.get(key)
        return self._judge_if_whole(binding[0], now_ns) if binding else []

    def bound(self, message: Bound, now_ns: int) -> list[Command]:
        """`line` says which unit and view a frame shows; may come before or after the frame."""
        unit, view, key = message.unit, message.view, message.key
        known = self._bindings.get(key)
        if known == (unit, view):
            return []
        spent = key in self._spent_keys or view not in self._rules.limits or view.camera != key.camera
        if known or spent or view in self._keys_of(unit):
            return [*self._void(key), *self._spoil(unit)]
        if unit in self._closed_units:
            return self._void(key)
        self._bindings[key] = (unit, view)
        self._units.setdefault(unit, _Open(now_ns)).keys[view] = key
        return self._judge_if_whole(unit, now_ns)

    def unbound(self, key: FrameKey) -> list[Command]:
        """`line` says that this frame shows no unit that can still be accepted."""
        return self._void(key)

    def expire(self, now_ns: int) -> list[Command]:
        """Drop what waited too long: frames nobody bound, units whose other views never came."""
        late_units = [unit for unit, open_ in self._units.items() if now_ns - open_.since_ns > BOUND_NS]
        late_frames = [
            key
            for key, frame in self._frames.items()
            if key not in self._bindings and now_ns - frame.inferred_ns > UNBOUND_NS
        ]
        voided = [command for key in late_frames for command in self._void(key)]
        return voided + [command for unit in late_units for command in self._spoil(unit)]

    def _keys_of(self, unit: UnitId) -> Mapping[ViewKey, FrameKey]:
        open_ = self._units.get(unit)
        return open_.keys if open_ else {}

    def _judge_if_whole(self, unit: UnitId, now_ns: int) -> list[Command]:
        keys = self._keys_of(unit)
        frames = {view: self._frames[key] for view, key in keys.items() if key in self._frames}
        if frames.keys() != self._rules.limits.keys():
            return []
        judged = self._judged(unit, frames, now_ns)
        self._close(unit)
        return [judged]

    def _judged(self, unit: UnitId, frames: Mapping[ViewKey, Looked], now_ns: int) -> Judged:
        judgement = judge(self._rules, {view: frame.scores for view, frame in frames.items()})
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
            bundle=self._bundle,
            frame_ns=last.frame_ns,
            inferred_ns=last.inferred_ns,
            inference_ns=last.inference_ns,
            judged_ns=now_ns,
        )

    def _void(self, key: FrameKey) -> list[Command]:
        """The frame is never credited, and neither is the unit that claimed it."""
        self._spent_keys.add(key)
        binding = self._bindings.get(key)
        if binding:
            return self._spoil(binding[0])
        return [Drop(key)] if self._frames.pop(key, None) else []

    def _spoil(self, unit: UnitId) -> list[Command]:
        """The unit is never judged."""
        return [Drop(key) for key in self._close(unit)]

    def _close(self, unit: UnitId) -> list[FrameKey]:
        """Forget the unit and return those of its frames that were held."""
        self._closed_units.add(unit)
        open_ = self._units.pop(unit, None)
        keys = list(open_.keys.values()) if open_ else []
        for key in keys:
            self._spent_keys.add(key)
            del self._bindings[key]
        return [key for key in keys if self._frames.pop(key, None)]
