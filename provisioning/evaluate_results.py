"""What an evaluation found, as figures with their bounds. Pure; `linewarden model evaluate --json` writes it.

An inspection finds a defective unit that it does not accept, so POD (probability of detection) counts rejected and
undecided units alike. Every share has exact two-sided 95 % bounds; POD also the one-sided lower 95 % bound, which is
the figure for "at least so much is found" (with no miss of 59 units: 95 %).
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

from daemon.units import Verdict
from engines.rates import auroc, auroc_bounds, clopper_pearson, lower_bound
from provisioning.anomaly_bundle import ANOMALY
from provisioning.evaluate_images import GOOD
from provisioning.evaluate_run import ModelRun, Run, Seen
from provisioning.evaluate_subject import Subject

ACCEPTED, UNDECIDED = "accepted", "undecided"
METHOD = "Newcombe 2006, method 5, over the standard error of Hanley and McNeil 1982"
DIGITS = 6


class Area(Struct, frozen=True):
    """Area under the ROC curve over units, ties half, with two-sided 95 % bounds by `METHOD`."""

    area: float
    low95: float
    high95: float
    defective: int
    good: int


class Share(Struct, frozen=True):
    """`count` of `n`, with the exact two-sided 95 % bounds of Clopper and Pearson."""

    count: int
    n: int
    share: float
    low95: float
    high95: float


class ClassResult(Struct, frozen=True):
    """One class of defective units. `known`: the bundle names this class.

    `detected` are the units not accepted, `at_least95` the one-sided lower 95 % bound of their share; None without a
    recipe. `named` counts what they were taken for: a class, "undecided" or "accepted".
    """

    name: str = field(name="class")
    known: bool
    n: int
    auroc: Area | None
    detected: Share | None
    at_least95: float | None
    named: dict[str, int]


class ModelTiming(Struct, frozen=True):
    """Durations of the graph alone on this machine in ms, over `n` inferences, one after another."""

    n: int
    p50_ms: float
    p99_ms: float
    backend: str
    version: str
    device: str
    precision: str


class Named(Struct, frozen=True):
    """A bundle or recipe by name, version and digest."""

    name: str
    version: str
    digest: str


class UnitRow(Struct, frozen=True):
    """One unit, so that every figure can be computed again. Verdict, reason and defect are "" without a recipe."""

    unit: str
    truth: str = field(name="class")
    margin: float
    verdict: str
    reason: str
    defect: str
    scores: dict[str, dict[str, float]]


class Results(Struct, frozen=True, tag_field="document", tag="evaluation"):
    """The whole of it. `recipe` is None where no threshold was applied.

    `images` is the sha256 (hex) over class, unit, view and sha256 of every image file. `copies` of them are the same as
    one before. `anomaly_alone`: the bundle's only class is `anomaly`, so that every defect is of it, whatever its name.
    `not_shown` are classes of the bundle without a unit.
    """

    format: int
    made_utc: str
    bundle: Named
    recipe: Named | None
    development_keys: bool
    processor: str
    images: str
    copies: int
    good: int
    defective: int
    auroc: Area | None
    auroc_method: str
    false_reject: Share | None
    detected: Share | None
    at_least95: float | None
    good_named: dict[str, int]
    classes: list[ClassResult]
    anomaly_alone: bool
    not_shown: list[str]
    models: dict[str, ModelTiming]
    units: list[UnitRow]


def results(subject: Subject, run: Run, made_utc: str, processor: str) -> Results:
    """Return the figures of a run."""
    known = subject.bundle.manifest.defects
    bundle, recipe = named_of(subject)
    good = [seen for seen in run.seen if seen.unit.truth == GOOD]
    defective = [seen for seen in run.seen if seen.unit.truth != GOOD]
    truths = sorted({seen.unit.truth for seen in defective})
    found = _detected(defective)
    alone = known.keys() == {ANOMALY}
    return Results(
        format=1,
        made_utc=made_utc,
        bundle=bundle,
        recipe=recipe,
        development_keys=subject.development,
        processor=processor,
        images=run.digest,
        copies=run.copies,
        good=len(good),
        defective=len(defective),
        auroc=area(good, defective),
        auroc_method=METHOD,
        false_reject=_detected(good),
        detected=found,
        at_least95=_at_least(found),
        good_named=_named(good),
        classes=[_class_result(truth, good, defective, known) for truth in truths],
        anomaly_alone=alone,
        not_shown=[] if alone and defective else sorted(known.keys() - set(truths)),
        models={name: _timing(ran) for name, ran in run.models.items()},
        units=[_row(seen) for seen in run.seen],
    )


def named_of(subject: Subject) -> tuple[Named, Named | None]:
    """Return bundle and recipe by name, version and digest."""
    manifest, applied = subject.bundle.manifest, subject.applied
    bundle = Named(manifest.name, manifest.version, subject.bundle.digest)
    return bundle, Named(applied.recipe.name, applied.recipe.version, applied.digest) if applied else None


def area(good: Sequence[Seen], defective: Sequence[Seen]) -> Area | None:
    """Return the AUROC of two groups of units by their margins; None where one of them is empty."""
    if not good or not defective:
        return None
    positive = np.arange(len(good) + len(defective)) >= len(good)
    found = auroc(margins([*good, *defective]), positive)
    low, high = auroc_bounds(found, len(defective), len(good))
    return Area(round(found, DIGITS), round(low, DIGITS), round(high, DIGITS), len(defective), len(good))


def margins(seen: Sequence[Seen]) -> npt.NDArray[np.float64]:
    """Return the margins of units, in their order."""
    return np.array([unit.margin for unit in seen], np.float64)


def accepted(seen: Seen) -> bool:
    """True where the line would accept the unit; without a recipe nobody can say, so False."""
    return seen.judgement is not None and seen.judgement.verdict is Verdict.ACCEPT


def share(count: int, n: int) -> Share:
    """Return a share with its exact bounds. `n` is at least 1."""
    low, high = clopper_pearson(count, n)
    return Share(count, n, round(count / n, DIGITS), round(low, DIGITS), round(high, DIGITS))


def encoded(found: Results) -> bytes:
    """Return the results as JSON, indented."""
    return msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n"


def _detected(seen: Sequence[Seen]) -> Share | None:
    if not seen or any(unit.judgement is None for unit in seen):
        return None
    return share(sum(not accepted(unit) for unit in seen), len(seen))


def _at_least(found: Share | None) -> float | None:
    return None if found is None else round(lower_bound(found.count, found.n), DIGITS)


def _class_result(
    truth: str, good: Sequence[Seen], defective: Sequence[Seen], known: Mapping[str, object]
) -> ClassResult:
    members = [seen for seen in defective if seen.unit.truth == truth]
    found = _detected(members)
    return ClassResult(
        name=truth,
        known=truth in known,
        n=len(members),
        auroc=area(good, members),
        detected=found,
        at_least95=_at_least(found),
        named=_named(members),
    )


def _named(seen: Sequence[Seen]) -> dict[str, int]:
    judged = [unit.judgement for unit in seen if unit.judgement]
    words = {Verdict.ACCEPT: ACCEPTED, Verdict.UNDECIDED: UNDECIDED}
    return dict(sorted(Counter(words.get(said.verdict, said.defect) for said in judged).items()))


def _timing(ran: ModelRun) -> ModelTiming:
    p50, p99 = np.percentile(np.array(ran.inference_ns, np.float64) / 1e6, (50, 99)).round(3).tolist()
    info = ran.info
    return ModelTiming(len(ran.inference_ns), p50, p99, info.backend, info.version, info.device, info.precision)


def _row(seen: Seen) -> UnitRow:
    said = seen.judgement
    return UnitRow(
        unit=seen.unit.name,
        truth=seen.unit.truth,
        margin=round(seen.margin, DIGITS),
        verdict=str(said.verdict) if said else "",
        reason=str(said.reason) if said else "",
        defect=said.defect if said else "",
        scores={str(view): dict(codes) for view, codes in _by_name(seen).items()},
    )


def _by_name(seen: Seen) -> dict[str, Mapping[str, float]]:
    return dict(zip(seen.unit.files, seen.scores.values(), strict=True))
