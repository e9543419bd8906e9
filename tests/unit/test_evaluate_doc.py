"""docs/operations/evaluate.md: its table of how many units are needed, computed again."""

import re
from pathlib import Path

import pytest

from engines.rates import lower_bound

DOC = Path(__file__).resolve().parents[2] / "docs" / "operations" / "evaluate.md"
ROWS = re.findall(
    r"^\| ([\d.]+) % \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", DOC.read_text(encoding="utf-8"), re.MULTILINE
)


def test_the_table_is_there() -> None:
    assert [float(row[0]) for row in ROWS] == [70, 80, 90, 95, 98, 99, 99.5, 99.9]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_so_many_units_are_needed_and_one_less_is_not_enough(row: tuple[str, ...]) -> None:
    pod = float(row[0]) / 100
    for misses, units in enumerate(map(int, row[1:])):
        assert lower_bound(units - misses, units) >= pod > lower_bound(units - 1 - misses, units - 1)
