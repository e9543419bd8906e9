"""Runs a bundle over labelled units on the device's own path: same engines, same decoding, same judging."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from daemon.units import ViewKey
from daemon.vision.judging import Judgement, Rules, judge
from daemon.vision.plan import Looker, looker
from engines.engine import EngineInfo
from engines.errors import EngineError
from engines.heads import decode
from engines.load import load
from provisioning.errors import CommandFailed
from provisioning.evaluate_images import LabelledUnit
from provisioning.evaluate_subject import Subject, View
from provisioning.grey_images import read_frame

Scores = Mapping[ViewKey, Mapping[str, float]]
Step = Callable[[int, int], None]

# Half a unit in the last place of a score just below 1: beyond it log-odds tell nothing.
LEAST = 1e-16


class EvaluationStopped(CommandFailed):
    """A model could not be run on an image; the text names both."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one unit.

    `margin` is its largest log-odds of a score minus those of the limit `accept_below`: from 0 on it is not accepted.
    Without a recipe it is the largest log-odds of a score and there is no judgement. `view` and `code` are where.
    """

    unit: LabelledUnit
    scores: Scores
    margin: float
    view: str
    code: str
    judgement: Judgement | None


@dataclass(frozen=True, slots=True)
class ModelRun:
    """How a model ran here: what executes it, and the durations of its inferences in ns, in their order."""

    info: EngineInfo
    inference_ns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """All units of an evaluation, the models by name, and what the image files were.

    `digest` is the sha256 (hex) over class, unit, view and sha256 of every image; `copies` counts images whose file is
    the same, byte for byte, as one before.
    """

    seen: tuple[Seen, ...]
    models: Mapping[str, ModelRun]
    digest: str
    copies: int


def run(subject: Subject, units: Sequence[LabelledUnit], step: Step) -> Run:
    """Load the models, judge every unit and release the models; `step` is told units done and units in all.

    Raises:
        ImagesRefused: an image is damaged.
        EvaluationStopped: a model does not load, does not take an image or gives no number for it.
    """
    views = subject.views
    runner = _Runner(subject)
    try:
        seen = []
        for done, unit in enumerate(units):
            step(done, len(units))
            seen.append(runner.see(unit, views))
        step(len(units), len(units))
        return Run(tuple(seen), runner.models(), runner.digest.hexdigest(), runner.copies)
    finally:
        runner.close()


def log_odds(score: float) -> float:
    """Return log(score / (1 - score)) of a score 0..1, finite at both ends."""
    inside = min(max(score, LEAST), 1.0 - LEAST)
    return math.log(inside) - math.log1p(-inside)


def deciding(scores: Scores, rules: Rules | None) -> tuple[float, ViewKey, str]:
    """Return the largest margin of a unit with the view and the class that have it; see `Seen.margin`."""
    return max(
        (log_odds(score) - (log_odds(rules.limits[view][code].accept_below) if rules else 0.0), view, code)
        for view, codes in scores.items()
        for code, score in codes.items()
    )


class _Runner:
    """The loaded models of a subject, and what is counted while they run."""

    def __init__(self, subject: Subject) -> None:
        self._rules = subject.applied.rules if subject.applied else None
        self._lookers: dict[str, Looker] = {}
        self._took: dict[str, list[int]] = {}
        self.digest = hashlib.sha256()
        self.copies = 0
        self._files: set[bytes] = set()
        try:
            for view in subject.views.values():
                if view.model not in self._lookers:
                    model = subject.bundle.manifest.models[view.model]
                    self._lookers[view.model] = looker(load(subject.bundle, view.model), model)
                    self._took[view.model] = []
        except EngineError as error:
            self.close()
            raise EvaluationStopped(str(error)) from error

    def see(self, unit: LabelledUnit, views: Mapping[str, View]) -> Seen:
        scores = {view.key: self._scores(unit, view) for view in views.values()}
        margin, key, code = deciding(scores, self._rules)
        name = next(view.name for view in views.values() if view.key == key)
        judgement = judge(self._rules, scores) if self._rules else None
        return Seen(unit, scores, margin, name, code, judgement)

    def models(self) -> dict[str, ModelRun]:
        return {name: ModelRun(used.engine.info, tuple(self._took[name])) for name, used in self._lookers.items()}

    def close(self) -> None:
        for used in self._lookers.values():
            used.engine.close()

    def _scores(self, unit: LabelledUnit, view: View) -> dict[str, float]:
        file, used = unit.files[view.name], self._lookers[view.model]
        frame, raw = read_frame(file)
        self._count(unit, view, hashlib.sha256(raw).digest())
        try:
            timing = used.engine.infer(frame, used.out)
        except EngineError as error:
            raise EvaluationStopped(f"{file}: {error}") from error
        self._took[view.model].append(timing.inference_ns)
        scores = decode(used.model, used.out)
        if not all(math.isfinite(score) for score in scores.values()):
            raise EvaluationStopped(f"{file}: model '{view.model}' gave a score that is not a number; do not use it")
        return scores

    def _count(self, unit: LabelledUnit, view: View, digest: bytes) -> None:
        self.copies += digest in self._files
        self._files.add(digest)
        self.digest.update(f"{unit.truth}\t{unit.name}\t{view.name}\t{digest.hex()}\n".encode())
