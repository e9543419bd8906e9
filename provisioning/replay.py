"""`linewarden replay`: the retained frames of a unit or batch through the pinned bundle and recipe once more.

Everything between pixels and verdict is the daemon's own code: `daemon.vision.plan` from the frame to scores, the
fusion from scores to verdict, the line's from verdict to reject channel. Every frame is read and inferred each time it
is asked for, so a verdict that depended on anything else than its pixels would differ here.
"""

import enum
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from daemon import config
from daemon.config import Station
from daemon.evidence_file import Image, ImageDamaged, image_file, read_image
from daemon.line.unit import Finish, channel_of
from daemon.messages import Bound, Judged
from daemon.recipe import RecipeRefused
from daemon.units import JudgedView, Reason, Stages
from daemon.vision.fusion import Fusion, Judge, Looked
from daemon.vision.plan import Folders, Plan, open_plan, rules_of
from engines.errors import EngineError
from provisioning.replay_rows import Pins, RecordedUnit, ReplayRefused
from signing.errors import SigningError

BY_JUDGING = {Reason.NONE, Reason.DEFECT, Reason.DOUBTFUL, Reason.LIGHT, Reason.ENGINE_FAULT}
NAMED = 200


class Likeness(enum.StrEnum):
    """What a unit's replay came to. The last three could not be replayed."""

    IDENTICAL = "identical"
    WITHIN = "within tolerance"
    DIFFERS = "differs"
    NOT_KEPT = "image not kept"
    NOT_JUDGED = "not judged"
    ENGINE_FAILED = "engine failed then"


REPLAYED = (Likeness.IDENTICAL, Likeness.WITHIN, Likeness.DIFFERS)
UNREPLAYED = (Likeness.NOT_KEPT, Likeness.NOT_JUDGED, Likeness.ENGINE_FAILED)


@dataclass(frozen=True, slots=True)
class Replayed:
    """One unit. `text` says where it differs or why it was not replayed; `largest` is the greatest score difference."""

    unit: str
    likeness: Likeness
    text: str = ""
    largest: float = 0.0


@dataclass(slots=True)
class Tally:
    """All units of a replay."""

    counts: Counter[Likeness] = field(default_factory=Counter)
    frames: set[str] = field(default_factory=set)
    inferences: int = 0
    largest: float = 0.0
    named: list[Replayed] = field(default_factory=list)

    def add(self, done: Replayed) -> None:
        self.counts[done.likeness] += 1
        self.largest = max(self.largest, done.largest)
        if done.likeness is Likeness.IDENTICAL:
            return
        self.named.append(done)
        if len(self.named) > 2 * NAMED:
            self.named = self.first()

    def first(self) -> list[Replayed]:
        """Return the first NAMED units that are not identical; those that differ come before the others."""
        return sorted(self.named, key=lambda done: done.likeness in UNREPLAYED)[:NAMED]

    @property
    def good(self) -> bool:
        """True iff something was replayed and nothing differed."""
        replayed = sum(self.counts[likeness] for likeness in REPLAYED)
        return replayed > 0 and not self.counts[Likeness.DIFFERS]


def load_pinned(station_path: Path, station: Station, folders: Folders, pins: Pins) -> Plan:
    """Load the documents a batch was judged with.

    Raises:
        ReplayRefused: one of them is another than the batch pins, or cannot be loaded.
    """
    if config.digest(station_path) != pins.station:
        raise ReplayRefused(f"{station_path} is not the station file of batch {pins.batch}: name that with --station")
    try:
        plan = open_plan(station, folders)
    except (SigningError, RecipeRefused, EngineError, config.ConfigError) as error:
        raise ReplayRefused(str(error)) from error
    for kind, found, wanted in (
        ("bundle", plan.loaded.bundle, pins.bundle),
        ("recipe", plan.loaded.recipe, pins.recipe),
    ):
        if found != wanted:
            plan.close()
            named = (
                f"{getattr(folders, kind)}: {kind} {found[:16]}..., batch {pins.batch} was judged by {wanted[:16]}..."
            )
            raise ReplayRefused(f"{named}: name that with --{kind}")
    return plan


class Replayer:
    """Replays units, each against the plan of its sub-lot."""

    def __init__(self, state: Path, plans: Mapping[str, Plan], tolerance: float = 0.0) -> None:
        """`plans` by configuration; `tolerance`: scores (0..1) may differ by that much, for another plan than the one
        that judged."""
        self._state = state
        self._plans = plans
        self._tolerance = tolerance
        self._judges = {plan.loaded.recipe: Judge(plan.loaded.bundle, rules_of(plan.recipe)) for plan in plans.values()}
        self.tally = Tally()

    def all(self, units: Iterable[RecordedUnit]) -> Iterator[Replayed]:
        """Replay units one after the other, counting them in `tally`."""
        for row in units:
            done = self.unit(row)
            self.tally.add(done)
            yield done

    def unit(self, row: RecordedUnit) -> Replayed:
        """Replay one unit."""
        name = str(row.unit)
        if not row.views:
            return Replayed(name, Likeness.NOT_JUDGED, f"{row.reason}: no verdict of pixels stands behind it")
        missing = [view for view in row.views if not image_file(self._state, view.digest).exists()]
        if missing:
            return Replayed(name, Likeness.NOT_KEPT, f"image of {', '.join(_place(view) for view in missing)} not kept")
        try:
            frames = [self._looked(self._plans[row.configuration], row, view) for view in row.views]
        except ImageDamaged as error:
            return Replayed(name, Likeness.DIFFERS, str(error))
        if failed := [view for view, now in zip(row.views, frames, strict=True) if now.scores and not view.scores]:
            return Replayed(
                name, Likeness.ENGINE_FAILED, f"no scores of {_place(failed[0])} then, the engine has some now"
            )
        judged = self._judged(row, frames)
        return self._compared(row, judged) if judged else Replayed(name, Likeness.DIFFERS, "no verdict comes of it now")

    def _looked(self, plan: Plan, row: RecordedUnit, view: JudgedView) -> Looked:
        """Look at a kept image as vision does at a frame. Of a frame with regions only the region is kept: the light of
        such a frame is taken from the record.
        """
        camera, image = view.key.camera, read_image(image_file(self._state, view.digest))
        frame = _frame(image)
        if camera in plan.regions:
            lit = bool(view.scores) or row.reason is not Reason.LIGHT
        else:
            reading = plan.light(camera, frame)
            lit = reading is None or reading.lit
        self.tally.frames.add(view.digest)
        self.tally.inferences += lit
        scores = plan.scores(camera, frame).scores if lit else {}
        return Looked(view.key, view.device_ts, view.digest, scores, 0, 0, 0, plan.loaded.recipe, lit, view.view.region)

    def _judged(self, row: RecordedUnit, frames: Sequence[Looked]) -> Judged | None:
        plan = self._plans[row.configuration]
        fusion = Fusion(self._judges, plan.looks)
        for frame in frames:
            fusion.session(frame.key.camera, frame.key.session)
        for view, frame in zip(row.views, frames, strict=True):
            for command in (
                *fusion.looked(frame, 0),
                *fusion.bound(Bound(row.unit, view.view, frame.key, plan.loaded.recipe), 0),
            ):
                if isinstance(command, Judged):
                    return command
        return None

    def _compared(self, row: RecordedUnit, judged: Judged) -> Replayed:
        found, largest = _scores_compared(row.views, judged.views)
        verdicts = _verdicts_compared(row, judged)
        if not found and not verdicts:
            return Replayed(str(row.unit), Likeness.IDENTICAL)
        within = not verdicts and largest <= self._tolerance and self._tolerance > 0.0
        text = "; ".join((*verdicts, *found))
        return Replayed(str(row.unit), Likeness.WITHIN if within else Likeness.DIFFERS, text, largest)


def _scores_compared(then: Sequence[JudgedView], now: Sequence[JudgedView]) -> tuple[list[str], float]:
    """Return where scores are not the same 64 bits, and the largest difference."""
    found, largest = [], 0.0
    for before, after in zip(then, now, strict=True):
        place = _place(before)
        if before.scores.keys() != after.scores.keys():
            return [f"{place}: other classes"], float("inf")
        for name, score in before.scores.items():
            if struct.pack("<d", score) != struct.pack("<d", after.scores[name]):
                largest = max(largest, abs(score - after.scores[name]))
                found.append(f"{place} {name} {score!r}, now {after.scores[name]!r}")
    return found, largest


def _verdicts_compared(row: RecordedUnit, judged: Judged) -> list[str]:
    """Compare verdict, reason, channel and defect. A reason that the line gave on its own account is not judging's to
    repeat.
    """
    reason = judged.reason if row.reason in BY_JUDGING else row.reason
    finish = Finish(
        row.unit, row.outcome, judged.verdict, reason, row.source, judged, row.plc_flags, row.encoder, Stages()
    )
    channel, defect = channel_of(finish)
    pairs: Mapping[str, tuple[str, str]] = {
        "verdict": (row.verdict, judged.verdict),
        "reason": (row.reason, reason),
        "channel": (row.channel, channel),
        "defect": (row.defect, defect),
    }
    return [f"{name} {then or 'none'}, now {now or 'none'}" for name, (then, now) in pairs.items() if then != now]


def summary(tally: Tally, pins: Pins, plan: Plan, tolerance: float, sublots: int = 1) -> dict[str, Any]:
    """Return the outcome as a document; `engines` and `release` say what replayed, for whoever compares plans.

    Documents and plan are those of the first of the `sublots` that were replayed.
    """
    return {
        "batch": pins.batch,
        "good": tally.good,
        "units": tally.counts.total(),
        "counts": {likeness.value: tally.counts[likeness] for likeness in Likeness},
        "frames": len(tally.frames),
        "inferences": tally.inferences,
        "tolerance": tolerance,
        "largest_difference": tally.largest,
        "documents": {"station": pins.station, "bundle": pins.bundle, "recipe": pins.recipe},
        "configuration": pins.configuration,
        "sublots": sublots,
        "plan": {"then": pins.plan, "now": plan.loaded.plan},
        "release": {"then": pins.release, "now": config.release()},
        "engines": {look: _engine(plan, look) for look in plan.lookers},
        "named": [{"unit": u.unit, "likeness": u.likeness.value, "text": u.text} for u in tally.first()],
    }


def _engine(plan: Plan, look: str) -> dict[str, str]:
    info = plan.lookers[look].engine.info
    words = {"backend": info.backend, "version": info.version, "device": info.device, "precision": info.precision}
    return words | {"onnx_sha256": info.onnx_sha256}


def _frame(image: Image) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    return np.frombuffer(image.pixels, np.uint8).reshape(image.height, image.width)


def _place(view: JudgedView) -> str:
    return f"{view.view.camera}{f' shot {view.view.shot}' if view.view.shot else ''}"
