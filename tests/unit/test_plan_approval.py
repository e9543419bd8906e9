"""A plan approval: one QA signature over what one station built of one bundle, and nothing else."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import NotSigned
from signing.errors import SignatureInvalid
from signing.keyring import load_trust
from signing.plan_approval import MAX_PLAN_APPROVAL_BYTES, ApprovedPlan, read_plan_approval
from signing.trust import Trust, key_id_of
from tests.vectors import bundle_1
from tests.vectors import plan_approval_1 as vectors

TRUST = load_trust(bundle_1.ROOT / "trust", production=False)
GOOD = (vectors.ROOT / "good.plan-approval").read_bytes()
WORDS = {
    "by-release": "Jonas Weber does not have role 'qa'",
    "by-a-stranger": "is nobody's in the trust store",
    "under-another-name": "printed name 'Jonas Weber', the key is Anna Berg's",
    "flipped": "not base64",
    "other-signature": "not a signature by Anna Berg's key",
    "swap-order": "it says 'https://linewarden.org/attestation/swap-order/v1'",
    "two-subjects": "it must name bundle.json alone",
    "recipe-for-bundle": "it must name bundle.json alone",
    "no-plan": "plans",
    "no-evidence": "missing required field `evidence`",
    "no-reason": "reason",
    "unknown-key": "unknown field `any_station`",
    "no-time": "is not a time like",
    "too-long": f"more than {MAX_PLAN_APPROVAL_BYTES} bytes",
}


@pytest.fixture
def trust() -> Trust:
    return TRUST


def test_the_vectors_are_what_their_module_writes(tmp_path: Path) -> None:
    vectors.write_all(tmp_path / "again")
    for folder in (vectors.ROOT, tmp_path / "again"):
        assert sorted(path.stem for path in (folder / "refused").iterdir()) == sorted(WORDS)
    for path in vectors.ROOT.rglob("*.plan-approval"):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(vectors.ROOT)).read_bytes(), path.name


@pytest.mark.clause("21 CFR 11.50", "21 CFR 11.70")
def test_it_says_who_lets_which_plan_of_which_bundle_inspect_where_and_why(trust: Trust) -> None:
    found = read_plan_approval(GOOD, trust)
    assert (found.bundle, found.key_id) == (vectors.BUNDLE, key_id_of(vectors.QA.public_key()))
    assert found.said.plans == {"side": ApprovedPlan(vectors.PLAN, vectors.EVIDENCE)}
    assert (found.said.station, found.said.backend) == (vectors.STATION, vectors.BACKEND)
    assert (found.said.printed_name, found.said.reason, found.said.utc) == (
        "Anna Berg", vectors.REASON, "2026-11-23T00:00:00Z",
    )  # fmt: skip


@pytest.mark.clause("21 CFR 11.10(g)", "IEC 62443-4-2 CR 3.4")
@pytest.mark.parametrize("why", WORDS)
def test_everything_else_is_refused_in_one_line(why: str, trust: Trust) -> None:
    with pytest.raises(SignatureInvalid) as caught:
        read_plan_approval((vectors.ROOT / "refused" / f"{why}.plan-approval").read_bytes(), trust)
    assert WORDS[why] in str(caught.value) and "\n" not in str(caught.value)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_no_changed_byte_passes(at: int, change: int) -> None:
    raw = bytearray(GOOD)
    raw[at] ^= change
    try:
        assert read_plan_approval(bytes(raw), TRUST) == read_plan_approval(GOOD, TRUST)
        raise AssertionError(f"byte {at} may be {raw[at]}")
    except SignatureInvalid:
        pass


@pytest.mark.parametrize("words", [{"reason": ""}, {"reason": "two\nlines"}, {"name": " Anna"}, {"reason": "x" * 401}])
def test_what_would_be_refused_is_not_signed(words: dict[str, str]) -> None:
    with pytest.raises(NotSigned) as caught:
        vectors.sign(vectors.asked(), **words)
    assert "\n" not in str(caught.value)


def test_the_longest_reason_is_read(trust: Trust) -> None:
    raw = vectors.sign(vectors.asked(), reason="\N{EM DASH}" * 400)
    assert len(read_plan_approval(raw, trust).said.reason) == 400
