"""Uplink and a fleet's repository over HTTP: what it brings, what it asks for, and what nobody can make it do."""

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from uplink_world import Fleet, Uplink, enrol, one_pair, open_uplink
from web_box import WebBox, answer, cut, dripping_headers, endless, web_box

from daemon.store_requests import What
from daemon.uplink import mirror
from signing.permission import Pair

TIMESTAMP = "/metadata/timestamp.json"
LACKING = Pair("6" * 64, "7" * 64)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Fleet, Pair]:
    """A fleet with one pair, permitted and rolled out to the line. Copied for tests that publish more."""
    return one_pair(tmp_path_factory.mktemp("fleet"))


@pytest.fixture
def server(published: tuple[Fleet, Pair]) -> Iterator[WebBox]:
    with web_box(published[0].public) as box:
        yield box


@pytest.fixture
def state(tmp_path: Path, published: tuple[Fleet, Pair]) -> Path:
    enrol(tmp_path, published[0].builder.root_bytes())
    return tmp_path


@pytest.fixture
def uplink(state: Path, server: WebBox) -> Iterator[Uplink]:
    opened = open_uplink(state, repository=server.url)
    with closing(opened.duty):
        yield opened


def test_what_the_line_may_have_is_brought_once_and_handed_over(
    uplink: Uplink, server: WebBox, published: tuple[Fleet, Pair]
) -> None:
    fleet, pair = published
    assert "1 to have" in uplink.turn()
    assert uplink.blobs() == set(fleet.blobs(pair))
    assert [request.what for request in uplink.requests()] == [What.CHECK]
    uplink.slots_answers(ok=True, text="read")
    uplink.turn()
    assert [(request.what, request.wish) for request in uplink.requests()] == [(What.APPLY, None)]
    uplink.slots_answers(ok=True, text="installed")
    server.asked.clear()
    uplink.turn()
    assert uplink.requests() == []
    assert uplink.status.ok
    assert uplink.status.versions[1] == 1


def test_nothing_new_costs_one_small_file_and_no_write(uplink: Uplink, server: WebBox, state: Path) -> None:
    uplink.turn()
    uplink.slots_answers(ok=True, text="read")
    uplink.turn()
    before = {path: path.stat().st_mtime_ns for path in state.rglob("*")}
    server.asked.clear()
    uplink.turn()
    assert server.asked == [("GET", TIMESTAMP)]
    assert {path: path.stat().st_mtime_ns for path in state.rglob("*")} == before


def test_a_person_who_asks_gets_a_whole_look_and_a_written_answer(
    state: Path, server: WebBox, published: tuple[Fleet, Pair]
) -> None:
    uplink = open_uplink(state, poll_s=3600.0, repository=server.url)
    with closing(uplink.duty):
        uplink.turn()
        assert server.asked == []
        assert "1 to have" in uplink.asked()
        first = (state / "update-status.json").stat().st_ino
        server.asked.clear()
        uplink.asked()
        assert server.count("/metadata/timestamp.json") >= 1
        assert (state / "update-status.json").stat().st_ino != first
        assert uplink.blobs() == set(published[0].blobs(published[1]))


def test_an_emptied_mirror_is_filled_again(uplink: Uplink, state: Path, published: tuple[Fleet, Pair]) -> None:
    uplink.turn()
    shutil.rmtree(state / "incoming")
    uplink.turn()
    assert (state / "incoming" / "metadata" / "timestamp.json").is_file()
    assert uplink.blobs() == set(published[0].blobs(published[1]))


def test_half_a_mirror_after_a_crash_is_completed_by_the_next_life(
    state: Path, server: WebBox, published: tuple[Fleet, Pair]
) -> None:
    fleet, pair = published
    sha256, size = max(fleet.blobs(pair).items(), key=lambda item: item[1])
    data = (fleet.public / "blobs" / sha256).read_bytes()
    server.faults[f"/blobs/{sha256}"] = cut(data, size // 2)
    first = open_uplink(state, repository=server.url)
    with closing(first.duty):
        assert "cut" in first.turn() or "IncompleteRead" in first.duty.said
        assert not first.status.ok
    assert f".{sha256}.part" in first.blobs()
    server.faults.clear()
    second = open_uplink(state, repository=server.url)
    with closing(second.duty):
        assert "1 to have" in second.turn()
    assert second.blobs() == set(fleet.blobs(pair))


def test_a_slice_of_a_download_ends_and_the_next_goes_on(
    uplink: Uplink, published: tuple[Fleet, Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.uplink.mirroring.SLICE_S", 0.0)
    turns = 0
    while uplink.blobs() != set(published[0].blobs(published[1])):
        uplink.turn()
        turns += 1
        assert turns < 200
    assert turns > 1


def test_what_the_store_has_is_not_fetched(uplink: Uplink, state: Path, published: tuple[Fleet, Pair]) -> None:
    fleet, pair = published
    sha256 = max(fleet.blobs(pair), key=fleet.blobs(pair).__getitem__)
    (state / "store" / "blobs").mkdir(parents=True)
    shutil.copy(fleet.public / "blobs" / sha256, state / "store" / "blobs" / sha256)
    uplink.turn()
    assert uplink.blobs() == set(fleet.blobs(pair)) - {sha256}


def test_a_full_disk_is_one_line_and_the_lists_are_handed_over_all_the_same(
    uplink: Uplink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "RESERVE_BYTES", 1 << 60)
    said = uplink.turn()
    assert "make room" in said
    assert "\n" not in said
    assert not uplink.status.ok
    assert [request.what for request in uplink.requests()] == [What.CHECK]
    monkeypatch.undo()
    uplink.slots_answers(ok=True, text="read")
    uplink.turn()
    assert [request.what for request in uplink.requests()] == [What.APPLY]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (answer(500), "500"),
        (answer(302, Location="http://127.0.0.1:1/timestamp.json"), "302"),
        (answer(200, b"{"), "refused"),
        (endless, "longer than"),
        (cut(b"x" * 400, 10), "again"),
    ],
)
def test_a_server_that_errs_or_lies_only_delays(uplink: Uplink, server: WebBox, fault: object, says: str) -> None:
    uplink.turn()
    there = uplink.blobs()
    server.faults[TIMESTAMP] = fault
    said = uplink.turn()
    assert said.startswith("updates: not updated, trying again: ")
    assert says in said
    assert "\n" not in said
    server.faults.clear()
    uplink.turn()
    assert uplink.status.ok
    assert uplink.blobs() == there


def test_a_server_that_asks_to_be_left_alone_is_left_alone(state: Path, server: WebBox) -> None:
    server.faults[TIMESTAMP] = answer(503, Retry_After="600")
    uplink = open_uplink(state, poll_s=10.0, repository=server.url)
    with closing(uplink.duty):
        uplink.asked()
        assert 600 < uplink.status.next_s < 630


def test_bytes_that_nobody_signed_are_not_kept(uplink: Uplink, server: WebBox, published: tuple[Fleet, Pair]) -> None:
    fleet, pair = published
    sha256 = min(fleet.blobs(pair), key=fleet.blobs(pair).__getitem__)
    server.faults[f"/blobs/{sha256}"] = answer(200, b"x" * fleet.blobs(pair)[sha256])
    assert "refused" in uplink.turn()
    assert sha256 not in uplink.blobs()
    assert [request.what for request in uplink.requests()] == [What.CHECK]


def test_not_enrolled_is_said_and_the_other_duties_go_on(tmp_path: Path, server: WebBox) -> None:
    uplink = open_uplink(tmp_path, repository=server.url)
    with closing(uplink.duty):
        assert "enrol" in uplink.turn()
        assert server.asked == []


def test_of_two_fleets_only_the_one_it_was_enrolled_in_counts(
    uplink: Uplink, server: WebBox, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Fleet(tmp_path_factory.mktemp("other"))
    pair = other.pair("6.6.6")
    other.allow([pair])
    other.roll_out(pair)
    other.publish()
    server.folder = other.public
    assert "refused" in uplink.turn()
    assert uplink.blobs() == set()
    assert uplink.requests() == []


def test_a_revoked_bundle_and_one_of_another_line_are_not_fetched(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    fleet = Fleet(tmp_path_factory.mktemp("changing"))
    good, bad, foreign = (fleet.pair(version) for version in ("1.0.0", "2.0.0", "3.0.0"))
    fleet.allow([good, bad])
    fleet.allow([foreign], "line-4")
    fleet.roll_out(good, bad, foreign)
    fleet.revoke(bad.bundle)
    fleet.publish()
    enrol(tmp_path, fleet.builder.root_bytes())
    with web_box(fleet.public) as server:
        uplink = open_uplink(tmp_path, repository=server.url)
        with closing(uplink.duty):
            said = uplink.turn()
            assert f"{bad.bundle[:12]} is revoked" in said
            assert uplink.blobs() == set(fleet.blobs(good))
            uplink.slots_answers(ok=True, text="read")
            uplink.turn()
            uplink.slots_answers(ok=True, text="installed")
            fleet.revoke(bad.bundle, good.bundle)
            fleet.publish()
            uplink.turn()
            assert uplink.blobs() == set()
            assert [request.what for request in uplink.requests()] == [What.APPLY]
            words = json.loads((tmp_path / "update-status.json").read_text())
            assert words["versions"][1] == 2


def test_a_revocation_arrives_although_something_permitted_is_not_published(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    fleet = Fleet(tmp_path_factory.mktemp("lacking"))
    fleet.allow([LACKING])
    fleet.roll_out(LACKING)
    fleet.revoke("1" * 64)
    fleet.publish()
    enrol(tmp_path, fleet.builder.root_bytes())
    with web_box(fleet.public) as server:
        uplink = open_uplink(tmp_path, repository=server.url)
        with closing(uplink.duty):
            assert "is permitted and not published" in uplink.turn()
            assert [request.what for request in uplink.requests()] == [What.CHECK]


def test_a_server_that_is_away_is_told_of_in_the_same_words_each_time(uplink: Uplink, server: WebBox) -> None:
    server.shutdown()
    server.socket.close()
    first, second = uplink.turn(), uplink.turn()
    assert first == second
    assert "0x" not in first


def test_a_server_that_drips_headers_is_given_up(
    uplink: Uplink, server: WebBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signing.http_fetcher.ANSWER_S", 0.3)
    server.faults[TIMESTAMP] = dripping_headers
    assert "timed out" in uplink.turn()
    server.faults.clear()
    uplink.turn()
    assert uplink.status.ok
