"""docs/operations/fit-anomaly.md: what it says of the demo's models is what demo/anomaly/score.json has."""

import json
import math
import re
from pathlib import Path
from typing import Any

from demo.anomaly_model import SCORE_FILE

DOC = (Path(__file__).resolve().parents[2] / "docs" / "operations" / "fit-anomaly.md").read_text(encoding="utf-8")
SHEET: dict[str, Any] = json.loads(SCORE_FILE.read_text(encoding="utf-8"))


def row(name: str, found: dict[str, Any]) -> str:
    """A row of the table, as the document must have it."""
    low, high = found["auroc_bounds"]
    counts = (found[kind] for kind in ("found", "found_where_good_exceed"))
    told = " | ".join(f"{share['count']} of {share['n']}" for share in counts)
    return f"| {name.replace('_', ' ')} | {found['auroc']:.3f} ({low:.3f} to {high:.3f}) | {told} |"


def test_the_table_is_the_score_sheet() -> None:
    expected = [row("all", SHEET), *(row(name, found) for name, found in SHEET["classes"].items())]
    assert re.findall(r"^\| .* \| \d\.\d{3} .*\|$", DOC, re.MULTILINE) == expected


def test_the_words_beside_the_table_are_the_score_sheet() -> None:
    refused, exceeding, held_out = SHEET["false_reject"], SHEET["good_exceeding"], SHEET["held_out"]
    most = math.ceil(1000 * refused["high95"]) / 10
    assert (
        f"Of the {refused['n']} good units {refused['count']} reached the proposed limit (at most {most} % with" in DOC
    )
    assert f"where {exceeding['count']} of {exceeding['n']} good units exceed the limit" in DOC
    assert f"on {SHEET['fitted_on']['units']} good units" in DOC
    assert f"scored on {held_out['units']} others (seed {held_out['seed']})" in DOC
    assert "(the demo's: " + " and ".join(str(one["bytes"]) for one in SHEET["models"].values()) + " bytes)" in DOC
