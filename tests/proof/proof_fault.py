"""The words of the campaign's faults: a fault, one strike of it, and how its time to safe is measured."""

import enum
from collections.abc import Callable
from dataclasses import dataclass, field

from proof_world import World

STEPS = ("created", "edge 0", "edge 1", "judged", "permit", "permit seen", "decided", "closed")


class Safe(enum.Enum):
    """How time to safe is measured (docs/proof.md)."""

    NONE = "not defined"
    GATE = "the gate program honours no permit"
    SOURCE = "no permit rests on the faulty part"
    RECORD = "law 4: no permit without records"


@dataclass(slots=True)
class Strike:
    """One injected fault: where, when, and what the world was before."""

    fault: "Fault"
    vial: int
    step: str
    delay_ns: int
    length_ns: int
    alone: bool = True
    at_ns: int = 0
    end_ns: int = 0
    camera: int = 0
    took: bool = False
    honoured: bool = False
    vials: set[int] = field(default_factory=set)


Begin = Callable[[World, Strike], Callable[[], None] | None]


@dataclass(frozen=True, slots=True)
class Fault:
    """`begin` strikes and returns what ends it; `shortest_ms`, `longest_ms` its duration. `own`: it says itself when it
    took hold."""

    name: str
    begin: Begin
    expect: frozenset[str] = frozenset()
    safe: Safe = Safe.NONE
    shortest_ms: int = 0
    longest_ms: int = 0
    steps: tuple[str, ...] = STEPS
    own: bool = False
