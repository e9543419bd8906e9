"""Vectors of the gate: `python -m tests.vectors.gate_vectors` rewrites gate/, one tape for each scenario.

What the Python program does in a scenario is the tape.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from drivers.gate.plc_io import Place, PlcSpec
from tests.vectors.gate_line import EYED, GRID, ROTARY, SPEC, Line
from tests.vectors.gate_scenarios import SCENARIOS
from tests.vectors.gate_tape import Reference, Step, mismatch, spec_document, spec_of

FOLDER = Path(__file__).parent / "gate"
LINES: dict[str, Callable[[], Line]] = {
    "wrapped_encoder_and_clock": lambda: Line(SPEC, 0xFFFFFFFF - 2_500, 0xFFFFFFFF - 60_000),
    "slipping": lambda: Line(EYED, 0xFFFFFFFF - 2_000),
    "lost_at_an_eye": lambda: Line(EYED),
    "strangers_at_the_eyes": lambda: Line(EYED),
    "window_edges": lambda: Line(replace(EYED, stations=(Place(0, 800), Place(1, 2_000), Place(2, 801)))),
    "two_at_once": lambda: Line(EYED),
    "restart_between_the_eyes": lambda: Line(EYED),
    "grid": lambda: Line(GRID),
    "pockets": lambda: Line(ROTARY, 0xFFFFFFFF - 2_000),
}


def record(scenario: Callable[[Line], None]) -> Line:
    """Play a scenario; its line holds the tape."""
    line = LINES.get(scenario.__name__, Line)()
    scenario(line)
    return line


def stored() -> Iterator[tuple[str, PlcSpec, list[Step]]]:
    """Yield (name, settings, tape) of the folder."""
    for path in sorted(FOLDER.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        yield path.stem, spec_of(document["spec"]), document["steps"]


def text(line: Line) -> str:
    """Return a tape as its file holds it: one step a line."""
    lines = ",\n".join(json.dumps(step, separators=(",", ":")) for step in line.tape.steps)
    return f'{{"spec":{json.dumps(spec_document(line.spec))},"steps":[\n{lines}\n]}}\n'


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.json"):
        path.unlink()
    for scenario in SCENARIOS:
        line = record(scenario)
        problem = mismatch(Reference(line.spec), line.tape.steps)
        if problem:
            raise SystemExit(f"{scenario.__name__}: {problem}")
        (FOLDER / f"{scenario.__name__}.json").write_text(text(line), encoding="utf-8")


if __name__ == "__main__":
    main()
