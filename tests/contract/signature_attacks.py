"""Attacks on who signed what: signatures, approvals, the trust document, recipes, and orders to swap."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fleet.signatures import Words, approval, sign_swap_order
from signing.durable import write_durably
from signing.order import read_swap_order
from signing.trust import Role
from tests.contract.attack import Attack, Attempt, listed_in
from tests.contract.paper_world import ANNA, JONAS, Delivery
from tests.contract.swap_orders import order
from tests.unit.test_signing_trust import IDS
from tests.unit.test_signing_trust import REFUSED as STORES
from tests.vectors import bundle_1
from tests.vectors.bundle_1 import KEYS, STRANGER

SIGNATURES: list[Attack[Delivery]] = []
TRUSTS: list[Attack[Delivery]] = []
RECIPES: list[Attack[Delivery]] = []
ORDERS: list[Attack[Delivery]] = []
signature, trust, recipe, ordered = (listed_in(each) for each in (SIGNATURES, TRUSTS, RECIPES, ORDERS))

QA, RELEASE = KEYS[Role.QA], KEYS[Role.RELEASE]
INVALID, REFUSED = "SignatureInvalid", "DirectoryRefused"


# Signatures and approvals of a bundle


def _damaged(name: str, expected: str, says: str, damage: Callable[[Path], object]) -> None:
    def prepare(world: Delivery) -> Attempt:
        damage(world.bundle / "signatures")
        return world.takes_bundle

    SIGNATURES.append(Attack(name, expected, prepare, says))


def _written(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(data)


def _exchanged(kind: str) -> Callable[[Path], object]:
    def exchange(folder: Path) -> None:
        qa, release = (folder / f"{role}.{kind}" for role in Role)
        third = qa.read_bytes()
        release.replace(qa)
        release.write_bytes(third)

    return exchange


for row in (
    ("no signature of release", REFUSED, "release.sig: missing", lambda s: (s / "release.sig").unlink()),
    ("no approval of release", REFUSED, "release.approval: missing", lambda s: (s / "release.approval").unlink()),
    ("a third signature", REFUSED, "signatures/'x.sig'", _written("x.sig", b"")),
    ("QA.sig for qa.sig", REFUSED, "signatures/'QA.sig'", lambda s: (s / "qa.sig").rename(s / "QA.sig")),
    ("a signature of 600 kB", REFUSED, "at most 524288 are allowed", _written("qa.sig", b" " * 600_000)),
    ("an approval of 17 kB", REFUSED, "at most 16384 are allowed", _written("qa.approval", b" " * 17_000)),
    ("an empty signature", INVALID, "qa.sig: Expecting value", _written("qa.sig", b"")),
    ("a key twice in a signature", INVALID, "occurs twice", _written("qa.sig", b'{"a": 1, "a": 1}')),
    ("a bit flipped in a signature", INVALID, "signatures/qa.sig", lambda s: bundle_1.flip(s / "qa.sig", 300)),
    ("a bit flipped in an approval", INVALID, "qa.approval", lambda s: bundle_1.flip(s / "qa.approval", 300)),
    ("signatures exchanged: each in the wrong role", INVALID, "does not have role 'qa'", _exchanged("sig")),
    ("approvals exchanged", INVALID, "does not have role 'qa'", _exchanged("approval")),
    (
        "a signature in place of its approval",
        INVALID,
        "qa.approval",
        lambda s: shutil.copy(s / "qa.sig", s / "qa.approval"),
    ),
    (
        "an approval in place of its signature",
        INVALID,
        "qa.sig",
        lambda s: shutil.copy(s / "qa.approval", s / "qa.sig"),
    ),
):
    _damaged(*row)


@signature("one person twice", INVALID, "Anna Berg does not have role 'release'")
def _one_person(world: Delivery) -> Attempt:
    bundle_1.put_signatures(world.bundle, {Role.RELEASE: QA}, {Role.RELEASE: ANNA})
    return world.takes_bundle


@signature("one person of both roles twice", INVALID, "Anna Berg signed as both 'qa' and 'release'")
def _both_roles(world: Delivery) -> Attempt:
    people = [(ANNA, QA.public_key()), (JONAS, RELEASE.public_key())]
    world.trusts(people, {Role.QA: (ANNA,), Role.RELEASE: (ANNA, JONAS)})
    bundle_1.put_signatures(world.bundle, {Role.RELEASE: QA}, {Role.RELEASE: ANNA})
    return world.takes_bundle


@signature("one person with two keys, one in each role", INVALID, "Anna Berg signed as both 'qa' and 'release'")
def _two_keys(world: Delivery) -> Attempt:
    world.trusts([(ANNA, QA.public_key()), (ANNA, RELEASE.public_key())], {role: (ANNA,) for role in Role})
    bundle_1.put_signatures(world.bundle, KEYS, {role: ANNA for role in Role})
    return world.takes_bundle


@signature("a key that nobody has", INVALID, "is nobody's in the trust store")
def _stranger(world: Delivery) -> Attempt:
    bundle_1.put_signatures(world.bundle, {Role.RELEASE: STRANGER})
    return world.takes_bundle


@signature("signatures of another bundle", INVALID, "it is over bundle.json")
def _other_bundle(world: Delivery) -> Attempt:
    bundle_1.make_bundle(world.folder / "other", version="2.0.0")
    shutil.rmtree(world.bundle / "signatures")
    (world.folder / "other" / "signatures").rename(world.bundle / "signatures")
    return world.takes_bundle


@signature("a signed recipe renamed to bundle.json", INVALID, "it does not cover bundle.json")
def _recipe_as_bundle(world: Delivery) -> Attempt:
    (world.recipe / "recipe.json").rename(world.recipe / "bundle.json")
    return world.takes_recipe


def _approved(world: Delivery, subject: tuple[str, str], key: Any = QA, name: str = ANNA) -> Attempt:
    """Have somebody approve as qa."""
    made = approval(subject, Role.QA, bundle_1.NumberSigner(key), Words(name, "approval", "vectors"), bundle_1.NOW)
    write_durably(world.bundle / "signatures" / "qa.approval", made)
    return world.takes_bundle


def _digest(world: Delivery) -> tuple[str, str]:
    return "bundle.json", world.verified().digest


@signature("approval of another digest", INVALID, "signatures/qa.approval")
def _other_digest(world: Delivery) -> Attempt:
    return _approved(world, ("bundle.json", "0" * 64))


@signature("approval of a recipe", INVALID, "it approves recipe.json")
def _other_document(world: Delivery) -> Attempt:
    shutil.copy(world.recipe / "signatures" / "qa.approval", world.bundle / "signatures")
    return world.takes_bundle


@signature("approval by a stranger", INVALID, "is nobody's in the trust store")
def _stranger_approves(world: Delivery) -> Attempt:
    return _approved(world, _digest(world), STRANGER)


@signature("approval by another person of the role", INVALID, "made with another key than qa.sig")
def _colleague_approves(world: Delivery) -> Attempt:
    people = [(ANNA, QA.public_key()), (JONAS, RELEASE.public_key()), ("Chen Li", STRANGER.public_key())]
    world.trusts(people, {Role.QA: (ANNA, "Chen Li"), Role.RELEASE: (JONAS,)})
    return _approved(world, _digest(world), STRANGER, "Chen Li")


@signature("approval under another's name", INVALID, "the key is Anna Berg's")
def _other_name(world: Delivery) -> Attempt:
    return _approved(world, _digest(world), name="Somebody Else")


@signature("a swap order offered as approval", INVALID, "signatures/qa.approval")
def _order_as_approval(world: Delivery) -> Attempt:
    pair = (_digest(world)[1], "0" * 64)
    made = sign_swap_order("B-1", pair, bundle_1.NumberSigner(QA), Words(ANNA, "", "vectors"), bundle_1.NOW)
    write_durably(world.bundle / "signatures" / "qa.approval", made)
    return world.takes_bundle


# The trust document


for title in ("role of nobody", "under another's id", "another's key", "another curve", "more than PEM", "format 0"):

    def _stores(world: Delivery, title: str = title) -> Attempt:
        def change(text: str) -> str:
            found = json.loads(text)
            STORES[title][0](found)
            return json.dumps(found)

        world.rewrites_trust(change)
        return world.trust

    TRUSTS.append(Attack(f"trust: {title}", "TrustStoreError", _stores, STORES[title][1]))


@trust("trust: a key listed twice", "TrustStoreError", "occurs twice")
def _key_twice(world: Delivery) -> Attempt:
    world.rewrites_trust(lambda text: text.replace(f'"{IDS[Role.RELEASE]}": {{', f'"{IDS[Role.QA]}": {{'))
    return world.trust


@trust("trust: a name that looks like another's", "TrustStoreError", "name")
def _invisible(world: Delivery) -> Attempt:
    world.rewrites_trust(lambda text: text.replace(JONAS, "Anna\\u200b Berg"))
    return world.trust


@trust("development keys in production", "DevelopmentKeyRefused", "refused in production mode")
def _development(world: Delivery) -> Attempt:
    return lambda: world.trust(production=True)


@trust("development keys in production, the mark of the document taken off", "DevelopmentKeyRefused")
def _unmarked(world: Delivery) -> Attempt:
    world.rewrites_trust(lambda text: text.replace('"development": true', '"development": false'))
    return lambda: world.trust(production=True)


# Recipes


def _limits(**changed: object) -> list[dict[str, Any]]:
    """Return the views of a recipe with something of one limit changed; None takes it away."""
    (view,) = bundle_1.recipe_description("")["views"]
    limit = {**view["limits"]["grey"], **changed}
    kept = {name: value for name, value in limit.items() if value is not None}
    return [{**view, "limits": {**view["limits"], "grey": kept}}]


def _evidence(without: str) -> list[dict[str, Any]]:
    found = bundle_1.recipe_description("")["views"][0]["limits"]["grey"]["evidence"]
    return _limits(evidence={name: value for name, value in found.items() if name != without})


def _unfit(name: str, says: str, **changes: Any) -> None:
    def prepare(world: Delivery) -> Attempt:
        world.builds_recipe(**changes)
        return world.takes_recipe

    RECIPES.append(Attack(f"signed recipe: {name}", "DocumentInvalid", prepare, says))


_unfit("a limit without evidence", "field `evidence`", views=_limits(evidence=None))
_unfit("a limit without an evidence set", "field `set_id`", views=_evidence("set_id"))
_unfit("a limit without a number of cases", "field `n`", views=_evidence("n"))
_unfit("a limit without a bound", "field `bound`", views=_evidence("bound"))
_unfit("a limit without an owner", "field `owner`", views=_evidence("owner"))
_unfit("a limit that accepts nothing or all", "accept_below", views=_limits(accept_below=0.0))
_unfit("format 0", "format 0 is no longer accepted", format=0)
_unfit("an unknown field", "unknown field `surprise`", surprise=1)
_unfit("a latency limit past the line's", "max_latency_ms", max_latency_ms=121.0)


@recipe("signed recipe: a limit that is no number", "DocumentInvalid", "NaN")
def _no_number(world: Delivery) -> Attempt:
    path = world.recipe / "recipe.json"
    path.write_text(path.read_text().replace("0.6", "NaN"))
    bundle_1.put_signatures(world.recipe, KEYS)
    return world.takes_recipe


@recipe("recipe for another bundle", "RecipeRefused", "it is for bundle ffffffffffffffff")
def _foreign(world: Delivery) -> Attempt:
    world.builds_recipe("f" * 64)
    return world.admits


@recipe("recipe that calls a critical defect cosmetic", "RecipeRefused", "class 'bright' is critical in the bundle")
def _softened(world: Delivery) -> Attempt:
    world.builds_recipe(channels={"bright": "cosmetic", "grey": "cosmetic"})
    return world.admits


@recipe("a bit flipped in a recipe", INVALID, "it is over recipe.json")
def _flipped_recipe(world: Delivery) -> Attempt:
    bundle_1.flip(world.recipe / "recipe.json")
    return world.takes_recipe


@recipe("a file beside a recipe", REFUSED, "'more.onnx': the signed document does not name")
def _beside_recipe(world: Delivery) -> Attempt:
    (world.recipe / "more.onnx").write_bytes(b"x")
    return world.takes_recipe


# Orders to swap


def _read(world: Delivery, raw: bytes) -> Attempt:
    return lambda: read_swap_order(raw, world.trust())


@ordered("an approval offered as swap order", INVALID, "unknown field `role`")
def _approval_as_order(world: Delivery) -> Attempt:
    return _read(world, (world.bundle / "signatures" / "qa.approval").read_bytes())


@ordered("a signature of a bundle offered as swap order", INVALID)
def _signature_as_order(world: Delivery) -> Attempt:
    return _read(world, (world.recipe / "signatures" / "qa.sig").read_bytes())


@ordered("a swap order with a flipped bit", INVALID, "not a signature by Anna Berg's key")
def _flipped_order(world: Delivery) -> Attempt:
    return _read(world, order().replace('"sig":"M', '"sig":"N').encode())


@ordered("a swap order of 3 kB", INVALID, "more than 3000 bytes")
def _long_order(world: Delivery) -> Attempt:
    return _read(world, order().encode().ljust(3001))


@ordered("a swap order by a stranger", INVALID, "is nobody's in the trust store")
def _strange_order(world: Delivery) -> Attempt:
    return _read(world, order(key=STRANGER).encode())


@ordered("a swap order under another's name", INVALID, "the key is Anna Berg's")
def _named_order(world: Delivery) -> Attempt:
    return _read(world, order(name=JONAS).encode())
