"""What a device tells its fleet: signed, after each change, left for a stick and put to a server. It drives nothing."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from uplink_world import DEVICE, LINE, NOBODYS, Fleet, Uplink, enrol, install, one_pair, open_uplink
from web_box import WebBox, answer, web_box

from signing.certificates import read_authorities
from signing.device_status import DeviceStatus, read_device_status
from signing.enrolled import AUTHORITY, FOLDER
from signing.permission import Pair
from signing.status_note import StatusRefused, verify
from signing.store_state import Generation, Health, StoreState

FILE = f"/status/{DEVICE}.json"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Fleet, Pair]:
    return one_pair(tmp_path_factory.mktemp("fleet"))


@pytest.fixture
def server(published: tuple[Fleet, Pair]) -> Iterator[WebBox]:
    with web_box(published[0].public) as box:
        yield box


@pytest.fixture
def uplink(tmp_path: Path, published: tuple[Fleet, Pair], server: WebBox) -> Iterator[Uplink]:
    enrol(tmp_path, published[0].builder.root_bytes())
    opened = open_uplink(tmp_path, repository=server.url, status=f"{server.url}/status")
    with closing(opened.duty):
        yield opened


def read(state: Path, raw: bytes) -> DeviceStatus:
    """Return a status as the fleet reads it."""
    authorities = read_authorities((state / FOLDER / AUTHORITY).read_bytes(), "authority")
    signed = verify(raw, authorities, datetime.now(UTC), "status")
    assert (signed.subject.device, signed.subject.line) == (DEVICE, LINE)
    return read_device_status(signed.status, "status")


def test_a_signed_status_goes_out_at_once_and_lies_there_for_a_stick(uplink: Uplink, server: WebBox) -> None:
    uplink.turn()
    status = read(uplink.state, server.taken[FILE])
    assert (status.device, status.line, status.bundle, status.floor) == (DEVICE, LINE, None, "none")
    assert (uplink.state / "device-status.json").read_bytes() == server.taken[FILE]


def test_a_changed_status_goes_out_and_an_unchanged_one_does_not(
    uplink: Uplink, server: WebBox, published: tuple[Fleet, Pair]
) -> None:
    uplink.turn()
    first = read(uplink.state, server.taken[FILE])
    uplink.turn()
    assert server.count(FILE) == 1
    install(uplink.state, published[1])
    uplink.turn()
    second = read(uplink.state, server.taken[FILE])
    assert second.number > first.number
    assert [one.pair for one in second.installed] == [published[1]]


def test_it_says_what_runs_what_was_refused_and_what_is_pinned(
    uplink: Uplink, server: WebBox, published: tuple[Fleet, Pair]
) -> None:
    pair = published[1]
    install(uplink.state, pair)
    path = uplink.state / "store" / "state.json"
    store = msgspec.json.decode(path.read_bytes(), type=StoreState)
    one = Generation(*pair, trust=NOBODYS, utc="")
    bad = Generation("1" * 64, "2" * 64, NOBODYS, "", Health.REFUSED, "an operator is missing")
    store = msgspec.structs.replace(store, generations={1: one, 2: bad}, active=1, made=2)
    path.write_bytes(msgspec.json.encode(store))
    uplink.turn()
    status = read(uplink.state, server.taken[FILE])
    assert status.pair == pair
    assert [(one.pair, one.why) for one in status.failed] == [(Pair("1" * 64, "2" * 64), "an operator is missing")]
    assert status.development


def test_what_slots_refused_is_told_of_the_pair_that_it_is_about(
    uplink: Uplink, server: WebBox, published: tuple[Fleet, Pair]
) -> None:
    uplink.turn()
    uplink.slots_answers(ok=True, text="read")
    uplink.turn()
    uplink.slots_answers(ok=False, text="fails its golden set here")
    uplink.turn()
    status = read(uplink.state, server.taken[FILE])
    assert [(one.pair, one.why) for one in status.failed] == [(published[1], "fails its golden set here")]


@pytest.mark.parametrize(
    "fault", [answer(500), answer(302, Location="http://127.0.0.1:1/"), answer(200, b"x" * 70_000)]
)
def test_a_status_that_is_not_taken_stops_nothing(
    uplink: Uplink, server: WebBox, published: tuple[Fleet, Pair], fault: object
) -> None:
    server.faults[FILE] = fault
    said = uplink.turn()
    assert "status not sent: " in said
    assert "\n" not in said
    assert uplink.status.ok
    assert uplink.blobs() == set(published[0].blobs(published[1]))


def test_a_status_that_somebody_changed_is_refused(uplink: Uplink, server: WebBox) -> None:
    uplink.turn()
    words = json.loads(server.taken[FILE])
    words["payload"] = words["payload"][:-8] + "AAAAAAA="
    with pytest.raises(StatusRefused):
        read(uplink.state, json.dumps(words).encode())


def test_without_a_server_and_without_a_repository_it_is_left_for_the_stick(
    tmp_path: Path, published: tuple[Fleet, Pair]
) -> None:
    enrol(tmp_path, published[0].builder.root_bytes())
    uplink = open_uplink(tmp_path)
    with closing(uplink.duty):
        assert "come on a stick" in uplink.turn()
    assert read(tmp_path, (tmp_path / "device-status.json").read_bytes()).device == DEVICE
