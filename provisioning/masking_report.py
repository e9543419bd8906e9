"""What `linewarden model mask` states: each reject, how many rest on what the model points at, and their pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import msgspec
import numpy as np
from msgspec import Struct

from engines.engine import Frame
from provisioning.evaluate_results import Named, Share, share
from provisioning.evaluate_view import bounds
from provisioning.masking import Masked, hide
from provisioning.report_pictures import Image, page, paragraph, picture, table

HTML, JSON = "masking.html", "masking.json"
HEADS = ("image", "defect", "limit", "score", "hidden", "share hidden", "controls", "of them below", "rests on it")
RED = (40, 40, 220)
READING = (
    "The region that the model's explanation points at is hidden behind a median and the image judged again. "
    "The controls hide the same shape at random places beside it. A reject rests on the region if the class falls "
    "below its limit without it and with every control stays above. Where it does not, the explanation may still be "
    "right: the region was not all that was seen, or there was no room for a control."
)


class RejectRow(Struct, frozen=True):
    """One image that was not accepted; `masking.Masked` says what the fields are."""

    image: str
    defect: str
    limit: float
    score: float
    hidden: float
    controls: tuple[float, ...]
    control_flips: int
    share: float
    others: tuple[str, ...]
    flips: bool
    rests_on_region: bool


class MaskingResults(Struct, frozen=True, tag_field="document", tag="masking"):
    """The whole of it. `rests` counts the rejects that rest on the region, None without a reject."""

    format: int
    made_utc: str
    bundle: Named
    recipe: Named | None
    view: str
    seed: int
    rests: Share | None
    rejects: list[RejectRow]
    accepted: list[str]


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """One image by name, its frame, and what the masking test said; None where it was accepted."""

    name: str
    frame: Frame
    found: Masked | None


def rests(asked: Sequence[Asked]) -> Share | None:
    """Return how many of the rejects rest on the region, with exact bounds."""
    found = [one.found for one in asked if one.found]
    return share(sum(one.rests_on_region for one in found), len(found)) if found else None


def row(name: str, found: Masked) -> RejectRow:
    """Return what is stated of one reject."""
    return RejectRow(
        image=name,
        defect=found.code,
        limit=found.limit,
        score=found.score,
        hidden=found.hidden,
        controls=found.controls,
        control_flips=found.control_flips,
        share=round(found.share, 6),
        others=found.others,
        flips=found.flips,
        rests_on_region=found.rests_on_region,
    )


def lines(results: MaskingResults) -> Iterator[str]:
    """Yield what the terminal shows: a line for each image, and one for all of them."""
    for one in results.rejects:
        control = (
            f"{one.control_flips} of {len(one.controls)} controls flip it" if one.controls else "no room for a control"
        )
        others = f"; then seen: {', '.join(one.others)}" if one.others else ""
        verdict = "flips" if one.flips else "does not flip"
        yield (
            f"{one.image}: {one.defect} {one.score:.4f} -> {one.hidden:.4f} (limit {one.limit:g}) without "
            f"{100 * one.share:.1f} % of the region of interest: {verdict}; {control}{others}"
        )
    if results.recipe is None:
        yield "no recipe: every limit is taken as a score of 0.5; name one with --recipe"
    yield from (f"{name}: accepted, there is nothing to ask" for name in results.accepted)
    if results.rests:
        found = results.rests
        yield f"{found.count} of {found.n} rejects rest on what the model points at ({bounds(found)})"


def report(results: MaskingResults, asked: Sequence[Asked]) -> dict[str, bytes]:
    """Return the files of the report, content by name."""
    title = f"Masking test of {results.bundle.name} {results.bundle.version}, view {results.view}"
    return {HTML: page(title, _body(results, asked)).encode(), JSON: encoded(results)}


def encoded(results: MaskingResults) -> bytes:
    """Return the results as JSON, indented."""
    return msgspec.json.format(msgspec.json.encode(results), indent=2) + b"\n"


def _body(results: MaskingResults, asked: Sequence[Asked]) -> Iterator[str]:
    yield paragraph(list(lines(results))[-1])
    yield paragraph(READING)
    yield table(HEADS, (_cells(one) for one in results.rejects))
    yield paragraph(f"Bundle {results.bundle.digest}. Controls drawn from seed {results.seed}. {results.made_utc}")
    for one in asked:
        if one.found:
            yield picture(_pair(one.frame, one.found), f"{one.name}: what {one.found.code} points at, and without it")


def _cells(one: RejectRow) -> tuple[str, ...]:
    figures = (f"{one.limit:g}", f"{one.score:.4f}", f"{one.hidden:.4f}", f"{100 * one.share:.1f} %")
    counts = (str(len(one.controls)), str(one.control_flips))
    return (one.image, one.defect, *figures, *counts, "yes" if one.rests_on_region else "no")


def _pair(frame: Frame, found: Masked) -> Image:
    """Return the frame with the region outlined and the frame without it, beside each other, (H, 2 W, 3)."""
    shown = [cv2.cvtColor(each, cv2.COLOR_GRAY2BGR) for each in (frame, hide(frame, found.region, found.window))]
    edges, _ = cv2.findContours(found.region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(shown[0], edges, -1, RED, max(1, frame.shape[0] // 200))
    return np.asarray(cv2.hconcat(shown), np.uint8)
