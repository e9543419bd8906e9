"""The store's decisions by themselves: whatever is asked for in whatever order, the law of the store holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.revocations import Revocations, Revoked
from signing.index import Kind
from signing.store_keep import kept, without_others
from signing.store_state import (
    Batch,
    Facts,
    Health,
    Installed,
    Said,
    StoreRefused,
    StoreState,
    activated,
    due,
    named,
    pinned,
    recipe_for,
    reported,
    rolled_back,
    unpinned,
    with_generation,
    with_installed,
)

SAID = Said("a.person", "operator", "test", "2026-11-23T00:00:00Z")
TRUST = "f" * 64
PAIRS = [(f"{number:064x}", f"{number + 100:064x}") for number in (1, 2, 3)]


def state_of_three() -> StoreState:
    state = StoreState(1, TRUST, 7)
    for bundle, recipe in PAIRS:
        for kind, digest, of in ((Kind.BUNDLE, bundle, ""), (Kind.RECIPE, recipe, bundle)):
            entry = Installed(
                kind, f"{kind}-{digest[-3:]}", "1.0.0", TRUST, SAID.utc, "there", 0, {"f": digest}, bundle=of
            )
            state = with_installed(state, digest, entry)
    return state


def running(pair: tuple[str, str]) -> StoreState:
    state, number = with_generation(state_of_three(), *pair, TRUST, SAID.utc)
    return activated(state, number, Facts(None, {}), SAID)[0]


ACTS = st.lists(
    st.tuples(
        st.sampled_from(("activate", "rollback", "pin", "unpin", "good", "refused", "open", "close", "revoke", "due")),
        st.integers(0, 2),
    ),
    max_size=30,
)


@given(ACTS)
def test_nothing_becomes_active_inside_a_batch_or_past_a_pin_or_revoked(acts) -> None:
    state, batch, revoked = running(PAIRS[0]), None, {}
    for what, which in acts:
        before, facts = state, Facts(batch, revoked)
        pair = PAIRS[which]
        try:
            match what:
                case "open":
                    one = state.generations[state.active]
                    batch = batch or Batch("B-1", one.bundle, one.recipe)
                case "close":
                    batch = None
                case "revoke":
                    revoked = revoked | {pair[0]: "bad"}
                case _:
                    state = step(state, what, pair, facts)
        except StoreRefused as refused:
            assert "\n" not in str(refused)
            state = before
        assert {state.active, state.previous or state.active, state.staged or state.active} <= state.generations.keys()
        if state.active != before.active:
            now = state.generations[state.active]
            assert batch is None or (now.bundle, now.recipe) == (batch.bundle, batch.recipe)
            assert not before.pins or {now.bundle, now.recipe} & before.pins.keys()
            assert now.bundle not in revoked and state.previous == before.active


def step(state: StoreState, what: str, pair: tuple[str, str], facts: Facts) -> StoreState:
    if what == "activate":
        made, number = with_generation(state, *pair, TRUST, SAID.utc)
        return activated(made, number, facts, SAID)[0]
    if what == "rollback":
        return rolled_back(state, facts, SAID)[0]
    if what in ("pin", "unpin"):
        return pinned(state, pair[0], SAID) if what == "pin" else unpinned(state, pair[0])
    if what == "due":
        after = due(state, facts)
        return after[0] if after else state
    number = state.staged or state.active
    after = reported(state, number, what == "good", "no memory", facts)
    return after[0] if after else state


@given(ACTS, st.sets(st.sampled_from([digest for pair in PAIRS for digest in pair])))
def test_collection_leaves_nothing_without_what_it_needs(acts, needed) -> None:
    state = running(PAIRS[0])
    for what, which in acts:
        if what in ("activate", "rollback", "pin"):
            try:
                state = step(state, what, PAIRS[which], Facts(None, {}))
            except StoreRefused:
                continue
    keep = kept(state, dict.fromkeys(needed, "batch B-1 is open"))
    after = without_others(state, keep)
    assert needed <= after.installed.keys() and state.pins.keys() <= after.installed.keys()
    assert {number for number in (state.active, state.previous, state.staged) if number} <= after.generations.keys()
    assert all({one.bundle, one.recipe} <= after.installed.keys() for one in after.generations.values())
    assert all(one.bundle in after.installed for one in after.installed.values() if one.bundle)


def test_a_bundle_with_two_recipes_takes_a_person_to_choose() -> None:
    state = state_of_three()
    entry = Installed(Kind.RECIPE, "more", "1.0.0", TRUST, SAID.utc, "there", 0, {}, bundle=PAIRS[0][0])
    with pytest.raises(StoreRefused, match="2 recipes"):
        recipe_for(with_installed(state, "a" * 64, entry), PAIRS[0][0])
    assert recipe_for(state, PAIRS[0][0]) == PAIRS[0][1]


def test_what_is_named_must_be_one_thing() -> None:
    state = state_of_three()
    assert named(state, PAIRS[0][0]) == PAIRS[0][0]
    assert named(state, "bundle-001") == named(state, "bundle-001-1.0.0") == PAIRS[0][0]
    for text in ("0000000", "00000000", "nothing", ""):
        with pytest.raises(StoreRefused):
            named(state, text)


def test_what_ran_once_stays_good() -> None:
    state = running(PAIRS[0])
    good = reported(state, 1, True, "", Facts(None, {}))
    assert good and good[0].generations[1].health is Health.GOOD
    assert reported(good[0], 1, False, "no memory", Facts(None, {})) is None
    assert reported(state, 99, True, "", Facts(None, {})) is None


def test_a_revocation_names_the_digest_and_the_reason() -> None:
    entries = (
        Revoked("bundle", PAIRS[0][0], "misses cracks", "Anna Berg", SAID.utc),
        Revoked("key", "e" * 64, "stolen", "Anna Berg", SAID.utc),
    )
    found = Revocations(1, entries)
    assert PAIRS[0][0][:12] in found.why(*PAIRS[0]) and "misses cracks" in found.why(*PAIRS[0])
    assert found.why(*PAIRS[1]) == ""
    assert "stolen" in found.why(*PAIRS[1], ["d" * 64, "e" * 64])
