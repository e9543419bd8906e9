"""What a person reads before they sign an anomaly model: report.json, report.html and the pictures in it."""

import base64
import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import Template
from typing import Any

from engines.engine import Frame
from provisioning.anomaly_bundle import Label, Made, code_digest
from provisioning.anomaly_calibration import GOOD_LOGIT, LIMIT
from provisioning.anomaly_fit import FOLDS, Fitted
from provisioning.anomaly_images import dataset_digest
from provisioning.anomaly_memory import Array
from provisioning.anomaly_pictures import histogram, overlay, side_by_side

NOT_SHOWN = (
    "Good images show how often good parts are rejected. They show nothing about defects that are missed: run "
    "`linewarden model evaluate` with units whose defects are known before this model decides anything."
)

_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>$title</title><style>
body { font: 15px/1.5 system-ui, sans-serif; color: #22262b; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.2rem; border-top: 1px solid #c9ced4; padding-top: 1rem }
table { border-collapse: collapse } td, th { text-align: left; padding: .2rem 1rem .2rem 0; vertical-align: top }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere } th { font-weight: 600; white-space: nowrap }
img { max-width: 100% } .warn { border-left: 4px solid #b3261e; padding: .4rem .8rem; background: #f9efee }
</style></head><body>
<h1>$title</h1>
<p class="warn">$warning</p>
<table>$facts</table>
$views
</body></html>
""")


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


def pictures(views: Mapping[str, tuple[Fitted, Sequence[Shown]]]) -> dict[str, bytes]:
    """Return file name -> PNG: for each view the scores of good parts, and the oddest of them with their heat map."""
    drawn: dict[str, bytes] = {}
    for name, (fitted, worst) in views.items():
        roi = fitted.preprocessing.roi
        drawn[f"{name}-scores.png"] = histogram(fitted.logits)
        tiles = [overlay(shown.frame, shown.map, roi, f"{shown.name}  {shown.logit:+.1f}") for shown in worst]
        drawn[f"{name}-oddest.png"] = side_by_side(tiles)
    return drawn


def page(report: Mapping[str, Any], drawn: Mapping[str, bytes], digests: Mapping[str, str]) -> bytes:
    """Return report.html: one file, no scripts, pictures inside."""
    told = {
        "Bundle": digests["bundle"],
        "Recipe": digests["recipe"],
        "Images": f"sha256 {report['dataset_sha256']}",
        "Seed": report["seed"],
        "Wanted": f"{100 * report['false_rejects_wanted']:g} % of good units rejected, over all views",
    }
    text = _PAGE.substitute(
        title=html.escape(f"Anomaly model {report['name']}"),
        warning=html.escape(report["detection"]),
        facts=_rows(told),
        views="".join(_section(name, view, drawn) for name, view in report["views"].items()),
    )
    return text.encode()


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


def _section(name: str, view: Mapping[str, Any], drawn: Mapping[str, bytes]) -> str:
    roi, size = view["roi"], view["input_size"]
    told = {
        "Images": f"{view['images']} of {view['image_size'][0]} x {view['image_size'][1]} pixels",
        "Region": f"{roi[2]} x {roi[3]} at {roi[0]}, {roi[1]}, reduced to {size[0]} x {size[1]}",
        "Proposed limit": f"score {view['limit']}",
        "Good rejected": f"{view['good_rejected']} of {view['images']}, at most "
        f"{100 * view['good_rejected_high95']:.2f} % with 95 % confidence",
    }
    return (
        f"<h2>View {html.escape(name)}</h2><table>{_rows(told)}</table><p>{html.escape(view['evidence'])}</p>"
        f"<h3>Scores of good images that the model had not seen</h3>{_image(drawn[f'{name}-scores.png'])}"
        f"<h3>The oddest good images</h3><p>Is one of them no good part? Remove it and fit again.</p>"
        f"{_image(drawn[f'{name}-oddest.png'])}"
    )


def _rows(told: Mapping[str, object]) -> str:
    def rows() -> Iterator[str]:
        for name, value in told.items():
            yield f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>"

    return "".join(rows())


def _image(png: bytes) -> str:
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
