"""Orders to swap bundle and recipe inside a batch, signed as they must be or not, and the acts that carry them."""

from datetime import timedelta
from typing import Any

import msgspec

from daemon.messages import Act, Loaded
from fleet.signatures import Words, sign_swap_order
from signing.trust import Role
from tests.contract.recorder_box import LOADED, act
from tests.vectors import bundle_1

OTHER = msgspec.structs.replace(
    LOADED, bundle="d" * 64, recipe="f" * 64, bundle_name="vials 2", recipe_name="3R", plan="p", signers=["k" * 64]
)
QA, RELEASE = (bundle_1.KEYS[role] for role in (Role.QA, Role.RELEASE))


def order(pair: Loaded = OTHER, batch: str = "B-1", key: Any = QA, name: str = "Anna Berg", minutes: int = 0) -> str:
    words = Words(name, "swap order", "the first one misses fibres")
    made = bundle_1.NOW + timedelta(minutes=minutes)
    return sign_swap_order(batch, (pair.bundle, pair.recipe), bundle_1.NumberSigner(key), words, made).decode()


def swap(pair: Loaded = OTHER, signature: str | None = None, reason: str = "QA said so") -> Act:
    told = act("swap", f"{pair.bundle} {pair.recipe}", reason)
    return msgspec.structs.replace(told, signature=order(pair) if signature is None else signature)
