"""The reject board decides as the gate program does: the tapes of tests/vectors/gate, said to the C core in frames."""

import json
from pathlib import Path
from typing import Any

import pytest
from board_tape import MAP, BoardTape

from drivers.gate.plc_io import PlcSpec
from tests.vectors.gate_tape import Reference, spec_of

TAPES = sorted((Path(__file__).resolve().parents[1] / "vectors" / "gate").glob("*.json"))
STRICTER = {
    "wrapped_numbers": "the tape presets a retained number, which no frame can",
}


def fits(path: Path) -> bool:
    """A board has no re-sync eyes and no carrier; those tapes are not for it."""
    spec = json.loads(path.read_text(encoding="utf-8"))["spec"]
    return not (spec.get("eyes") or spec.get("pockets"))


def play(document: dict[str, Any]) -> tuple[list[tuple[Any, Any]], BoardTape, Reference]:
    """Return (board, gate program) of each scan, gates and channels."""
    spec: PlcSpec = spec_of(document["spec"])
    board, program = BoardTape(spec), Reference(spec)
    found = []
    for step in document["steps"]:
        right = program.play(step)
        if "start" in step:
            board.start(step)
        elif "write" in step:
            board.write(step["write"], step["words"])
        elif "now" in step:
            found.append((board.scan(step), (right["gates"], right["channels"])))
    return found, board, program


def closed(program: Reference) -> set[tuple[int, ...]]:
    """Return what stands in the closed rings of the gate program, causes apart: the board names some more exactly."""
    words, ring = program.words(), MAP.closed
    entries = [(lane, ring.read(words, ring.ring_at(lane, s + 1))) for lane in range(2) for s in range(ring.length)]
    return {(lane, e["epoch"], e["number"], e["flags"]) for lane, e in entries if e["seq"]}


@pytest.mark.parametrize("path", [path for path in TAPES if fits(path)], ids=lambda path: path.stem)
def test_the_board_decides_as_the_gate_program(path: Path) -> None:
    found, board, program = play(json.loads(path.read_text(encoding="utf-8")))
    assert found
    if path.stem in STRICTER:
        assert not [
            n for n, (own, right) in enumerate(found) if any(o > r for o, r in zip(own[0], right[0], strict=True))
        ]
        return
    assert [(n, own, right) for n, (own, right) in enumerate(found) if own != right] == []
    assert set(board.closed[-128:]) == closed(program)
