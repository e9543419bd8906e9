"""One attack on an update, and how a module lists its own."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.contract.update_world import World

Attempt = Callable[[], object]
Prepare = Callable[[World], Attempt]


@dataclass(frozen=True, slots=True)
class Attack:
    """`expected` is the name of the exception that the message must give. `prepare` plays the attacker."""

    name: str
    expected: str
    prepare: Prepare


def listed_in(attacks: list[Attack]) -> Callable[[str, str], Callable[[Prepare], Prepare]]:
    """Return the decorator that adds an attack to `attacks`."""

    def attack(name: str, expected: str) -> Callable[[Prepare], Prepare]:
        def add(prepare: Prepare) -> Prepare:
            attacks.append(Attack(name, expected, prepare))
            return prepare

        return add

    return attack
