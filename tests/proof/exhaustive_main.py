"""`make exhaustive`: every interleaving of a small line, deeper than the tests go. Prints states and steps; exit 1 on
a violation, with the way that leads to it.
"""

import argparse
import sys

from small_line import SmallLine
from small_search import Found, search, underway


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=8, help="choices from the prefix with --faults faults among them")
    parser.add_argument("--faults", type=int, default=2)
    parser.add_argument("--whole", type=int, default=40, help="choices of the searches without a fault")
    options = parser.parse_args()
    plans = (
        ("two vials, from the empty line, no fault", SmallLine(), options.whole, 0),
        ("three vials, no fault", SmallLine(count=3), 2 * options.depth, 0),
        ("two vials before the gate", underway(), options.depth, options.faults),
        ("two permits on their way", underway(permits=True), options.depth, options.faults),
        ("from the empty line", SmallLine(), options.depth + 1, options.faults),
    )
    return max([_report(name, search(line, depth, faults), faults) for name, line, depth, faults in plans])


def _report(name: str, found: Found, faults: int) -> int:
    ways = f"{found.states} states, {found.steps} steps, depth {found.depth}, {faults} faults, {found.seconds:.0f} s"
    print(f"{name}: {ways}", flush=True)
    for text in found.violations:
        print(f"  VIOLATION {text}\n  after {' > '.join(found.trace)}")
    return bool(found.violations)


if __name__ == "__main__":
    sys.exit(main())
