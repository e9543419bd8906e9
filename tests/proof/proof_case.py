"""One case: a line and its faults drawn from a seed, played, and judged. The same seed always gives the same case."""

import random
from collections.abc import Collection
from dataclasses import dataclass

from proof_agenda import MS
from proof_fault import Fault, Strike
from proof_faults import FAULTS
from proof_verdict import Outcomes, judge
from proof_world import Spec, World

VIALS = 120
FIRST, SPACE = 14, 36
CALM_NS = 300 * MS
RATES = (600, 900, 1200, 1200, 1800, 2400, 3000)
JITTERS = (0.02, 0.06, 0.15, 0.3, 0.38)


@dataclass(slots=True)
class Case:
    """What is played and what strikes it."""

    spec: Spec
    strikes: list[Strike]


def draw(seed: int, faults: tuple[str, ...] = (), known: Collection[str] = FAULTS) -> Case:
    """Draw a case. `faults` strike in that order, one vial group each; without them three of those that are `known`
    are drawn, or pairs."""
    chance = random.Random(f"{seed} case")
    spec = Spec(
        seed=seed,
        vials=VIALS,
        rate=chance.choice(RATES),
        cameras=chance.choice((1, 2, 2)),
        gap_jitter=chance.choice(JITTERS),
        bad=chance.choice((0.0, 0.05, 0.3)),
        encoder_start=chance.choice((0, 0xFFFFFFFF - chance.randrange(200_000), chance.randrange(1 << 32))),
        number=chance.choice((1, 0xFFFFFFFF - chance.randrange(100), chance.randrange(1, 1 << 32))),
        first_frame=chance.choice((0, 0, 65_535 - chance.randrange(120))),
    )
    names = faults or tuple(chance.choice(list(known)) for _ in range(3))
    paired = not faults and chance.random() < 0.35
    strikes = []
    for index, name in enumerate(names):
        strikes.append(_strike(chance, FAULTS[name], FIRST + index * SPACE, spec, not paired))
        if paired:
            strikes.append(_strike(chance, FAULTS[chance.choice(list(known))], FIRST + index * SPACE, spec, False))
    return Case(spec, strikes)


def _strike(chance: random.Random, fault: Fault, vial: int, spec: Spec, alone: bool) -> Strike:
    length = chance.randrange(fault.shortest_ms * MS, fault.longest_ms * MS + 1) if fault.longest_ms else 0
    return Strike(
        fault=fault,
        vial=vial + chance.randrange(5),
        step=chance.choice(fault.steps),
        delay_ns=chance.choice((0, chance.randrange(2 * MS), chance.randrange(60 * MS))),
        length_ns=length,
        alone=alone,
        camera=chance.randrange(spec.cameras),
    )


class Player:
    """Lets the strikes of a case strike: at the step of their vial, at its decision at the latest."""

    def __init__(self, world: World, strikes: list[Strike]) -> None:
        self._world = world
        self._waiting: dict[int, list[Strike]] = {}
        self._struck: list[Strike] = []
        for strike in strikes:
            self._waiting.setdefault(strike.vial, []).append(strike)
        world.noted = self.noted

    def noted(self, step: str, vial: int) -> None:
        """A vial reached a step of its way."""
        if vial not in self._waiting:
            return
        for strike in list(self._waiting[vial]):
            if step in (strike.step, "decided"):
                self._waiting[vial].remove(strike)
                self._world.agenda.after(strike.delay_ns, lambda strike=strike: self._begin(strike))

    def _begin(self, strike: Strike) -> None:
        world = self._world
        strike.at_ns, strike.end_ns = world.agenda.now, world.agenda.now + strike.length_ns
        for other in self._struck:
            if other.end_ns + CALM_NS > strike.at_ns:
                strike.alone = other.alone = False
        self._struck.append(strike)
        strike.honoured = world.plant.honours
        strike.took = not strike.fault.own
        end = strike.fault.begin(world, strike)
        if end:
            world.agenda.after(strike.length_ns, end)


def play(case: Case) -> tuple[World, Outcomes]:
    """Play a case to its end."""
    world = World(case.spec)
    Player(world, case.strikes)
    world.play()
    return world, judge(world, case.strikes)
