"""[archive] of the station file: what it refuses, and in which words."""

import msgspec
import pytest

from daemon.config_archive import Archive, DirectoryArchive, S3Archive, unfit

STORE = {"kind": "s3", "endpoint": "https://store.plant.example", "bucket": "records"}


@pytest.mark.parametrize(
    "endpoint", ["https://store.plant.example", "https://10.0.0.7:8334/", "http://127.0.0.1:8333", "http://[::1]:8333"]
)
def test_a_way_that_nobody_listens_to_is_taken(endpoint: str) -> None:
    assert unfit(S3Archive(endpoint=endpoint, bucket="records")) == []


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://store.plant.example",
        "http://10.0.0.7:8333",
        "http://127.0.0.1.evil.example",
        "https://key:secret@store.plant.example",
        "https://store.plant.example/path",
        "ftp://store",
        "https://",
        "store",
        "http://[::1",
    ],
)
def test_a_way_that_others_could_listen_to_is_refused(endpoint: str) -> None:
    (text,) = unfit(S3Archive(endpoint=endpoint, bucket="records"))
    assert text.startswith("$.archive.endpoint: write https://")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kind": "tape"}, "tape"),
        ({"bucket": "No Bucket"}, "bucket"),
        ({"prefix": "/x"}, "prefix"),
        ({"secret_key": "abc"}, "secret_key"),
        ({"every_s": 0}, "every_s"),
        ({"retain_days": -1}, "retain_days"),
    ],
)
def test_a_wrong_value_names_its_key(change: dict[str, object], named: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=named):
        msgspec.convert(STORE | change, Archive)


def test_a_folder_and_no_archive_have_nothing_unfit() -> None:
    assert unfit(None) == unfit(msgspec.convert({"kind": "directory", "path": "archive"}, DirectoryArchive)) == []
