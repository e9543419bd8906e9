"""The audit trail on paper: A4 across, the title block first, then one line for each act and alarm."""

import io
from typing import Any

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.platypus import Flowable, LongTable, Paragraph, SimpleDocTemplate, Spacer, Table

from provisioning.audit_text import COLUMNS, HOW, AuditTrail, Happening, cells, title_lines
from provisioning.paper import BAND, INK, QUIET, RED, RULE, fonts, marked, numbered

PAGE = landscape(A4)
MARGIN, FOOT = 12 * mm, 12 * mm
WIDTH = PAGE[0] - 2 * MARGIN
SHARES = (11, 6.5, 10, 8, 7, 12, 18, 15, 7.5, 5)
ROWS_IN_TABLE = 400
SIZE = (6.6, 8.2)
AMBER = colors.HexColor("#fff8ec")

_BODY = ParagraphStyle("body", fontName="Helvetica", fontSize=8, leading=10.5, textColor=INK)
_CELL = ParagraphStyle("cell", _BODY, fontSize=SIZE[0], leading=SIZE[1], splitLongWords=True)
_REFUSED = ParagraphStyle("refused", _CELL, textColor=RED)
_HEAD = ParagraphStyle("head", _CELL, textColor=QUIET)
_TITLE = ParagraphStyle("title", fontName="Helvetica-Bold", fontSize=16, leading=20, textColor=INK)
_GRID = [
    ("LINEBELOW", (0, 0), (-1, -1), 0.25, RULE),
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ("TOPPADDING", (0, 0), (-1, -1), 1.4),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
    ("LEFTPADDING", (0, 0), (-1, -1), 2),
    ("RIGHTPADDING", (0, 0), (-1, -1), 2),
]


def to_pdf(trail: AuditTrail) -> bytes:
    """Return the document as a PDF file; the same document gives the same bytes."""
    fonts()
    buffer = io.BytesIO()
    name = f"Audit trail {trail.title.batch or trail.title.station}"
    left = f"{name} · root {trail.title.root[:16]}… · times UTC"
    document = SimpleDocTemplate(
        buffer, pagesize=PAGE, leftMargin=MARGIN, rightMargin=MARGIN, topMargin=MARGIN, bottomMargin=FOOT + 6 * mm,
        title=name, author=f"Linewarden {trail.title.release}", invariant=1, initialFontName="Helvetica",
    )  # fmt: skip
    document.build(_story(trail, name), canvasmaker=numbered(left, PAGE, MARGIN, FOOT))
    return buffer.getvalue()


def _story(trail: AuditTrail, name: str) -> list[Flowable]:
    about = [[Paragraph(marked(key), _HEAD), Paragraph(marked(value), _BODY)] for key, value in title_lines(trail)]
    parts: list[Flowable] = [Paragraph(marked(name), _TITLE), Table(about, colWidths=[90, WIDTH - 90], style=_GRID)]
    parts += [Spacer(1, 4), Paragraph(marked(HOW), _HEAD), Spacer(1, 6)]
    starts = range(0, max(1, len(trail.happenings)), ROWS_IN_TABLE)
    return parts + [_table(trail.happenings[start : start + ROWS_IN_TABLE]) for start in starts]


def _table(items: list[Happening]) -> LongTable:
    widths = [WIDTH * share / sum(SHARES) for share in SHARES]
    rows: list[list[Any]] = [[Paragraph(marked(column), _HEAD) for column in COLUMNS]]
    rows += [[_cell(text, width, item) for text, width in zip(cells(item), widths, strict=True)] for item in items]
    style = [*_GRID, ("BACKGROUND", (0, 0), (-1, 0), BAND), ("FONT", (0, 1), (-1, -1), "Helvetica", *SIZE)]
    for row, item in enumerate(items, 1):
        if item.kind == "alarm":
            style.append(("BACKGROUND", (0, row), (-1, row), AMBER))
        if not item.done:
            style.append(("TEXTCOLOR", (0, row), (-1, row), RED))
    return LongTable(rows, colWidths=widths, repeatRows=1, splitInRow=1, style=style)


def _cell(text: str, width: float, item: Happening) -> str | Paragraph:
    """Return a cell; a paragraph, which costs a hundred times as much, only where one line of Latin will not do."""
    if text.isascii() and text.isprintable() and pdfmetrics.stringWidth(text, "Helvetica", SIZE[0]) <= width - 5:
        return text
    return Paragraph(marked(text), _CELL if item.done else _REFUSED)
