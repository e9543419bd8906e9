"""Tapes of anything at all, in any order, from a seed."""

import random
from collections.abc import Callable

from drivers.gate.plc_io import Latch
from tests.vectors.gate_line import ABORT, DEVICE, EYED, FOREIGN, GRID, HOLD, RESET, ROTARY, RUN, SPEC, SYNC, Line


def shuffled(seed: int, length: int) -> Line:
    """Play anything at all, in any order; the line holds the tape."""
    chance = random.Random(seed)
    spec = chance.choice((SPEC, EYED, ROTARY, GRID))
    line = Line(
        spec, chance.choice((10_000, 0xFFFFFFFF - 40_000)), chance.choice((1_000_000, 0xFFFFFFFF - 900_000))
    ).agree()
    numbers = [1]
    while len(line.tape.steps) < length:
        _one(line, chance, numbers)
    return line


def _one(line: Line, chance: random.Random, numbers: list[int]) -> None:
    lane, number = chance.randrange(2), chance.choice(numbers[-6:])
    acts: list[tuple[int, Callable[[], object]]] = [
        (8, lambda: line.scan(chance.randint(1, 9))),
        (6, lambda: numbers.append(line.unit(lane))),
        (2, lambda: numbers.append(line.body(lane, real=chance.random() < 0.6))),
        (2, lambda: line.permit(number, lane=lane)),
        (1, lambda: line.permit(number, lane=lane, spoil=1 << chance.randrange(16))),
        (1, lambda: line.permit(number, lane=lane, epoch=line.epoch - 1)),
        (1, lambda: line.permit(number, lane=lane, slot=chance.randrange(64))),
        (1, lambda: line.channel(number, chance.randrange(5))),
        (1, lambda: setattr(line, "beating", chance.random() < 0.7)),
        (1, lambda: setattr(line, "identity", chance.choice((DEVICE, DEVICE, DEVICE, FOREIGN, 0)))),
        (1, lambda: setattr(line, "mode", chance.choice((2, 2, 2, 1)))),
        (1, lambda: setattr(line, "nonce", chance.randint(1, 4))),
        (1, lambda: setattr(line, "command", chance.choice((RUN, RUN, RUN | RESET, RUN | SYNC, ABORT, RUN | HOLD)))),
        (1, lambda: setattr(line.inputs, "authority", chance.choice((2, 2, 2, 1, 0)))),
        (1, lambda: setattr(line.inputs, "legacy_accept", chance.random() < 0.5)),
        (2, lambda: line.slip.__setitem__(slice(None), [chance.choice((0, 40, 170, 300)) for _ in line.slip])),
        (1, lambda: line.spec.eyes and line.inputs.eyes.append(_stranger(line, chance, lane))),
        (1, lambda: setattr(line, "pace", chance.choice((60, 240, 240, 700)))),
    ]
    if line.full:
        acts = [(1, lambda: line.scan(9)), *acts[9:]]
    if chance.random() < 0.01:
        line.restart(chance.random() < 0.6)
    chance.choices([act for _, act in acts], [weight for weight, _ in acts])[0]()


def _stranger(line: Line, chance: random.Random, lane: int) -> tuple[int, Latch]:
    eye = chance.randrange(len(line.spec.eyes))
    return eye, Latch(line.now_us, (line.encoder - chance.randrange(500)) & 0xFFFFFFFF, lane)
