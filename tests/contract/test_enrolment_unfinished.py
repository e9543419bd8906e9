"""An enrolment that ended half way, taken up again with other papers; and an authority that runs for months."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from fleet import authority_server
from fleet.authority import REVOCATIONS
from fleet.authority_server import AuthorityServer, serving
from provisioning import cli
from signing import est
from signing.enrolled import read_enrolled
from signing.est import Authority, ExchangeFailed
from tests.contract.enrolment_box import Box, Fleet
from tests.contract.enrolment_world import Site


@pytest.fixture(scope="module")
def fleets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Fleet, Fleet]:
    folder = tmp_path_factory.mktemp("fleets")
    return Fleet(folder / "ours"), Fleet(folder / "theirs")


@pytest.fixture
def url(fleets: tuple[Fleet, Fleet]) -> Iterator[str]:
    with fleets[0].serving() as authority:
        yield authority.url


def test_the_root_of_an_unfinished_run_does_not_stay(fleets: tuple[Fleet, Fleet], url: str, tmp_path: Path) -> None:
    ours, theirs = fleets
    box = Box(tmp_path / "box", ours, "", device="unfinished")
    box.token_file.write_bytes(ours.token("unfinished"))
    words = ["enroll", *box.place(), "--anchor", str(ours.anchor), "--trust", str(ours.trust_file), "--authority", url]
    words += ["--token-file", str(box.token_file), "--reason", "new device", "--yes"]
    assert cli.main([*words, "--root", str(theirs.root), "--repository", str(ours.repository.public)]) == 1
    judge = box.state / "store" / "tuf" / "root.json"
    assert judge.read_bytes() == theirs.root.read_bytes()
    assert cli.main([*words, "--root", str(ours.root)]) == 0
    assert judge.read_bytes() == ours.root.read_bytes() == read_enrolled(box.state / "identity").root


def test_a_certificate_of_an_unfinished_run_that_does_not_fit_is_not_the_end(
    fleets: tuple[Fleet, Fleet], url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run ended before its last step; meanwhile the device got its right name."""
    box = Box(tmp_path / "box", fleets[0], "", device="misnamed")
    assert box.enroll(url, fleets[0].token("misnamed")) == 0
    (box.state / "identity" / "enrolment.json").unlink()
    file = box.folder / "station.toml"
    file.write_text(file.read_text().replace("misnamed", "renamed"))
    capsys.readouterr()
    words = ["--authority", url, "--reason", "new device", "--yes"]
    assert cli.main(["enroll", *box.place(), *box.papers(), *words]) == 1
    assert "bring the token of two people" in capsys.readouterr().err
    assert box.enroll(url, fleets[0].token("renamed")) == 0
    assert read_enrolled(box.state / "identity").record.device == "renamed"


def test_an_authority_that_runs_for_months_lets_devices_in(tmp_path: Path) -> None:
    """Its own certificate and its revocation list hold for a month."""
    site, late = Site(tmp_path / "site"), [timedelta(0)]
    with site.open(now=lambda: datetime.now(UTC) - timedelta(days=60) + late[0]) as authority:
        server = AuthorityServer(authority)
        with serving(server) as url:
            late[0] = timedelta(days=60)
            end = time.monotonic() + 10
            while _until(site) < datetime.now(UTC) + timedelta(days=20) and time.monotonic() < end:
                time.sleep(0.02)
            assert _until(site) > datetime.now(UTC) + timedelta(days=20)
            assert Authority(url, site.tls()).authorities() == (authority.certificate,)


def _until(site: Site) -> datetime:
    made = x509.load_pem_x509_crl((site.folder / REVOCATIONS).read_bytes())
    assert made.next_update_utc is not None
    return made.next_update_utc


def test_an_authority_that_drips_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One header a moment, each in time: a device asks with a watchdog at its back, a technician waits."""
    monkeypatch.setattr(est, "WHOLE_S", 0.5)
    site, stop = Site(tmp_path / "site"), threading.Event()
    with site.open() as authority, AuthorityServer(authority) as server:
        thread = threading.Thread(target=_drip, args=(server, stop))
        thread.start()
        try:
            with pytest.raises(ExchangeFailed, match="try again"):
                Authority(server.url, site.tls()).authorities()
        finally:
            stop.set()
            thread.join()
    assert not any(isinstance(thread, threading.Timer) for thread in threading.enumerate())


def _drip(server: AuthorityServer, stop: threading.Event) -> None:
    began = time.monotonic()
    connection, _ = server.get_request()
    with suppress(OSError), connection:
        connection.do_handshake()
        connection.sendall(b"HTTP/1.0 200 OK\r\n")
        while not stop.wait(0.05) and time.monotonic() < began + 8:
            connection.sendall(b"X: y\r\n")


def test_who_drips_is_hung_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authority_server, "WHOLE_S", 0.5)
    site = Site(tmp_path / "site")
    with site.serving() as authority:
        port = int(authority.url.rpartition(":")[2])
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            site.tls().wrap_socket(plain, server_hostname="127.0.0.1") as secure,
        ):
            secure.settimeout(5)
            secure.sendall(b"POST / HTTP/1.0\r\n")
            assert secure.recv(100) == b""
    assert [thread.name for thread in threading.enumerate() if isinstance(thread, threading.Timer)] == []
