"""What every PDF of ours shares: colours, text in whatever script, a foot line with `page n of m`."""

import re
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Paragraph

INK, QUIET = colors.HexColor("#22262b"), colors.HexColor("#6a7078")
RULE, BAND, RED = colors.HexColor("#c9ced4"), colors.HexColor("#f1f3f5"), colors.HexColor("#b3261e")
CHINESE = "STSong-Light"

_FOOT = ParagraphStyle("foot", fontName="Helvetica", fontSize=7, leading=8.2, textColor=QUIET)
_CHINESE = re.compile(r"([\u2e80-\u9fff\uff00-\uffef]+)")


def fonts() -> None:
    """Make the fonts known that `marked` names; before a document is built."""
    pdfmetrics.registerFont(UnicodeCIDFont(CHINESE))


def marked(text: str) -> str:
    """Return text for a paragraph: Latin as it is, Chinese in its own font, what no font has as its code point."""
    runs = _CHINESE.split("".join(letter if letter.isprintable() else " " for letter in str(text)))
    for index in range(1, len(runs), 2):
        runs[index] = f'<font name="{CHINESE}">{runs[index]}</font>'
    runs[::2] = [escape("".join(map(_latin, run))) for run in runs[::2]]
    return "".join(runs)


def numbered(left: str, page: tuple[float, float], margin: float, foot: float) -> type[Canvas]:
    """Return a canvas that writes a foot line on every page once it knows how many there are."""

    class Numbered(Canvas):  # type: ignore[misc]  # reportlab has no types
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self._pages: list[dict[str, Any]] = []

        def showPage(self) -> None:
            self._pages.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            for number, state in enumerate(self._pages, 1):
                self.__dict__.update(state)
                _foot(self, left, f"page {number} of {len(self._pages)}")
                super().showPage()
            super().save()

    def _foot(canvas: Canvas, left: str, right: str) -> None:
        canvas.setStrokeColor(RULE)
        canvas.line(margin, foot, page[0] - margin, foot)
        line = Paragraph(marked(left), _FOOT)
        line.wrap(page[0] - 2 * margin - 80, 20)
        line.drawOn(canvas, margin, foot - 10)
        canvas.setFont("Helvetica", 7)
        canvas.setFillColor(QUIET)
        canvas.drawRightString(page[0] - margin, foot - 9, right)

    return Numbered


def _latin(letter: str) -> str:
    if letter == "\N{RIGHTWARDS ARROW}":
        return "->"
    try:
        letter.encode("cp1252")
    except UnicodeEncodeError:
        return f"U+{ord(letter):04X} "
    return letter
