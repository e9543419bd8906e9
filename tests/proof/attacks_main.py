"""`make attacks`: play every known attack on an update against a device and print what refused it. Exit 1 if any was
accepted, or was refused for another reason than the one expected.

    python tests/proof/attacks_main.py [--json] [--only WORDS]
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from signing.errors import SigningError
from tests.contract.attack import Attack
from tests.contract.update_attacks import ATTACKS
from tests.contract.update_world import World, build_world


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attack. `refused_with` is empty when it was accepted."""

    case: str
    expected: str
    refused_with: str
    text: str

    @property
    def good(self) -> bool:
        return bool(self.refused_with) and self.expected in f"{self.refused_with}: {self.text}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    parser.add_argument("--only", default="", metavar="WORDS", help="attacks whose name holds these words")
    options = parser.parse_args(arguments)
    chosen = [attack for attack in ATTACKS if options.only in attack.name]
    outcomes = list(_played(chosen))
    if options.json:
        print(json.dumps([asdict(outcome) | {"good": outcome.good} for outcome in outcomes], indent=2))
    else:
        _show(outcomes)
    return int(not outcomes or not all(outcome.good for outcome in outcomes))


def _played(attacks: Sequence[Attack]) -> Iterator[Outcome]:
    with tempfile.TemporaryDirectory(prefix="attacks-") as folder:
        built = build_world(Path(folder) / "built")
        for number, attack in enumerate(attacks):
            yield outcome(attack, built.copy(Path(folder) / str(number)))


def outcome(attack: Attack, world: World) -> Outcome:
    """Play one attack in a world of its own."""
    attempt = attack.prepare(world)
    try:
        attempt()
    except SigningError as error:
        text = str(error).replace(f"{world.folder}/", "")
        names = [name for name in (attack.expected, type(error).__name__) if name in f"{type(error).__name__}: {text}"]
        return Outcome(attack.name, attack.expected, names[0], text)
    return Outcome(attack.name, attack.expected, "", "")


def _show(outcomes: Sequence[Outcome]) -> None:
    table = Table("case", "refused with", "what the device says")
    for each in outcomes:
        refused = each.refused_with or "[bold red]ACCEPTED"
        wrong = "" if each.good or not each.refused_with else f" [red](expected {each.expected})"
        table.add_row(each.case, refused + wrong, each.text)
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table)
    bad = [each for each in outcomes if not each.good]
    console.print(f"{len(outcomes) - len(bad)} of {len(outcomes)} attacks were refused as expected")


if __name__ == "__main__":
    sys.exit(main())
