"""The index document: strict, and no name in it leaves a folder."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing.index import IndexInvalid, Kind, read_index

DIGEST = "ab" * 32
GOOD: dict[str, Any] = {
    "document": "index",
    "format": 1,
    "kind": "bundle",
    "name": "vial",
    "version": "1.0.0",
    "digest": DIGEST,
    "files": {"bundle.json": {"sha256": DIGEST, "size": 2}, "signatures/qa.sig": {"sha256": "cd" * 32, "size": 0}},
}


def _read(document: Any) -> Any:
    return read_index(json.dumps(document).encode(), Kind.BUNDLE, DIGEST)


def test_a_good_one_is_read() -> None:
    assert _read(GOOD).blobs() == {DIGEST: 2, "cd" * 32: 0}


@pytest.mark.parametrize(
    "change",
    [
        {"document": "bundle"},
        {"format": 2},
        {"kind": "recipe"},
        {"digest": "cd" * 32},
        {"extra": 1},
        {"files": {}},
        {"files": {"bundle.json": {"sha256": "cd" * 32, "size": 2}}},
        {"files": {**GOOD["files"], "x": {"sha256": DIGEST, "size": 3}}},
        {"files": {**GOOD["files"], "x": {"sha256": DIGEST.upper(), "size": 2}}},
        {"files": {**GOOD["files"], "x": {"sha256": DIGEST, "size": -1}}},
        {"files": {f"f{n}": GOOD["files"]["bundle.json"] for n in range(1025)}},
    ],
    ids=lambda change: str(change)[:40],
)
def test_what_differs_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(IndexInvalid):
        _read({**GOOD, **change})


@pytest.mark.parametrize("raw", [b"", b"[]", b"\xff", b"[" * 100_000, json.dumps(GOOD).encode()[:-1] + b',"name":"x"}'])
def test_what_is_no_json_object_or_says_a_thing_twice_is_refused(raw: bytes) -> None:
    with pytest.raises(IndexInvalid):
        read_index(raw, Kind.BUNDLE, DIGEST)


@given(st.text(min_size=1, max_size=20))
def test_no_name_leaves_the_folder(name: str) -> None:
    try:
        index = _read({**GOOD, "files": {**GOOD["files"], name: {"sha256": DIGEST, "size": 2}}})
    except IndexInvalid:
        return
    steps = name.split("/")
    assert name in index.files and len(steps) <= 2 and all(step and step[0] != "." for step in steps)
    assert len(steps) == 1 or steps[0] == "signatures"
