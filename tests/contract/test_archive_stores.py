"""One contract for the places of an archive: a folder, and a bucket of a real S3 server with object lock."""

import hashlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from archive_world import Device
from recorder_box import until
from s3_server import S3Server, give_credentials, running
from uplink_box import UplinkProcess, recording, signed_size, station_text

from daemon.config import ConfigError
from daemon.config_archive import S3Archive
from daemon.uplink.directory import DirectoryStore
from daemon.uplink.s3 import S3Store
from daemon.uplink.shipping import Mark, ship
from daemon.uplink.stores import Store, StoreConflict, StoreError
from provisioning import cli

BODY = b"P5\n2 2\n255\nabcd"
SHA = hashlib.sha256(BODY).hexdigest()
LOCKED_DAYS = 2
KILLED, GROWN_AT = 137, 6
ONE_LINE = r"\A[^\n]*{}[^\n]*\Z"
KINDS = ("directory", "s3", "s3-locked")


class Place:
    """A place of one kind: opens stores on it, and reaches behind their back."""

    def __init__(self, opens: Callable[[], Store], disturb: Callable[[str, bytes], None]) -> None:
        self.opens = opens
        self.disturb = disturb


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running(tmp_path_factory.mktemp("s3")) as found:
        found.bucket("records")
        found.bucket("locked", lock=True)
        yield found


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in give_credentials(tmp_path / "credentials").items():
        monkeypatch.setenv(name, value)


def _in_bucket(server: S3Server, prefix: str, *, locked: bool) -> Place:
    bucket = "locked" if locked else "records"
    archive = server.archive(bucket, prefix=prefix, retain_days=LOCKED_DAYS if locked else 0)

    def disturb(path: str, data: bytes) -> None:
        with server.client() as client:
            client.put_object(Bucket=bucket, Key=f"{archive.prefix}/{path}", Body=data)

    return Place(lambda: S3Store(archive, None), disturb)


def _in_folder(folder: Path) -> Place:
    folder.mkdir()

    def disturb(path: str, data: bytes) -> None:
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).unlink(missing_ok=True)
        (folder / path).write_bytes(data)

    return Place(lambda: DirectoryStore(folder), disturb)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, server: S3Server, tmp_path: Path, credentials: None) -> Place:
    if request.param == "directory":
        return _in_folder(tmp_path / "archive")
    return _in_bucket(server, f"line-3/{tmp_path.name}", locked=request.param == "s3-locked")


def test_what_was_put_is_there_for_the_next_life(place: Place) -> None:
    with closing(place.opens()) as store:
        assert store.digest("images/ab/x.pgm") is None
        store.put("images/ab/x.pgm", BODY, SHA)
    with closing(place.opens()) as store:
        assert store.digest("images/ab/x.pgm") == SHA
        assert store.get("images/ab/x.pgm") == BODY


@pytest.mark.clause("Annex 11 draft §17", "21 CFR 11.10(c)")
def test_the_same_again_is_no_error_and_something_else_is_never_written(place: Place) -> None:
    with closing(place.opens()) as store:
        store.put("keys/a.pem", BODY, SHA)
        store.put("keys/a.pem", BODY, SHA)
        with pytest.raises(StoreConflict, match=r"keys/a\.pem: holds other bytes"):
            store.put("keys/a.pem", b"other", hashlib.sha256(b"other").hexdigest())
        assert store.get("keys/a.pem") == BODY


def test_the_listing_is_sorted_and_goes_on_behind_a_name(place: Place) -> None:
    with closing(place.opens()) as store:
        names = [f"images/{number:02x}/{number}.pgm" for number in (9, 1, 200)]
        for name in names:
            store.put(name, BODY, SHA)
        store.put("entries/x", BODY, SHA)
        assert list(store.listing("images")) == sorted(names)
        assert list(store.listing("images", sorted(names)[0])) == sorted(names)[1:]
        assert list(store.listing("documents")) == []


def test_the_digest_is_of_what_lies_there_now(place: Place) -> None:
    other = hashlib.sha256(b"other").hexdigest()
    with closing(place.opens()) as store:
        store.put("entries/x", BODY, SHA)
        place.disturb("entries/x", b"other")
        assert store.digest("entries/x") == other
        place.disturb("entries/y", b"other")
        with pytest.raises(StoreConflict):
            store.put("entries/y", BODY, SHA)


def test_what_is_not_there_cannot_be_got(place: Place) -> None:
    with closing(place.opens()) as store, pytest.raises(StoreError, match="nowhere"):
        store.get("entries/nowhere")


def test_names_say_where_it_is(place: Place, request: pytest.FixtureRequest) -> None:
    with closing(place.opens()) as store:
        kind = request.node.callspec.params["place"]
        assert store.name.startswith("directory:/" if kind == "directory" else "s3://")
        assert bool(store.warning) is (kind == "s3")


def test_one_process_at_a_time_ships_into_a_folder(tmp_path: Path) -> None:
    with closing(DirectoryStore(tmp_path)):
        with pytest.raises(StoreError, match="another process ships there"):
            DirectoryStore(tmp_path)
        DirectoryStore(tmp_path, writes=False).close()
    DirectoryStore(tmp_path).close()


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is it mounted"):
        DirectoryStore(tmp_path / "unmounted")
    assert not (tmp_path / "unmounted").exists()


def test_a_folder_on_the_disk_of_the_records_is_warned_of(tmp_path: Path) -> None:
    with closing(DirectoryStore(tmp_path, beside=tmp_path)) as store:
        assert "on the disk of the records themselves" in store.warning
    with closing(DirectoryStore(tmp_path, beside=Path("/proc"))) as store:
        assert not store.warning


@pytest.mark.clause("21 CFR 11.10(c)")
def test_a_file_in_a_folder_can_be_written_by_nobody(tmp_path: Path) -> None:
    with closing(DirectoryStore(tmp_path)) as store:
        store.put("entries/x", BODY, SHA)
    assert not (tmp_path / "entries" / "x").stat().st_mode & 0o222
    assert os.listdir(tmp_path / "entries") == ["x"]


@pytest.mark.clause("21 CFR 11.10(c)", "Annex 11 draft §17")
def test_a_locked_object_cannot_be_deleted_or_unlocked_inside_its_retention(
    server: S3Server, credentials: None
) -> None:
    """21 CFR 11.10(c): protection of records throughout their retention period."""
    archive = server.archive("locked", prefix="worm", retain_days=LOCKED_DAYS)
    with closing(S3Store(archive, None)) as store:
        store.put("entries/x", BODY, SHA)
        with server.client() as client:
            where = {"Bucket": "locked", "Key": "worm/entries/x"}
            head = client.head_object(**where)
            assert head["ObjectLockMode"] == "COMPLIANCE"
            left = head["ObjectLockRetainUntilDate"] - head["LastModified"]
            assert abs(left.total_seconds() - LOCKED_DAYS * 86_400) < 60
            with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
                client.delete_object(**where, VersionId=head["VersionId"])
            with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
                until = {"Mode": "COMPLIANCE", "RetainUntilDate": head["LastModified"] + timedelta(hours=1)}
                client.put_object_retention(**where, VersionId=head["VersionId"], Retention=until)
        assert store.digest("entries/x") == SHA


def test_a_retention_that_the_bucket_cannot_give_is_refused(server: S3Server, credentials: None) -> None:
    archive = server.archive("records", retain_days=7)
    with pytest.raises(ConfigError, match=r"\$\.archive\.retain_days: bucket records has no object lock"):
        S3Store(archive, None)


def test_bytes_that_were_altered_on_the_way_are_refused_by_the_server(server: S3Server, credentials: None) -> None:
    archive = server.archive("records", prefix="altered")
    with closing(S3Store(archive, None)) as store:
        with pytest.raises(StoreError, match="entries/x"):
            store.put("entries/x", BODY + b"!", SHA)
        assert store.digest("entries/x") is None


def test_an_object_without_a_checksum_of_its_whole_is_read_back(server: S3Server, credentials: None) -> None:
    with server.client() as client:
        where = {"Bucket": "records", "Key": "parts/entries/x"}
        upload = client.create_multipart_upload(**where)["UploadId"]
        part = client.upload_part(**where, UploadId=upload, PartNumber=1, Body=BODY)
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload=parts)
    with closing(S3Store(server.archive("records", prefix="parts"), None)) as store:
        assert store.digest("entries/x") == SHA


def test_a_wrong_key_a_missing_bucket_and_a_dead_server_are_told_apart(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigError, match="no credential archive-access-key.*LoadCredential=archive-access-key:FILE"):
        S3Store(server.archive("records"), None)
    for name, value in give_credentials(tmp_path / "wrong", secret="wrong").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreError, match=ONE_LINE.format("SignatureDoesNotMatch")):
        S3Store(server.archive("records"), None)
    give_credentials(tmp_path / "wrong")
    with pytest.raises(StoreError, match=ONE_LINE.format("s3://nowhere")):
        S3Store(server.archive("nowhere"), None)
    monkeypatch.setattr("daemon.uplink.s3.CONNECT_S", 1)
    with pytest.raises(StoreError, match=ONE_LINE.format("127.0.0.1:9")):
        S3Store(S3Server("http://127.0.0.1:9").archive("records"), None)
    with pytest.raises(ConfigError, match="authority"):
        S3Store(server.archive("records"), tmp_path / "no.pem")


class Dying:
    """A store whose process is killed at the n-th call that writes, before or behind it."""

    def __init__(self, store: S3Store, call: int, *, behind: bool) -> None:
        self._store, self._left, self._behind = store, call, behind

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def put(self, path: str, data: bytes, sha256: str) -> None:
        self._left -= 1
        if not self._left and not self._behind:
            os._exit(KILLED)
        self._store.put(path, data, sha256)
        if not self._left:
            os._exit(KILLED)


def _killed(archive: S3Archive, device: Device, call: int) -> bool:
    pid = os.fork()
    if not pid:
        ship(device.sources, Dying(S3Store(archive, None), call, behind=bool(call % 2)), Mark())
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == KILLED


def test_an_archive_in_a_bucket_killed_at_any_put_goes_on_and_passes_the_drill(
    server: S3Server, credentials: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = server.archive("locked", prefix="device/1", retain_days=LOCKED_DAYS)
    with closing(Device(tmp_path / "box" / "state")) as device:
        device.open_batch()
        device.inspect(20, images=2)
        device.checkpoint()
        call = 0
        while _killed(archive, device, call := call + 3):
            if call == GROWN_AT:
                device.inspect(1)
                device.checkpoint()
        assert call > GROWN_AT
        with closing(S3Store(archive, None)) as store:
            shipped = ship(device.sources, store, Mark(), always=True)
            assert shipped is not None and shipped.mark.size == device.ledger.head.size
        place = ("s3://locked/device/1", "--endpoint", server.endpoint)
        assert cli.main(["backup", *place, "--state", str(device.state)]) == 0
        assert f"{shipped.mark.size} entries, 2 images, 4 documents" in capsys.readouterr().out
        assert cli.main(["restore", *place, "--drill"]) == 0
        assert f"drill passed: {shipped.mark.size} entries" in capsys.readouterr().out


def test_uplink_waits_for_a_server_that_is_down_and_ships_when_it_is_back(
    server: S3Server, credentials: None, tmp_path: Path
) -> None:
    """The same server is down behind one port and up behind another: the configuration changes, the records wait."""
    uplink, bucket = UplinkProcess(tmp_path), "records"
    folder = {"CREDENTIALS_DIRECTORY": os.environ["CREDENTIALS_DIRECTORY"]}
    words = '\n[archive]\nkind = "s3"\nendpoint = "{}"\nbucket = "{}"\nprefix = "box"\nevery_s = 0.2\n'
    try:
        with recording(tmp_path, words.format("http://127.0.0.1:9", bucket)) as box:
            size = signed_size(tmp_path)
            uplink.start(**folder)
            uplink.awaits("the archive is out of reach, nothing is lost, trying again")
            assert uplink.stop() == 0
            box.station.write_text(station_text(words.format(server.endpoint, bucket)))
            uplink.start(**folder)
            row = f"SELECT size FROM archived WHERE target = 's3://{bucket}/box'"
            until(lambda: box.look(row)[:1] == [(size,)], f"nothing is on record: {uplink.said}")
            uplink.awaits("is not locked: retain_days = 0")
            assert uplink.stop() == 0
    finally:
        uplink.stop(signal.SIGKILL)
