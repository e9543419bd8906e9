"""The batch report on paper: A4, what QA asks first stands first, lines to sign by hand at the end.

Built from the report document alone, so that paper and JSON cannot differ; the paper names the JSON's digest.
"""

import io
from collections.abc import Mapping
from typing import Any

from reportlab.lib import colors
from reportlab.lib.enums import TA_CENTER, TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, KeepTogether, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from provisioning import batch_plots
from provisioning.batch_sections import SECTIONS, Grid, headline, latency
from provisioning.paper import BAND, INK, QUIET, RED, RULE, fonts, marked, numbered

MARGIN, FOOT = 16 * mm, 15 * mm
PADDING = 6.0  # that a page template puts around its frame
WIDTH = A4[0] - 2 * MARGIN
GOOD, BAD, OPEN = colors.HexColor("#2e7d4f"), RED, colors.HexColor("#8a6a16")
MEANINGS = ("Operation", "Review", "Quality assurance: release / reject")
TONES = {"good": GOOD, "bad": BAD, "open": OPEN}

_BODY = ParagraphStyle("body", fontName="Helvetica", fontSize=8, leading=10, textColor=INK)
_CELL = ParagraphStyle("cell", _BODY, fontSize=7.4, leading=9, splitLongWords=True)
_NUMBER = ParagraphStyle("number", _CELL, alignment=TA_RIGHT)
_HEAD = ParagraphStyle("head", _CELL, textColor=QUIET)
_HEAD_NUMBER = ParagraphStyle("headnumber", _HEAD, alignment=TA_RIGHT)
_NOTE = ParagraphStyle("note", _BODY, fontSize=7.2, textColor=QUIET, spaceBefore=2)
_WRONG = ParagraphStyle("wrong", _BODY, textColor=BAD, fontName="Helvetica-Bold")
_SECTION = ParagraphStyle(
    "section", fontName="Helvetica-Bold", fontSize=10, leading=13, textColor=INK, spaceBefore=9, spaceAfter=3
)
_TITLE = ParagraphStyle("title", fontName="Helvetica-Bold", fontSize=19, leading=23, textColor=INK)
_BANNER = ParagraphStyle("banner", fontName="Helvetica-Bold", fontSize=9, leading=12, textColor=colors.white)
_BIG = ParagraphStyle("big", fontName="Helvetica-Bold", fontSize=17, leading=19, alignment=TA_CENTER, textColor=INK)
_UNDER = ParagraphStyle("under", fontName="Helvetica", fontSize=7, leading=9, alignment=TA_CENTER, textColor=QUIET)


def pdf(report: Mapping[str, Any], json_sha256: str) -> bytes:
    """Return the report as a PDF file; `json_sha256` is the digest of the JSON file that belongs to it."""
    fonts()
    buffer = io.BytesIO()
    side = MARGIN - PADDING
    document = SimpleDocTemplate(
        buffer, pagesize=A4, leftMargin=side, rightMargin=side, topMargin=MARGIN, bottomMargin=FOOT + 8 * mm,
        title=f"Batch report {report['batch']['id']}", author=f"Linewarden {report['made_by_release']}",
    )  # fmt: skip
    document.build(_story(report, json_sha256), canvasmaker=_canvas(report, json_sha256))
    return buffer.getvalue()


def _story(report: Mapping[str, Any], json_sha256: str) -> list[Flowable]:
    parts = [*_top(report), _counts(report["units"])]
    for make in SECTIONS:
        for grid in make(report):
            parts += _grid(grid)
        if make is latency:
            parts.append(KeepTogether([Paragraph("Over the batch", _SECTION), _plots(report["plots"])]))
    return [*parts, KeepTogether(_signing(report, json_sha256))]


def _top(report: Mapping[str, Any]) -> list[Flowable]:
    batch, documents = report["batch"], report["documents"]
    lines = [(text, TONES[tone]) for text, tone in headline(report)]
    under = f"{documents['product'] or documents['recipe_name']}"
    banners = Table([[Paragraph(marked(line), _BANNER)] for line, _ in lines], colWidths=[WIDTH])
    fills = [("BACKGROUND", (0, row), (0, row), color) for row, (_, color) in enumerate(lines)]
    banners.setStyle(TableStyle([*fills, ("LINEBELOW", (0, 0), (-1, -1), 1.5, colors.white)]))
    title = Paragraph(f"Batch report {marked(batch['id'])}", _TITLE)
    return [title, Paragraph(marked(under), _BODY), Spacer(1, 5), banners, Spacer(1, 5)]


def _counts(units: Mapping[str, int]) -> Flowable:
    shown = [name for name in units if name not in ("removed", "sampled", "quarantined") or units[name]]
    cells = [
        [Paragraph(_tinted(name, units[name]), _BIG) for name in shown],
        [Paragraph(name, _UNDER) for name in shown],
    ]
    table = Table(cells, colWidths=[WIDTH / len(shown)] * len(shown))
    table.setStyle(TableStyle([("BACKGROUND", (0, 0), (-1, -1), BAND), ("TOPPADDING", (0, 0), (-1, 0), 6)]))
    return table


def _tinted(name: str, count: int) -> str:
    color = {"accepted": GOOD, "rejected": BAD, "escaped": BAD, "quarantined": BAD}.get(name) if count else None
    return f'<font color="{color.hexval()}">{count}</font>' if color else str(count)


def _grid(grid: Grid) -> list[Flowable]:
    parts: list[Flowable] = [Paragraph(marked(grid.title), _SECTION)] if grid.title else []
    if grid.rows:
        parts.append(_table(grid))
    parts += [Paragraph(marked(line), _WRONG) for line in grid.wrong]
    parts += [Paragraph(marked(line), _NOTE) for line in grid.notes]
    return [KeepTogether(parts)] if len(grid.rows) <= 12 else parts


def _table(grid: Grid) -> Table:
    heads = [[Paragraph(marked(name), _HEAD_NUMBER if right else _HEAD) for name, right in grid.columns]]
    rows = [
        [
            Paragraph(marked(cell), _NUMBER if right else _CELL)
            for cell, (_, right) in zip(row, grid.columns, strict=True)
        ]
        for row in grid.rows
    ]
    total = sum(grid.widths)
    named = any(name for name, _ in grid.columns)
    table = Table(
        [*(heads if named else []), *rows], colWidths=[WIDTH * width / total for width in grid.widths],
        repeatRows=1 if named else 0, hAlign="LEFT",
    )  # fmt: skip
    style = [("LINEBELOW", (0, 0), (-1, -1), 0.25, RULE), ("VALIGN", (0, 0), (-1, -1), "TOP")]
    style += [("TOPPADDING", (0, 0), (-1, -1), 1.5), ("BOTTOMPADDING", (0, 0), (-1, -1), 2.2)]
    style += [("LEFTPADDING", (0, 0), (-1, -1), 2), ("RIGHTPADDING", (0, 0), (-1, -1), 4)]
    table.setStyle(TableStyle(style))
    return table


def _plots(plots: Mapping[str, Any]) -> Table:
    drawn = [
        make(plots) for make in (batch_plots.outcomes, batch_plots.reject_rate, batch_plots.latency, batch_plots.scores)
    ]
    return Table([drawn[:2], drawn[2:]], colWidths=[WIDTH / 2] * 2, style=[("LEFTPADDING", (0, 0), (-1, -1), 0)])


def _signing(report: Mapping[str, Any], json_sha256: str) -> list[Flowable]:
    """Lines to sign by hand, and what it is that is signed."""
    says = (
        f"Signed by hand until electronic signatures exist on this device. This paper belongs to the JSON file with "
        f"sha256 {json_sha256}, made {report['made_utc']} from {report['ledger_entries']} entries of the record."
    )
    rows = [[Paragraph(text, _HEAD) for text in ("meaning", "name", "signature", "date, time zone")]]
    rows += [[Paragraph(meaning, _CELL), "", "", ""] for meaning in MEANINGS]
    table = Table(rows, colWidths=[WIDTH * share for share in (0.28, 0.26, 0.26, 0.2)], rowHeights=[13] + [26] * 3)
    table.setStyle(TableStyle([("LINEBELOW", (0, 1), (-1, -1), 0.6, INK), ("VALIGN", (0, 1), (-1, -1), "BOTTOM")]))
    return [Paragraph("Signatures", _SECTION), Paragraph(says, _NOTE), Spacer(1, 4), table]


def _canvas(report: Mapping[str, Any], json_sha256: str) -> type[Canvas]:
    """Return a canvas that writes foot lines once it knows how many pages there are."""
    batch = report["batch"]
    as_of = f"closed {batch['closed_utc']}" if batch["closed_utc"] else f"OPEN, as of {report['made_utc']}"
    left = f"Batch {batch['id']} · {as_of} · all times UTC · JSON {json_sha256[:16]}…"
    return numbered(left, A4, MARGIN, FOOT)
