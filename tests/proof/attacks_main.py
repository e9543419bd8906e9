"""`make attacks`: play every known attack on bundles, recipes, updates and devices and print what refused each.

Exit 1 if any was accepted, was refused for another reason than the one expected, or changed something.

    python tests/proof/attacks_main.py [--json] [--only WORDS]
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.contract.attack import Grounds, Outcome
from tests.contract.attacks import every_attack
from tests.unit.store_world import in_memory


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    parser.add_argument("--only", default="", metavar="WORDS", help="attacks whose section or name holds these words")
    options = parser.parse_args(arguments)
    outcomes = played(options.only)
    if options.json:
        print(json.dumps([asdict(outcome) | {"good": not outcome.wrong} for outcome in outcomes], indent=2))
    else:
        _show(outcomes)
    return int(not outcomes or any(outcome.wrong for outcome in outcomes))


def played(words: str) -> list[Outcome]:
    """Play the attacks whose section or name holds these words."""
    with in_memory() as folder:
        grounds = Grounds(folder)
        return [grounds.outcome(section, attack) for section, attack in every_attack(words)]


def _show(outcomes: Sequence[Outcome]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 200)
    for title, cases in groupby(outcomes, lambda outcome: outcome.section):
        table = Table("case", "refused with", "what is said", title=title, title_justify="left")
        for each in cases:
            wrong = f" [red]({escape(each.wrong)})" if each.wrong else ""
            table.add_row(escape(each.case), (each.refused_with or "[bold red]nothing") + wrong, escape(each.text))
        console.print(table)
    good = sum(not each.wrong for each in outcomes)
    console.print(f"{good} of {len(outcomes)} attacks were refused as expected")


if __name__ == "__main__":
    sys.exit(main())
