"""What a line may take from its fleet: nothing unlisted or revoked, a pause stops, a wish never adds."""

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing.errors import DocumentInvalid
from signing.permission import (
    Activation,
    AllowList,
    Decision,
    Documents,
    Pair,
    Revocation,
    RevokedList,
    Rollout,
    RolloutList,
    What,
    decide,
    included,
    read_allowlist,
    read_revoked,
    read_rollouts,
)

DEVICES = ("device-1", "device-2", "device-3", "device-4")
LINES = ("line-1", "line-2")
UTC = "2026-11-23T08:00:00Z"
digests = st.sampled_from([f"{number:064x}" for number in range(4)])
pairs = st.builds(Pair, digests, digests)
sets_of_digests = st.lists(digests, max_size=4).map(tuple)


def _activation(pair: Pair) -> Activation:
    return Activation(pair.bundle, pair.recipe, "CC-17", "Anna Berg", UTC, "validated")


def _revocation(what: What, name: str) -> Revocation:
    return Revocation(what, name, "wrong glue", "Anna Berg", UTC)


allowlists = st.builds(
    AllowList,
    format=st.just(1),
    line=st.sampled_from(LINES),
    bundles=sets_of_digests,
    recipes=sets_of_digests,
    activate=st.none() | pairs.map(_activation),
)
revocations = st.builds(_revocation, st.sampled_from([What.BUNDLE, What.RECIPE]), digests) | st.sampled_from(
    DEVICES
).map(lambda device: _revocation(What.DEVICE, device))
revoked_lists = st.lists(revocations, max_size=3).map(lambda entries: RevokedList(1, tuple(entries)))
rollout_parts = st.tuples(pairs, st.integers(0, 100), st.booleans(), st.lists(st.sampled_from(LINES), max_size=2))
rollout_lists = st.lists(rollout_parts, max_size=4).map(
    lambda parts: RolloutList(
        1,
        tuple(
            Rollout(f"r{number}", *pair, percent=percent, paused=paused, lines=tuple(lines))
            for number, (pair, percent, paused, lines) in enumerate(parts)
        ),
    )
)
documents = st.builds(Documents, st.none() | allowlists, st.none() | revoked_lists, st.none() | rollout_lists)
wishes = st.none() | st.lists(pairs, max_size=4)
asked = st.tuples(st.sampled_from(DEVICES), st.sampled_from(LINES), documents)


def _taken(decision: Decision) -> set[Pair]:
    return {*decision.download, *([decision.activate.pair] if decision.activate else [])}


@given(asked, wishes)
def test_nothing_is_taken_that_is_not_listed_for_this_line_or_is_revoked(
    asked: tuple[str, str, Documents], wish: list[Pair] | None
) -> None:
    device, line, found = asked
    taken = _taken(decide(device, line, found, wish))
    if not taken:
        return
    assert found.allowlist is not None
    assert found.revoked is not None
    assert found.allowlist.line == line
    assert device not in found.revoked.ids(What.DEVICE)
    assert {pair.bundle for pair in taken} <= set(found.allowlist.bundles) - found.revoked.ids(What.BUNDLE)
    assert {pair.recipe for pair in taken} <= set(found.allowlist.recipes) - found.revoked.ids(What.RECIPE)


@given(asked, wishes)
def test_a_paused_roll_out_stops_its_pair_on_the_lines_it_concerns(
    asked: tuple[str, str, Documents], wish: list[Pair] | None
) -> None:
    device, line, found = asked
    rollouts = found.rollouts.rollouts if found.rollouts else ()
    paused = {rollout.pair for rollout in rollouts if rollout.paused and rollout.concerns(line)}
    assert not _taken(decide(device, line, found, wish)) & paused


@given(asked, st.lists(pairs, max_size=4))
def test_a_wish_never_adds_and_never_touches_activation(asked: tuple[str, str, Documents], wish: list[Pair]) -> None:
    without, wished = decide(*asked), decide(*asked, wish)
    assert set(wished.download) <= set(without.download)
    assert wished.activate == without.activate


@given(asked, wishes)
def test_only_the_allow_list_activates_and_the_pair_is_downloaded_first(
    asked: tuple[str, str, Documents], wish: list[Pair] | None
) -> None:
    decision = decide(*asked, wish)
    if decision.activate is None:
        return
    allowed = asked[2].allowlist
    assert allowed is not None
    assert decision.activate == allowed.activate
    assert decision.download[0] == decision.activate.pair


@given(asked, wishes)
def test_what_is_named_is_either_taken_or_refused_with_a_reason(
    asked: tuple[str, str, Documents], wish: list[Pair] | None
) -> None:
    decision = decide(*asked, wish)
    refused = {refusal.pair for refusal in decision.refused}
    assert set(wish or ()) <= refused | set(decision.download)
    assert not refused & _taken(decision)
    assert all(refusal.why for refusal in decision.refused)
    assert "\n" not in decision.why
    assert decision.why


@given(asked, st.integers(0, 3), st.integers(0, 100))
def test_raising_the_percentage_takes_nothing_away(asked: tuple[str, str, Documents], which: int, percent: int) -> None:
    device, line, found = asked
    if found.rollouts is None or which >= len(found.rollouts.rollouts):
        return
    rollouts = list(found.rollouts.rollouts)
    before = decide(device, line, found)
    rollouts[which] = msgspec.structs.replace(rollouts[which], percent=max(percent, rollouts[which].percent))
    after = decide(device, line, replace(found, rollouts=RolloutList(1, tuple(rollouts))))
    assert set(before.download) <= set(after.download)


@given(st.text(max_size=40), st.text(max_size=40), st.integers(0, 100), st.integers(0, 100))
def test_a_device_stays_in_as_the_percentage_grows(device: str, rollout: str, one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert included(device, rollout, low) <= included(device, rollout, high)
    assert included(device, rollout, 100)
    assert not included(device, rollout, 0)


def test_the_percentage_is_a_share_of_the_fleet_and_stays_as_it_was_published() -> None:
    fleet = [f"device-{number}" for number in range(10_000)]
    first = [device for device in fleet if included(device, "r1", 25)]
    assert 2300 < len(first) < 2700
    second = [device for device in fleet if included(device, "r2", 25)]
    assert first != second
    assert first[:4] == ["device-3", "device-4", "device-5", "device-15"]


@pytest.mark.parametrize("missing", ["allowlist", "revoked"])
def test_without_allow_list_or_revocations_nothing_is_taken(missing: str) -> None:
    pair = Pair("0" * 64, "1" * 64)
    listed = AllowList(1, "line-1", (pair.bundle,), (pair.recipe,), _activation(pair))
    whole = Documents(listed, RevokedList(1), RolloutList(1, (Rollout("r", *pair, percent=100),)))
    assert _taken(decide("d", "line-1", whole)) == {pair}
    decision = decide("d", "line-1", replace(whole, **{missing: None}), [pair])
    assert _taken(decision) == set()
    assert decision.refused == ((pair, decision.why),)


ALLOWLIST: dict[str, Any] = {
    "document": "allowlist",
    "format": 1,
    "line": "line-1",
    "bundles": ["0" * 64],
    "recipes": ["1" * 64],
    "activate": None,
}


def _refused(**changed: object) -> str:
    with pytest.raises(DocumentInvalid) as caught:
        read_allowlist(json.dumps({**ALLOWLIST, **changed}).encode(), "line-1")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_allow_list_is_read_strictly() -> None:
    assert read_allowlist(json.dumps(ALLOWLIST).encode(), "line-1").bundles == ("0" * 64,)
    assert "line 'line-2'" in _refused(line="line-2")
    assert "unknown field" in _refused(more=1)
    assert "$.format" in _refused(format=2)
    assert "$.bundles[0]" in _refused(bundles=["0" * 63])
    assert "Invalid value" in _refused(document="revoked")
    assert "change_control" in _refused(activate={"bundle": "0" * 64, "recipe": "1" * 64})
    twice = json.dumps(ALLOWLIST).replace('"format": 1', '"format": 1, "format": 1').encode()
    with pytest.raises(DocumentInvalid, match="occurs twice"):
        read_allowlist(twice, "line-1")


@pytest.mark.parametrize("line", ["revoked", "rollout"])
def test_a_line_cannot_have_the_name_of_another_document(line: str) -> None:
    with pytest.raises(DocumentInvalid, match="cannot be called"):
        read_allowlist(json.dumps({**ALLOWLIST, "line": line}).encode(), line)


def test_revocations_and_roll_outs_are_read_strictly() -> None:
    entry = {"what": "bundle", "id": "0" * 64, "reason": "cracks missed", "by": "Anna Berg", "utc": UTC}
    raw = json.dumps({"document": "revoked", "format": 1, "entries": [entry]}).encode()
    assert read_revoked(raw).ids(What.BUNDLE) == {"0" * 64}
    with pytest.raises(DocumentInvalid):
        read_revoked(raw.replace(b'"bundle"', b'"everything"'))
    rollout = {"id": "r1", "bundle": "0" * 64, "recipe": "1" * 64, "percent": 10, "paused": False, "lines": []}
    raw = json.dumps({"document": "rollout", "format": 1, "rollouts": [rollout]}).encode()
    assert read_rollouts(raw).rollouts[0].percent == 10
    with pytest.raises(DocumentInvalid, match="percent"):
        read_rollouts(raw.replace(b'"percent": 10', b'"percent": 101'))
    with pytest.raises(DocumentInvalid, match="same id"):
        read_rollouts(json.dumps({"document": "rollout", "format": 1, "rollouts": [rollout, rollout]}).encode())
