"""Roll-outs and allow-lists as publishers change them, and what the devices' statuses say of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet import rollout
from fleet.errors import NotDone
from signing.device_status import DeviceStatus, Failed, Held, Running
from signing.permission import (
    Activation,
    AllowList,
    Documents,
    Pair,
    Revocation,
    RevokedList,
    Rollout,
    RolloutList,
    What,
    decide,
    read_allowlist,
    read_revoked,
    read_rollouts,
)

UTC = "2026-11-23T08:00:00Z"
OLD, NEW = Pair("a" * 64, "b" * 64), Pair("c" * 64, "d" * 64)
EMPTY = AllowList(1, "line-1", (), ())
ACTIVATION = Activation(*NEW, "CC-17", "Anna Berg", UTC, "validated")
ENTRY = Revocation(What.BUNDLE, NEW.bundle, "cracks missed", "Anna Berg", UTC)


def _status(device: str, **changed: object) -> DeviceStatus:
    return DeviceStatus(**{"format": 1, "device": device, "line": "line-1", "utc": UTC, "number": 1, **changed})  # type: ignore[arg-type]


def test_what_is_published_is_what_devices_read() -> None:
    listed = rollout.activated(rollout.allowed(EMPTY, OLD), ACTIVATION)
    assert read_allowlist(rollout.encode(listed), "line-1") == listed
    found = rollout.revoked(RevokedList(1), ENTRY)
    assert read_revoked(rollout.encode(found)) == found
    begun = rollout.begun(RolloutList(1), Rollout("r1", *NEW, percent=5, lines=("line-1",)))
    assert read_rollouts(rollout.encode(begun)) == begun


def test_an_activation_names_what_the_list_then_holds() -> None:
    listed = rollout.activated(rollout.allowed(EMPTY, OLD), ACTIVATION)
    assert (listed.bundles, listed.recipes) == ((OLD.bundle, NEW.bundle), (OLD.recipe, NEW.recipe))
    decision = decide("device", "line-1", Documents(listed, RevokedList(1), None))
    assert decision.activate == ACTIVATION


def test_what_is_revoked_leaves_the_list_and_its_activation() -> None:
    listed = rollout.activated(rollout.allowed(EMPTY, OLD), ACTIVATION)
    left = rollout.without(listed, What.BUNDLE, NEW.bundle)
    assert (left.bundles, left.recipes, left.activate) == ((OLD.bundle,), (OLD.recipe, NEW.recipe), None)
    assert rollout.without(listed, What.RECIPE, OLD.recipe).activate == ACTIVATION


def test_a_second_revocation_of_the_same_thing_is_refused() -> None:
    found = rollout.revoked(RevokedList(1), ENTRY)
    with pytest.raises(NotDone, match="revoked already"):
        rollout.revoked(found, ENTRY)


def test_a_roll_out_has_its_own_id_and_its_own_pair() -> None:
    found = rollout.begun(RolloutList(1), Rollout("r1", *NEW, percent=5))
    with pytest.raises(NotDone, match="another id"):
        rollout.begun(found, Rollout("r1", *OLD, percent=5))
    with pytest.raises(NotDone, match="'r1' brings this pair"):
        rollout.begun(found, Rollout("r2", *NEW, percent=5))
    assert rollout.begun(found, Rollout("r2", *OLD, percent=5)).rollouts[1].id == "r2"


def test_a_roll_out_is_changed_and_ended_by_its_id() -> None:
    found = rollout.begun(RolloutList(1), Rollout("r1", *NEW, percent=5))
    raised = rollout.changed(found, "r1", percent=50)
    assert raised.rollouts[0].percent == 50
    assert rollout.changed(raised, "r1", paused=True).rollouts[0].paused
    with pytest.raises(NotDone, match="like that already"):
        rollout.changed(raised, "r1", percent=50)
    with pytest.raises(NotDone, match="there are: r1"):
        rollout.changed(raised, "r7", percent=50)
    assert rollout.ended(raised, "r1") == RolloutList(1)


def test_progress_counts_what_the_statuses_of_its_lines_say() -> None:
    statuses = {
        "1": _status("d1", bundle=Running(NEW.bundle), recipe=Running(NEW.recipe), installed=(Held(*NEW),)),
        "2": _status("d2", bundle=Running(OLD.bundle), recipe=Running(OLD.recipe), installed=(Held(*OLD), Held(*NEW))),
        "3": _status("d3", failed=(Failed(*NEW, "golden check: crack 0.2"),)),
        "4": _status("d4", line="line-9", failed=(Failed(*NEW, "no room"),)),
        "5": _status("d5", failed=(Failed(*OLD, "no room"),)),
    }
    one = Rollout("r1", *NEW, percent=100, lines=("line-1",))
    found = rollout.progress(one, statuses)
    assert (found.devices, found.reached, found.installed, found.active) == (4, 4, 2, 1)
    assert found.failures == {"d3": "golden check: crack 0.2"}
    assert found.too_many


@given(st.integers(0, 5), st.integers(0, 5))
def test_more_failed_devices_than_the_limit_are_too_many(failed: int, limit: int) -> None:
    statuses = {str(n): _status(f"d{n}", failed=(Failed(*NEW, "no room"),)) for n in range(failed)}
    found = rollout.progress(Rollout("r1", *NEW, percent=100, most_failures=limit), statuses)
    assert found.too_many == (failed > limit)


def test_a_digest_may_be_shortened_to_what_tells_it_from_others() -> None:
    known = ["abcdefgh" + "0" * 56, "abcdefgh" + "1" * 56, "12345678" + "0" * 56]
    assert rollout.digest_of("12345678", known, "bundle") == known[2]
    for short, text in (("abcdefgh", "several begin"), ("1234567", "none begins"), ("99999999", "none begins")):
        with pytest.raises(NotDone, match=text):
            rollout.digest_of(short, known, "bundle")
