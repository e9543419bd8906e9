"""Every attack that is known here, by section: what is delivered, where it comes from, and the doors."""

from collections.abc import Iterator
from typing import Any

from daemon.recipe import RecipeRefused
from daemon.recorder.desk import Refused
from signing.errors import SigningError
from signing.update_errors import UpdateError
from tests.contract import door_attacks, paper_attacks, signature_attacks
from tests.contract.attack import Attack, Section
from tests.contract.content_attacks import CONTENTS
from tests.contract.door_world import Counter, Door
from tests.contract.paper_world import Delivery
from tests.contract.update_attacks import VERSIONS
from tests.contract.update_world import build_world

PAPERS = (SigningError, RecipeRefused)
HELD = (paper_attacks.VerifiedBytesStay, PermissionError)

SECTIONS: tuple[Section[Any], ...] = (
    Section("folder of a bundle", Delivery.made, paper_attacks.FOLDER),
    Section("bundle that both signed", Delivery.made, paper_attacks.CONTENT),
    Section("after the check", Delivery.made, paper_attacks.HELD, HELD),
    Section("signatures and approvals", Delivery.made, signature_attacks.SIGNATURES),
    Section("trust document", Delivery.made, signature_attacks.TRUSTS),
    Section("recipe", Delivery.made, signature_attacks.RECIPES, PAPERS),
    Section("swap order", Delivery.made, signature_attacks.ORDERS),
    Section("versions and freshness", build_world, VERSIONS, (UpdateError,)),
    Section("repository and stick", build_world, CONTENTS, (UpdateError,)),
    Section("enrolment", Door, door_attacks.ENROLMENT),
    Section("orchestrator and lists", door_attacks.build_stick, door_attacks.ORCHESTRATION),
    Section("batch", Counter.made, door_attacks.BATCHES, (Refused,)),
)


def every_attack(words: str = "") -> Iterator[tuple[Section[Any], Attack[Any]]]:
    """Yield the attacks whose section or name holds these words."""
    for section in SECTIONS:
        for attack in section.attacks:
            if words in f"{section.title}: {attack.name}":
                yield section, attack
