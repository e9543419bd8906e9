"""Orders over hawkBit DDI: from a real server (goosebit), and from one that a thief owns. At worst they delay."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hawkbit_box import ERROR, FINISHED, RUNNING, Hawkbit, hawkbit
from uplink_world import DEVICE, NOBODYS, Fleet, Uplink, enrol, install, open_uplink
from web_box import Fault, WebBox, answer, cut, dripping, dripping_headers, endless, web_box

from daemon.store_requests import What
from signing.permission import Pair

BASE = f"/DEFAULT/controller/v1/{DEVICE}"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Fleet, list[Pair]]:
    """A fleet with three pairs for the line, the second revoked, the third in no roll-out."""
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    pairs = [fleet.pair(version) for version in ("1.0.0", "2.0.0", "3.0.0")]
    fleet.allow(pairs)
    fleet.roll_out(*pairs[:2])
    fleet.revoke(pairs[1].bundle)
    fleet.publish()
    return fleet, pairs


@pytest.fixture
def repository(published: tuple[Fleet, list[Pair]]) -> Iterator[WebBox]:
    with web_box(published[0].public) as box:
        yield box


@pytest.fixture(scope="module")
def goosebit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hawkbit]:
    with hawkbit(tmp_path_factory.mktemp("goosebit")) as server:
        yield server


@pytest.fixture
def thief(tmp_path: Path) -> Iterator[WebBox]:
    """A server whose every answer the test chooses."""
    with web_box(tmp_path / "nothing") as box:
        yield box


@pytest.fixture
def uplink(tmp_path: Path, published: tuple[Fleet, list[Pair]], repository: WebBox, thief: WebBox) -> Iterator[Uplink]:
    enrol(tmp_path, published[0].builder.root_bytes())
    opened = open_uplink(tmp_path, repository=repository.url, orchestrator=thief.url)
    with closing(opened.duty):
        yield opened


def named(pair: Pair) -> str:
    """Return the file name by which an order names a pair."""
    return f"bundle-{pair.bundle}.recipe-{pair.recipe}.swu"


def offering(thief: WebBox, number: int, *filenames: str) -> None:
    """Let the thief's server order what these file names say."""
    href = f"{thief.url}{BASE}/deploymentBase/{number}?c=-77"
    links = {"deploymentBase": {"href": href}}
    words = {"config": {"polling": {"sleep": "00:00:30"}}, "_links": links}
    thief.faults[BASE] = answer(200, json.dumps(words).encode())
    artifacts = [{"filename": name, "hashes": {}, "size": 1, "_links": {}} for name in filenames]
    chunks = [{"part": "os", "version": "1", "name": "x", "artifacts": artifacts}]
    words = {"id": str(number), "deployment": {"download": "forced", "update": "forced", "chunks": chunks}}
    thief.faults[f"{BASE}/deploymentBase/{number}"] = answer(200, json.dumps(words).encode())


def feedback(thief: WebBox, number: int) -> tuple[str, str, str]:
    """Return (execution, finished, detail) of the last feedback to an order."""
    status = json.loads(thief.taken[f"{BASE}/deploymentBase/{number}/feedback"])["status"]
    return status["execution"], status["result"]["finished"], status["details"][0]


def test_a_real_server_orders_and_learns_what_became_of_it(
    tmp_path: Path, published: tuple[Fleet, list[Pair]], repository: WebBox, goosebit: Hawkbit
) -> None:
    fleet, (good, revoked, _) = published
    enrol(tmp_path, fleet.builder.root_bytes())
    uplink = open_uplink(tmp_path, repository=repository.url, orchestrator=goosebit.url)
    with closing(uplink.duty):
        uplink.asked()
        assert uplink.blobs() == set()
        goosebit.order(DEVICE, named(good))
        uplink.asked()
        assert uplink.blobs() == set(fleet.blobs(good))
        assert goosebit.device(DEVICE)["last_state"] == RUNNING
        uplink.slots_answers(ok=True, text="read")
        uplink.asked()
        (request,) = uplink.requests()
        assert (request.what, request.wish) == (What.APPLY, [(good.bundle, good.recipe)])
        uplink.slots_answers(ok=True, text="installed")
        install(tmp_path, good)
        uplink.asked()
        assert goosebit.device(DEVICE)["last_state"] == FINISHED
        goosebit.order(DEVICE, named(revoked))
        uplink.asked()
        device = goosebit.device(DEVICE)
        assert device["last_state"] == ERROR
        assert f"bundle {revoked.bundle[:12]} is revoked" in str(device["last_log"])
        assert not uplink.blobs() & (set(fleet.blobs(revoked)) - set(fleet.blobs(good)))
        assert "orchestrator" not in uplink.duty.said


def test_a_real_server_that_orders_nonsense_is_told_so(
    tmp_path: Path, published: tuple[Fleet, list[Pair]], repository: WebBox, goosebit: Hawkbit
) -> None:
    enrol(tmp_path, published[0].builder.root_bytes())
    uplink = open_uplink(tmp_path, repository=repository.url, orchestrator=goosebit.url)
    with closing(uplink.duty):
        uplink.asked()
        goosebit.order(DEVICE, "update-of-today.swu")
        assert "does not name one bundle and one recipe" in uplink.asked()
        assert goosebit.device(DEVICE)["last_state"] == ERROR
        assert uplink.blobs() == set()


@pytest.mark.parametrize(
    ("which", "why"),
    [
        (1, "is revoked"),
        (2, "no roll-out brings it to this device"),
        (None, "no roll-out brings it to this device"),
    ],
)
def test_a_stolen_server_gets_nothing_that_the_line_may_not_have(
    uplink: Uplink, thief: WebBox, published: tuple[Fleet, list[Pair]], which: int | None, why: str
) -> None:
    pair = Pair(NOBODYS, NOBODYS) if which is None else published[1][which]
    offering(thief, 7, named(pair))
    said = uplink.asked()
    assert uplink.blobs() == set()
    assert feedback(thief, 7)[:2] == ("closed", "failure")
    assert why in feedback(thief, 7)[2]
    assert why in said
    assert [request.wish for request in uplink.requests()] == [[]]


def test_an_order_that_names_its_pair_in_metadata_is_taken_too(
    uplink: Uplink, thief: WebBox, published: tuple[Fleet, list[Pair]]
) -> None:
    good = published[1][0]
    offering(thief, 7)
    metadata = [{"key": "linewarden-bundle", "value": good.bundle}, {"key": "linewarden-recipe", "value": good.recipe}]
    words = {"id": "7", "deployment": {"chunks": [{"part": "os", "metadata": metadata, "artifacts": []}]}}
    thief.faults[f"{BASE}/deploymentBase/7"] = answer(200, json.dumps(words).encode())
    uplink.asked()
    assert uplink.blobs() == set(published[0].blobs(good))
    assert feedback(thief, 7)[:2] == ("proceeding", "none")


def foreign(path: str) -> Fault:
    return answer(200, json.dumps({"_links": {"deploymentBase": {"href": path}}}).encode())


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (foreign(f"http://x/OTHER/controller/v1/{DEVICE}/deploymentBase/7"), "an action that is not for"),
        (foreign("http://x/DEFAULT/controller/v1/filler-4/deploymentBase/7"), "an action that is not for"),
        (foreign(f"http://x/DEFAULT/controller/v1/{DEVICE}/deploymentBase/7/../8"), "an action that is not for"),
        (foreign("http://[::1/deploymentBase/7"), "an action that is not for"),
        (answer(200, b"garbage"), "cannot be read"),
        (answer(200, b"[" * 60_000), "cannot be read"),
        (answer(200, b'{"_links": 7}'), "cannot be read"),
        (answer(200, b"\xff\xfe"), "cannot be read"),
        (answer(302, Location="http://127.0.0.1:1/"), "answers 302"),
        (answer(500), "answers 500"),
        (endless, "larger than 65536 bytes"),
        (cut(b" " * 100, 10), "IncompleteRead"),
    ],
)
def test_what_a_stolen_server_says_is_one_line_and_what_the_fleet_says_counts_on(
    uplink: Uplink, thief: WebBox, fault: Fault, says: str
) -> None:
    thief.faults[BASE] = fault
    said = uplink.asked()
    assert says in said
    assert "\n" not in said
    assert uplink.status.ok
    assert uplink.blobs() == set()
    assert all(path == BASE for _, path in thief.asked)


@pytest.mark.parametrize("fault", [dripping, dripping_headers])
def test_a_server_that_drips_is_given_up(
    uplink: Uplink, thief: WebBox, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.uplink.web.WHOLE_S", 0.3)
    thief.faults[BASE] = fault
    assert "timed out" in uplink.asked()
    assert uplink.status.ok


def test_a_server_that_orders_one_thing_after_another_gets_no_more_than_the_line_may_have(
    uplink: Uplink, thief: WebBox, published: tuple[Fleet, list[Pair]]
) -> None:
    fleet, (good, *others) = published
    for number, pair in enumerate((good, *others, good, Pair(good.bundle, others[1].recipe)), 1):
        offering(thief, number, named(pair))
        uplink.asked()
        assert uplink.blobs() <= set(fleet.blobs(good))


def test_what_is_no_longer_ordered_is_let_go_and_the_server_hears_it(
    uplink: Uplink, thief: WebBox, published: tuple[Fleet, list[Pair]]
) -> None:
    good = published[1][0]
    offering(thief, 7, named(good))
    uplink.asked()
    assert uplink.blobs() == set(published[0].blobs(good))
    links = {"cancelAction": {"href": f"{thief.url}{BASE}/cancelAction/8"}}
    thief.faults[BASE] = answer(200, json.dumps({"_links": links}).encode())
    uplink.asked()
    assert uplink.blobs() == set()
    assert json.loads(thief.taken[f"{BASE}/cancelAction/8/feedback"])["status"]["execution"] == "closed"


def test_while_the_server_is_away_its_last_order_stands_and_its_failures_drive_nothing(
    uplink: Uplink, thief: WebBox, published: tuple[Fleet, list[Pair]]
) -> None:
    good = published[1][0]
    offering(thief, 7, named(good))
    thief.faults[f"{BASE}/deploymentBase/7/feedback"] = answer(500)
    uplink.asked()
    thief.faults[BASE] = answer(503, Retry_After="120")
    assert "answers 503" in uplink.asked()
    assert uplink.blobs() == set(published[0].blobs(good))
    assert uplink.status.ok


def test_two_bundles_in_one_order_are_none(uplink: Uplink, thief: WebBox, published: tuple[Fleet, list[Pair]]) -> None:
    offering(thief, 7, *(named(pair) for pair in published[1][:2]))
    assert "does not name one bundle and one recipe" in uplink.asked()
    assert feedback(thief, 7)[:2] == ("closed", "failure")
    assert uplink.blobs() == set()
