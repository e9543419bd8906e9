"""Faults that come from outside: foreign writers on the wire, and what eyes and hands do to the vials."""

from collections.abc import Callable

from proof_agenda import MS
from proof_fault import Strike
from proof_world import DEVICE, MAP, World

from drivers.registers import permit_check, split
from drivers.sim.belt import Eye, EyeEdge

FOREIGN = 666
TRIES = 8


def _next_numbers(world: World) -> list[int]:
    """Numbers on the belt, and last the one that the next unit will have."""
    known = [unit.number for unit, told in world.units.items() if not told.closed]
    newest = next(reversed(world.units)).number if world.units else 0
    return [*known, newest % 0xFFFFFFFF + 1]


def _slot_write(world: World, number: int, epoch: int, slot: int, device: int, part: slice = slice(0, 4)) -> None:
    words = [*split(number), epoch & 0xFFFF, permit_check(number & 0xFFFFFFFF, epoch, 0, slot, device)]
    world.plant.write(MAP.permit.at(0, slot) + (part.start or 0), words[part])


def torn(world: World, _strike: Strike) -> None:
    """A foreign writer puts half a permit over whatever stands there; the other half is of another unit or epoch."""
    number, epoch = world.chance.choice(_next_numbers(world)), max(1, world.plant.program.epoch)
    cut = world.chance.randrange(1, 4)
    _slot_write(world, number, epoch, number % 64, DEVICE, slice(0, cut))
    other, past = number - world.chance.choice((1, 64)), max(1, epoch - world.chance.randrange(2))
    later = world.chance.randrange(0, 4 * MS)
    world.agenda.after(later, lambda: _slot_write(world, other, past, number % 64, DEVICE, slice(cut, 4)))


def foreign(world: World, strike: Strike) -> None:
    """Another device beats with its identity and permits whatever is on the belt."""
    at, end = MAP.registers["device_heartbeat"].offset, world.agenda.now + strike.length_ns
    beat = [1000]

    def turn() -> None:
        beat[0] += 1
        world.plant.write(at, [beat[0] & 0xFFFF, 0, *split(FOREIGN)])
        for number in _next_numbers(world):
            _slot_write(world, number, world.plant.program.epoch, number % 64, FOREIGN)
        if world.agenda.now < end:
            world.agenda.after(world.chance.randrange(MS, 20 * MS), turn)

    turn()


def mode(world: World, strike: Strike) -> None:
    """Somebody keeps writing another line mode over ours."""
    at, end = MAP.registers["line_mode"].offset, world.agenda.now + strike.length_ns

    def turn() -> None:
        world.plant.write(at, [world.chance.choice((0, 1))])
        if world.agenda.now < end:
            world.agenda.after(world.chance.randrange(MS, 4 * MS), turn)

    turn()


def replay(world: World, _strike: Strike) -> None:
    """Old permit writes arrive again: of units long gone, and of the slot's unit before the last wrap."""
    gone = [u for u, told in world.units.items() if told.decided_ns and world.written.get(u)]
    for unit in gone[-70:]:
        _slot_write(world, unit.number, unit.epoch, unit.number % 64, DEVICE)


def early(world: World, _strike: Strike) -> None:
    """A valid permit for a number that no unit has yet: what is written before the unit exists counts for nothing."""
    number = _next_numbers(world)[-1]
    _slot_write(world, number, world.plant.program.epoch, number % 64, DEVICE)


def shifted_slot(world: World, _strike: Strike) -> None:
    """Permits of units on the belt land in their neighbour's slot; permits of an older epoch in the right one."""
    epoch = world.plant.program.epoch
    for number in _next_numbers(world):
        if world.chance.random() < 0.5:
            _slot_write(world, number, epoch, (number + world.chance.choice((-1, 1))) % 64, DEVICE)
        else:
            _slot_write(world, number, max(0, epoch - 1), number % 64, DEVICE)


def double(world: World, strike: Strike) -> None:
    near = world.chance.choice((1.0, 3.0, 8.0, 20.0))
    world.plant.bounce(near)
    strike.took = bool(world.plant.belt.vials)
    strike.vials.add(len(world.plant.belt.vials))


def missing(world: World, strike: Strike) -> None:
    def unseen(edge: EyeEdge) -> bool:
        world.plant.entered = lambda _edge: True
        strike.took, strike.at_ns = True, world.agenda.now
        strike.vials.add(edge.vial)
        world.uncounted.add(edge.vial)
        return False

    world.plant.entered = unseen


def phantom(world: World, strike: Strike) -> None:
    strike.took = world.plant.program.in_flight > 0
    world.plant.latch(Eye.INFEED)


def crowd(world: World, _strike: Strike) -> None:
    world.plant.belt.crowd(world.chance.uniform(16.0, 45.0), world.agenda.now)


def take(world: World, strike: Strike) -> None:
    """A hand takes the struck vial, wherever it is by now."""
    if 0 < strike.vial <= len(world.plant.belt.vials) and world.plant.belt.take(world.body(strike.vial)):
        strike.took = True
        strike.vials.add(strike.vial)
        world.taken.add(strike.vial)


def put(world: World, strike: Strike) -> None:
    """A hand puts a vial on the belt, anywhere between infeed eye and gate."""
    gate = world.station.geometry.gate_mm
    for _ in range(TRIES):
        vial = world.plant.belt.put(world.chance.uniform(20.0, gate - 1.0), world.agenda.now)
        if vial:
            break
    if vial:
        strike.took = True
        strike.vials.add(vial.ordinal)
        world.uncounted.add(vial.ordinal)
        world.plant.touch()


def belt_stop(world: World, _strike: Strike) -> Callable[[], None]:
    world.plant.drive(False)
    return lambda: world.plant.drive(True)
