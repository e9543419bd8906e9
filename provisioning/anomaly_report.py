"""What a person reads before they sign an anomaly model: report.json, and report.html with its charts and heat maps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engines.engine import Frame
from engines.explanation import Explanation
from provisioning.anomaly_bundle import ANOMALY, Label, Made, code_digest
from provisioning.anomaly_calibration import GOOD_LOGIT, LIMIT
from provisioning.anomaly_fit import FOLDS, Fitted
from provisioning.anomaly_images import dataset_digest
from provisioning.anomaly_memory import Array
from provisioning.batch_plots import GREEN
from provisioning.overlay import overlay
from provisioning.report_pictures import chart, histogram, page, paragraph, picture, table

NOT_SHOWN = (
    "Good images show how often good parts are rejected. They show nothing about defects that are missed: run "
    "`linewarden model evaluate` with units whose defects are known before this model decides anything."
)
HEADS = ("", "")
SCORES = "Good images, not seen by the fit"


@dataclass(frozen=True, slots=True)
class Shown:
    """A good picture that looked odd: its name, raw frame (H, W), map in logits (rows, columns) and logit."""

    name: str
    frame: Frame
    map: Array
    logit: float


def facts(label: Label, views: Mapping[str, Made], false_rejects: float) -> dict[str, Any]:
    """Return the content of report.json."""
    return {
        "name": label.name,
        "seed": label.seed,
        "owner": label.owner,
        "false_rejects_wanted": false_rejects,
        "dataset_sha256": dataset_digest({name: made.good for name, made in views.items()}),
        "code_sha256": code_digest(),
        "detection": NOT_SHOWN,
        "views": {name: _view_facts(made) for name, made in views.items()},
    }


def report_page(
    report: Mapping[str, Any], views: Mapping[str, tuple[Fitted, Sequence[Shown]]], digests: Mapping[str, str]
) -> bytes:
    """Return report.html: one file, no scripts, pictures inside."""
    return page(f"Anomaly model {report['name']}", _body(report, views, digests)).encode()


def _body(
    report: Mapping[str, Any], views: Mapping[str, tuple[Fitted, Sequence[Shown]]], digests: Mapping[str, str]
) -> Iterator[str]:
    yield paragraph(report["detection"])
    told = (
        ("bundle", digests["bundle"]),
        ("recipe", digests["recipe"]),
        ("images", f"sha256 {report['dataset_sha256']}"),
        ("seed", str(report["seed"])),
        ("wanted", f"{100 * report['false_rejects_wanted']:g} % of good units rejected, over all views"),
    )
    yield table(HEADS, told)
    for name, (fitted, worst) in views.items():
        yield from _section(name, report["views"][name], fitted, worst)


def _section(name: str, view: Mapping[str, Any], fitted: Fitted, worst: Sequence[Shown]) -> Iterator[str]:
    yield f"<h2>View {name}</h2>"
    yield table(HEADS, _told(view))
    yield paragraph(view["evidence"])
    drawing = histogram(SCORES, "log-odds of the score", {"good": (fitted.logits, GREEN)}, (0.0, "limit"))
    yield f"<p>{chart(drawing, 'scores')}</p>"
    yield f"<h2>View {name}: the oddest good images</h2>"
    yield paragraph(
        "Is one of them no good part? Remove it and fit again. The colours say where a map is high, not how high."
    )
    for shown in worst:
        heat = Explanation(ANOMALY, fitted.preprocessing.roi, shown.map)
        yield picture(overlay(shown.frame, heat), f"{shown.name}: log-odds {shown.logit:+.1f}")


def _told(view: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    roi, size = view["roi"], view["input_size"]
    yield "images", f"{view['images']} of {view['image_size'][0]} x {view['image_size'][1]} pixels"
    yield "region", f"{roi[2]} x {roi[3]} at {roi[0]}, {roi[1]}, reduced to {size[0]} x {size[1]}"
    yield "proposed limit", f"score {view['limit']}"
    most = f"at most {100 * view['good_rejected_high95']:.2f} % with 95 % confidence"
    yield "good rejected", f"{view['good_rejected']} of {view['images']}, {most}"


def _view_facts(made: Made) -> dict[str, Any]:
    limit, pre = made.fitted.limit, made.fitted.preprocessing
    return {
        "images": limit.n,
        "image_size": [made.good.width, made.good.height],
        "roi": [pre.roi.x, pre.roi.y, pre.roi.width, pre.roi.height],
        "input_size": [pre.width, pre.height],
        "graph_bytes": len(made.fitted.graph),
        "limit": LIMIT,
        "good_rejected": limit.reached,
        "good_rejected_high95": limit.bound,
        "gumbel": {"location": limit.location, "scale": limit.scale, "at": limit.at},
        "logits": [round(float(value), 4) for value in made.fitted.logits],
        "evidence": _evidence(made),
    }


def _evidence(made: Made) -> str:
    limit = made.fitted.limit
    return (
        f"Each of the {limit.n} good images was scored by a model fitted without it and without a fifth of the others "
        f"({FOLDS} folds). A Gumbel distribution fitted to these scores gives the limit; a logit of 0 is the limit "
        f"(score {LIMIT}), a logit of {GOOD_LOGIT:g} the middle of the good images. {limit.reached} of {limit.n} reach "
        f"it: with 95 % confidence at most {100 * limit.bound:.2f} % of good parts are rejected in this view (Clopper "
        f"and Pearson, two-sided)."
    )
