"""Uplink and https servers that want a device's certificate, which it gets with its identity."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from uplink_world import DEVICE, LINE, Fleet, Uplink, open_uplink, write_enrolment
from web_box import WebBox, web_box

from fleet.authority_server import AuthorityServer, serving
from signing.est import Authority
from signing.identity import device_id, open_identity
from tests.contract.enrolment_world import Site, enrolled, server_context


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[Path, WebBox]]:
    """An enrolled device's state folder, and an https server with what its fleet publishes."""
    site, fleet, state = Site(tmp_path / "site"), Fleet(tmp_path), tmp_path / "state"
    pair = fleet.pair("1.0.0")
    fleet.allow([pair])
    fleet.publish()
    (state / "identity").mkdir(parents=True)
    with ExitStack() as opened:
        authority = opened.enter_context(site.open())
        url = opened.enter_context(serving(AuthorityServer(authority)))
        with closing(open_identity("development", state / "identity", "", production=False, make=True)) as identity:
            certificate = enrolled(site, Authority(url, site.tls()), identity)
            record = {"device": device_id(identity.public_der), "authority": url}
        write_enrolment(state, certificate.pem, site.anchor.read_bytes(), fleet.builder.root_bytes(), **record)
        yield state, opened.enter_context(web_box(fleet.public, server_context(site, authority, tmp_path)))


def opened_uplink(state: Path, server: WebBox) -> Uplink:
    anchor = str(state / "identity" / "authority.pem")
    return open_uplink(state, repository=server.url, status=f"{server.url}/status", authority=anchor)


def test_it_shows_a_certificate_of_a_day_and_is_let_in(world: tuple[Path, WebBox]) -> None:
    state, server = world
    uplink = opened_uplink(state, server)
    with closing(uplink.duty):
        uplink.turn()
        assert uplink.status.ok, uplink.status.text
        assert f"/status/{DEVICE}.json" in server.taken
    assert not [path for path in state.rglob("*.pem") if path.parent.name != "identity"]


def test_a_server_of_another_authority_is_not_talked_to(world: tuple[Path, WebBox], tmp_path: Path) -> None:
    state, server = world
    other = Site(tmp_path / "other")
    with other.open() as authority, web_box(server.folder, server_context(other, authority, tmp_path)) as foreign:
        uplink = opened_uplink(state, foreign)
        with closing(uplink.duty):
            said = uplink.turn()
            assert "CERTIFICATE_VERIFY_FAILED" in said or "certificate verify failed" in said
            assert foreign.asked == []


def test_a_station_file_of_another_device_is_refused(world: tuple[Path, WebBox]) -> None:
    state, server = world
    path = state / "identity" / "enrolment.json"
    path.write_text(path.read_text().replace(LINE, "line-9"))
    uplink = opened_uplink(state, server)
    with closing(uplink.duty):
        assert f"enrolled as {DEVICE} of line line-9, [updates] says {DEVICE} of line {LINE}" in uplink.turn()
