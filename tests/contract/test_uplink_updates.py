"""The uplink process with a repository: killed, hung up on, asked by a person; the archive goes on beside it."""

import signal
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from recorder_box import until
from uplink_box import UplinkProcess, recording, signed_size, station_text
from uplink_world import Fleet, enrol, one_pair
from web_box import WebBox, web_box

from daemon.uplink.update_status import POLL_NOW, REQUESTS, read_update_status
from signing.permission import Pair

UPDATES = """
[updates]
line = "line-3"
device = "filler-3"
identity = "development"
poll_s = 3600
repository = "{url}"
"""
ARCHIVE = '\n[archive]\nkind = "directory"\npath = "archive"\nevery_s = 0.2\n'


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Fleet, Pair]:
    return one_pair(tmp_path_factory.mktemp("fleet"))


@pytest.fixture
def server(published: tuple[Fleet, Pair]) -> Iterator[WebBox]:
    with web_box(published[0].public) as box:
        yield box


@pytest.fixture
def uplink(tmp_path: Path, published: tuple[Fleet, Pair]) -> Iterator[UplinkProcess]:
    enrol(tmp_path, published[0].builder.root_bytes())
    (tmp_path / "requests").mkdir()
    (tmp_path / REQUESTS).mkdir()
    process = UplinkProcess(tmp_path)
    try:
        yield process
    finally:
        process.stop(signal.SIGKILL)


def ask(state: Path) -> None:
    """Do as `linewarden update check` does."""
    (state / REQUESTS / POLL_NOW).touch()


def dripping(data: bytes) -> object:
    """Answer a little of a file and then hold the line."""

    def done(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data[:1000])
        request.wfile.flush()
        end = time.monotonic() + 20.0
        while time.monotonic() < end and not request.server.faults.get("let go"):
            time.sleep(0.02)

    return done


def test_killed_in_the_middle_of_a_download_it_goes_on(
    tmp_path: Path, uplink: UplinkProcess, server: WebBox, published: tuple[Fleet, Pair]
) -> None:
    fleet, pair = published
    (tmp_path / "station.toml").write_text(station_text(UPDATES.format(url=server.url)))
    sha256 = max(fleet.blobs(pair), key=fleet.blobs(pair).__getitem__)
    server.faults[f"/blobs/{sha256}"] = dripping((fleet.public / "blobs" / sha256).read_bytes())
    ask(tmp_path)
    uplink.start()
    part = tmp_path / "incoming" / "blobs" / f".{sha256}.part"
    until(part.exists, f"no part comes: {uplink.said}")
    uplink.stop(signal.SIGKILL)
    server.faults = {"let go": lambda _: None}
    ask(tmp_path)
    uplink.start()
    uplink.awaits("1 to have")
    assert {path.name for path in part.parent.iterdir()} == set(fleet.blobs(pair))
    assert uplink.stop() == 0
    assert read_update_status(tmp_path).ok


def test_a_server_that_is_away_holds_up_no_archive(tmp_path: Path, uplink: UplinkProcess) -> None:
    (tmp_path / "archive").mkdir()
    updates = UPDATES.format(url="http://127.0.0.1:1")
    with recording(tmp_path, ARCHIVE + updates):
        ask(tmp_path)
        uplink.start()
        uplink.awaits("updates: not updated, trying again: ")
        uplink.awaits(f"{signed_size(tmp_path)} entries and 0 images archived")
        assert uplink.stop() == 0
    assert "Traceback" not in uplink.said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ('line = "line-3"', "missing required field `device`"),
        ('line = "line-3"\ndevice = "d"\nrepository = "http://10.0.0.7"', "$.updates.repository: write https://"),
        ('line = "line-3"\ndevice = "d"\npassword = "secret"', "unknown field `password`"),
    ],
)
def test_a_configuration_that_cannot_work_is_for_a_person(
    tmp_path: Path, uplink: UplinkProcess, words: str, says: str
) -> None:
    (tmp_path / "station.toml").write_text(station_text(f"\n[updates]\n{words}\n"))
    uplink.start()
    assert uplink.ended() == 78
    assert says in uplink.said
    assert len(uplink.said.splitlines()) == 1
