"""The report of an evaluation: one HTML page that needs nothing else, and its figures as JSON beside it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from daemon.units import Verdict
from provisioning.batch_plots import GREEN, RED
from provisioning.evaluate_images import GOOD
from provisioning.evaluate_results import Results, encoded, margins
from provisioning.evaluate_run import Run, Seen
from provisioning.evaluate_view import HEADS, notes, rows, summary
from provisioning.grey_images import read_frame
from provisioning.report_folder import write_folder
from provisioning.report_pictures import (
    Image,
    ShareBar,
    chart,
    histogram,
    page,
    paragraph,
    picture,
    roc,
    share_bars,
    table,
)

HTML, JSON = "evaluation.html", "evaluation.json"
PICTURED = 12
PICTURE_ROWS = 260
REJECT_ZONE = 0.7
WORDS = {Verdict.ACCEPT: "accepted", Verdict.REJECT: "rejected", Verdict.UNDECIDED: "undecided"}
READING = (
    "Found = rejected or undecided, as the line would let neither pass. Bounds are exact (Clopper and Pearson, 95 %, "
    "two-sided); 'at least' is the one-sided lower 95 % bound of the POD. They hold for units that are independent of "
    "each other and of what the model was trained on. The line at 70 % is the reject zone of Knapp's method (USP "
    "<1790>): there a share of repeated inspections of one container, here of units inspected once."
)


def write_report(folder: Path, run: Run, found: Results) -> None:
    """Write the report; the folder is there whole or not at all.

    Raises:
        ReportRefused: the disk does not take it.
        ImagesRefused: an image that was evaluated cannot be read any more.
    """
    html = page(f"Evaluation of {found.bundle.name} {found.bundle.version}", _body(run, found))
    write_folder(folder, {HTML: html.encode(), JSON: encoded(found)})


def _body(run: Run, found: Results) -> Iterator[str]:
    yield paragraph(f"{summary(found)}.")
    yield from (paragraph(note) for note in notes(found))
    yield table(("", ""), _subject(found))
    yield "<h2>Classes</h2>"
    yield table(HEADS, rows(found))
    yield paragraph(READING)
    yield from _charts(run, found)
    defective = [seen for seen in run.seen if seen.unit.truth != GOOD]
    good = [seen for seen in run.seen if seen.unit.truth == GOOD]
    yield from _pictures("Defective units nearest to acceptance, misses first", sorted(defective, key=_margin))
    yield from _pictures(
        "Good units nearest to rejection, false rejects first", sorted(good, key=_margin, reverse=True)
    )
    yield "<h2>Inference on this machine</h2>"
    yield table(
        ("model", "runs", "p50 ms", "p99 ms", "engine", "device"),
        (
            (name, str(m.n), f"{m.p50_ms:.2f}", f"{m.p99_ms:.2f}", f"{m.backend} {m.version}", m.device)
            for name, m in found.models.items()
        ),
    )
    yield paragraph(f"One after another, the graph alone, {found.processor}.")


def _subject(found: Results) -> Iterator[tuple[str, str]]:
    yield "made", found.made_utc
    yield "bundle", f"{found.bundle.name} {found.bundle.version}, {found.bundle.digest}"
    if found.recipe:
        yield "recipe", f"{found.recipe.name} {found.recipe.version}, {found.recipe.digest}"
    yield "units", f"{found.good} good, {found.defective} defective"
    yield "images", found.images


def _charts(run: Run, found: Results) -> Iterator[str]:
    good = [seen for seen in run.seen if seen.unit.truth == GOOD]
    defective = [seen for seen in run.seen if seen.unit.truth != GOOD]
    if good and defective:
        positive = np.arange(len(run.seen)) >= len(good)
        at = (found.false_reject.share, found.detected.share) if found.false_reject and found.detected else None
        yield chart(
            roc(margins([*good, *defective]), positive, "Share of defective units above the threshold", at), "ROC"
        )
    groups = {
        name: (margins(seen), color)
        for name, seen, color in (("good", good, GREEN), ("defective", defective, RED))
        if seen
    }
    label = "largest log-odds beyond the threshold" if found.recipe else "largest log-odds of a score"
    mark = (0.0, "threshold") if found.recipe else None
    yield chart(histogram("Units by their margin", label, groups, mark), "margins")
    bars = [
        ShareBar(result.name, share.share, share.low95, share.high95, f"{share.count} of {share.n}")
        for result in found.classes
        if (share := result.detected)
    ]
    if bars:
        yield chart(share_bars("POD with 95 % bounds", bars, {"70 %": REJECT_ZONE}), "POD")


def _pictures(title: str, seen: Sequence[Seen]) -> Iterator[str]:
    if seen:
        yield f"<h2>{title}</h2>"
        yield from (picture(_views(one), _caption(one)) for one in seen[:PICTURED])


def _margin(seen: Seen) -> float:
    return seen.margin


def _caption(seen: Seen) -> str:
    said = WORDS[seen.judgement.verdict] if seen.judgement else "not judged"
    return f"{seen.unit.truth}/{seen.unit.name}: {said}, {seen.margin:+.2f} for {seen.code} in view {seen.view}"


def _views(seen: Seen) -> Image:
    """Return every view of a unit beside the other, PICTURE_ROWS high where they are higher."""
    frames = [read_frame(file)[0] for file in seen.unit.files.values()]
    rows_ = min(PICTURE_ROWS, *(frame.shape[0] for frame in frames))
    sized = [
        cv2.resize(f, (max(1, round(f.shape[1] * rows_ / f.shape[0])), rows_), interpolation=cv2.INTER_AREA)
        for f in frames
    ]
    return np.asarray(cv2.hconcat(sized), np.uint8)
