"""Fetching: over HTTP, from a stick, through a mirror; cut and resumed; on a full disk."""

import hashlib
import resource
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadError

from signing.fetchers import FileFetcher, MirrorFetcher
from signing.freshness import nothing_new
from signing.http_fetcher import HttpFetcher
from signing.index import Kind
from signing.update_errors import FetchFailed, PlaceFailed, UpdateRefused
from tests.contract.certificates import Authority
from tests.contract.range_server import range_server
from tests.contract.update_world import BLOB, NOW, Device, World, build_world, later


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("fleet") / "world")


@pytest.fixture
def world(built: World, tmp_path: Path) -> World:
    return built.copy(tmp_path / "world")


def _fresh(world: World) -> Device:
    return Device(world.folder / "fresh")


def _parts(device: Device) -> list[int]:
    return [file.stat().st_size for file in device.store.glob(".*.part")]


def test_a_new_device_installs_over_http(world: World) -> None:
    with range_server(world.public) as (url, _), closing(HttpFetcher(url)) as fetcher:
        assert not nothing_new(_fresh(world).place, fetcher, NOW)
        index = _fresh(world).install(fetcher, world.index("1.1.0"))
        assert nothing_new(_fresh(world).place, fetcher, NOW)
    for file in index.files.values():
        assert hashlib.sha256((_fresh(world).store / file.sha256).read_bytes()).hexdigest() == file.sha256


def test_a_poll_with_nothing_new_is_one_small_file(world: World) -> None:
    with range_server(world.public) as (url, server), closing(HttpFetcher(url)) as fetcher:
        assert nothing_new(world.device.place, fetcher, NOW)
        assert [path for path, _ in server.asked] == ["/metadata/timestamp.json"]
        assert server.sent < 1000
        assert not nothing_new(world.device.place, fetcher, later(8)), "expired is not 'nothing new'"


def test_what_is_held_is_not_fetched_again(world: World) -> None:
    with range_server(world.public) as (url, server), closing(HttpFetcher(url)) as fetcher:
        world.device.install(fetcher, world.index("1.0.0"))
        assert not [path for path, _ in server.asked if "blobs" in path]


def test_a_cut_download_is_resumed_where_it_was_cut(world: World) -> None:
    size = len(BLOB) + len("1.1.0")
    with range_server(world.public) as (url, server), closing(HttpFetcher(url)) as fetcher:
        server.cut_after = 150_000
        with pytest.raises(FetchFailed, match="blobs/"):
            world.device.install(fetcher, world.index("1.1.0"))
        (part,) = _parts(world.device)
        assert 0 < part <= 150_000
        server.cut_after, server.sent = None, 0
        server.asked.clear()
        world.device.install(fetcher, world.index("1.1.0"))
        assert (_blob(size), f"bytes={part}-") in server.asked
    assert _parts(world.device) == []


def _blob(size: int) -> str:
    content = BLOB + b"1.1.0"
    assert len(content) == size
    return f"/blobs/{hashlib.sha256(content).hexdigest()}"


def test_a_server_without_ranges_sends_it_all_again(world: World) -> None:
    with range_server(world.public) as (url, server), closing(HttpFetcher(url)) as fetcher:
        server.cut_after, server.ranges = 100_001, False
        with pytest.raises(FetchFailed):
            world.device.install(fetcher, world.index("1.1.0"))
        server.cut_after = None
        world.device.install(fetcher, world.index("1.1.0"))
    assert _parts(world.device) == []


def test_a_part_that_a_power_cut_garbled_is_fetched_anew(world: World) -> None:
    part = world.device.store / f".{_blob(len(BLOB) + 5).removeprefix('/blobs/')}.part"
    part.write_bytes(b"\0" * 1000)
    world.device.install(world.public, world.index("1.1.0"))
    assert not part.exists()


def test_a_redirect_is_not_followed(world: World) -> None:
    with range_server(world.public) as (url, server), closing(HttpFetcher(url)) as fetcher:
        server.redirect = "http://127.0.0.1:1/"
        with pytest.raises(FetchFailed, match="DownloadHTTPError.*302"):
            nothing_new(world.device.place, fetcher, NOW)


def test_a_compressed_answer_does_not_swell(world: World) -> None:
    """16 MB of zeros in 16 kB, which the fetcher would read as a timestamp."""
    with range_server(world.public) as (url, server), closing(HttpFetcher(url)) as fetcher:
        server.swell = 16_000_000
        assert len(fetcher.download_bytes("metadata/timestamp.json", 16_384)) < 16_384
        with pytest.raises(UpdateRefused):
            world.device.open(fetcher)


def test_one_connection_serves_a_whole_refresh(world: World) -> None:
    with range_server(world.public) as (url, server), closing(HttpFetcher(url)) as fetcher:
        _fresh(world).install(fetcher, world.index("1.1.0"))
        assert len(server.asked) > 6
        assert server.connections == 1 + sum(path.endswith(".root.json") for path, _ in server.asked)


def test_environment_proxies_are_not_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with range_server(world.public) as (url, _), closing(HttpFetcher(url)) as fetcher:
        assert nothing_new(world.device.place, fetcher, NOW)


def test_the_device_shows_its_certificate_and_believes_its_authority_alone(world: World, tmp_path: Path) -> None:
    ours, strangers = Authority(tmp_path), Authority(tmp_path, "strangers")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*ours.issue("repository", "127.0.0.1"))
    server.load_verify_locations(ours.file)
    server.verify_mode = ssl.CERT_REQUIRED
    device = ssl.create_default_context(cafile=str(ours.file))
    device.load_cert_chain(*ours.issue("device"))
    nameless = ssl.create_default_context(cafile=str(ours.file))
    foreign = ssl.create_default_context(cafile=str(strangers.file))
    foreign.load_cert_chain(*ours.issue("other"))
    with range_server(world.public, server) as (url, _):
        with closing(HttpFetcher(url, device)) as fetcher:
            assert nothing_new(world.device.place, fetcher, NOW)
        for context in (nameless, foreign):
            with closing(HttpFetcher(url, context)) as fetcher, pytest.raises(FetchFailed, match="SSL|reset|Protocol"):
                nothing_new(world.device.place, fetcher, NOW)


def test_an_unreachable_server_is_one_line(world: World) -> None:
    with closing(HttpFetcher("http://127.0.0.1:1")) as fetcher, pytest.raises(FetchFailed) as failed:
        world.device.open(fetcher)
    assert "\n" not in str(failed.value) and "127.0.0.1:1" in str(failed.value)


@contextmanager
def _files_of_at_most(size: int) -> Iterator[None]:
    """Writing beyond `size` fails as on a full disk, for this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(world: World) -> None:
    with _files_of_at_most(100_000), pytest.raises(PlaceFailed, match="make room") as failed:
        world.device.install(world.public, world.index("1.1.0"))
    assert "\n" not in str(failed.value)
    assert _parts(world.device) == []
    world.device.install(world.public, world.index("1.1.0"))


def test_no_room_for_metadata_leaves_the_device_as_it_was(world: World) -> None:
    before = _fresh(world).state()
    with _files_of_at_most(200), pytest.raises(PlaceFailed):
        _fresh(world).open(world.public)
    assert _fresh(world).state() == before
    _fresh(world).open(world.public)


def test_a_device_installs_from_a_mirror_as_from_the_network(world: World, tmp_path: Path) -> None:
    mirror, uplink = tmp_path / "incoming", Device(tmp_path / "uplink")
    uplink.enrol(world.builder)
    fetcher = MirrorFetcher(FileFetcher(world.public), mirror)
    repository = uplink.open(fetcher)
    index = repository.index(Kind.BUNDLE, world.index("1.1.0"))
    assert index is not None
    repository.fetch(index, mirror / "blobs", lambda done, total: None)
    assert _fresh(world).install(mirror, world.index("1.1.0")) == index


def test_a_mirror_keeps_nothing_that_was_refused(world: World, tmp_path: Path) -> None:
    uplink = Device(tmp_path / "uplink")
    uplink.enrol(world.builder)
    with pytest.raises(UpdateRefused):
        uplink.open(MirrorFetcher(FileFetcher(world.old), tmp_path / "incoming"))
    assert not (tmp_path / "incoming").exists()


def test_a_mirror_cut_before_its_timestamp_still_gives_the_old_state(world: World, tmp_path: Path) -> None:
    mirror = tmp_path / "incoming"
    fetcher = MirrorFetcher(FileFetcher(world.old), mirror)
    uplink = Device(world.folder / "fresh")
    uplink.open(fetcher)
    old = (mirror / "metadata" / "timestamp.json").read_bytes()
    (mirror / "metadata" / "2.snapshot.json" / "in the way").mkdir(parents=True)
    with pytest.raises(PlaceFailed):
        uplink.open(MirrorFetcher(FileFetcher(world.public), mirror))
    assert (mirror / "metadata" / "timestamp.json").read_bytes() == old


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "metadata/../../x", "a//b", "blobs/.hidden", "", "a\0b", "a%2fb"]
)
def test_paths_that_leave_the_folder_are_refused(world: World, path: str) -> None:
    with pytest.raises(DownloadError, match="no path of a repository"):
        FileFetcher(world.public).open_from(path, 0)
