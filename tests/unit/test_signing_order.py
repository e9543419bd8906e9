"""A swap order: one QA signature over one pair of documents for one batch, and nothing else."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA256

from fleet.errors import NotSigned
from fleet.signatures import Words, sign_swap_order
from signing.dsse import pae
from signing.errors import SignatureInvalid
from signing.keyring import load_trust
from signing.order import SwapOrder, read_swap_order
from signing.trust import Role, Trust, key_id_of
from tests.vectors import bundle_1

BUNDLE, RECIPE = "b" * 64, "c" * 64
WORDS = Words("Anna Berg", "", "the old recipe rejects good vials")
LONG = Words("Anna Berg", "", "x" * 401)


@pytest.fixture(scope="module")
def trust() -> Trust:
    return load_trust(bundle_1.ROOT / "trust", production=False)


def signed(role: Role = Role.QA, words: Words = WORDS, batch: str = "B-1") -> bytes:
    signer = bundle_1.NumberSigner(bundle_1.KEYS[role])
    return sign_swap_order(batch, (BUNDLE, RECIPE), signer, words, bundle_1.NOW)


@pytest.mark.clause("21 CFR 11.50", "21 CFR 11.70")
def test_an_order_says_who_orders_what_for_which_batch(trust: Trust) -> None:
    key_id = key_id_of(bundle_1.KEYS[Role.QA].public_key())
    assert read_swap_order(signed(), trust) == SwapOrder(
        "B-1", BUNDLE, RECIPE, "Anna Berg", key_id, WORDS.reason, "2026-11-23T00:00:00Z"
    )


def test_the_longest_order_that_can_be_signed_can_be_read(trust: Trust) -> None:
    words = Words("Anna Berg", "", "\N{EM DASH}" * 400)
    assert len(read_swap_order(signed(words=words, batch="B" * 100), trust).reason) == 400


@pytest.mark.parametrize(
    ("words", "batch"), [(LONG, "B"), (WORDS, ""), (WORDS, "B\n1"), (Words(" Anna", "", "r"), "B")]
)
def test_what_would_be_refused_is_not_signed(words: Words, batch: str) -> None:
    with pytest.raises(NotSigned) as caught:
        signed(words=words, batch=batch)
    assert "\n" not in str(caught.value)


def _anew(change: Any) -> bytes:
    content = json.loads(signed())
    statement = json.loads(base64.b64decode(content["payload"]))
    change(statement)
    payload = json.dumps(statement).encode()
    content["payload"] = base64.b64encode(payload).decode()
    made = bundle_1.KEYS[Role.QA].sign(pae(payload), ECDSA(SHA256()))
    content["signatures"][0]["sig"] = base64.b64encode(made).decode()
    return json.dumps(content).encode()


@pytest.mark.clause("21 CFR 11.10(g)", "IEC 62443-4-2 CR 3.4")
@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (signed(Role.RELEASE, Words("Jonas Weber", "", "r")), "Jonas Weber does not have role 'qa'"),
        (signed(words=Words("Jonas Weber", "", "r")), "printed name 'Jonas Weber', the key is Anna Berg's"),
        (signed().replace(b'"sig":"M', b'"sig":"N'), "not a signature by Anna Berg's key"),
        (_anew(lambda s: s["subject"].reverse()), "it must name bundle.json and recipe.json"),
        (_anew(lambda s: s["subject"].pop()), "it must name bundle.json and recipe.json"),
        (_anew(lambda s: s["predicate"].update(batch="")), "batch"),
        (_anew(lambda s: s["predicate"].update(more=1)), "unknown field `more`"),
        (_anew(lambda s: s["predicate"].update(utc="now")), "is not a time like"),
        (_anew(lambda s: s.update(predicateType="https://linewarden.org/attestation/approval/v1")), "it says 'https:"),
        (b'{"payload": "", "payload": ""}', "occurs twice"),
        (b"", "Expecting value"),
        (b" " * 3001, "more than 3000 bytes"),
    ],
)
def test_refused_orders(trust: Trust, raw: bytes, shown: str) -> None:
    with pytest.raises(SignatureInvalid) as caught:
        read_swap_order(raw, trust)
    assert shown in str(caught.value)
    assert str(caught.value).startswith("swap order: ")
    assert "\n" not in str(caught.value)
