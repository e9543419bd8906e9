"""[updates] of the station file: what it refuses, and in which words."""

import msgspec
import pytest

from daemon.config_updates import Updates, unfit_updates
from signing.permission import RESERVED

WORDS: dict[str, object] = {"line": "line-3", "device": "filler-3"}
PLACES = ("repository", "orchestrator", "status")


@pytest.mark.parametrize("key", PLACES)
@pytest.mark.parametrize("url", ["https://fleet.example", "https://fleet.example:8443/a/b", "http://127.0.0.1:8080"])
def test_a_way_that_nobody_listens_to_is_taken(key: str, url: str) -> None:
    assert unfit_updates(Updates(**{"repository": "https://fleet.example"} | WORDS | {key: url})) == []


@pytest.mark.parametrize("key", PLACES)
@pytest.mark.parametrize(
    "url",
    [
        "http://fleet.example",
        "http://127.0.0.1.evil.example",
        "https://key:secret@fleet.example",
        "https://fleet.example/?a=b",
        "https://fleet.example:port/",
        "file:///etc/passwd",
        "fleet.example",
        "http://[::1",
    ],
)
def test_a_way_that_others_could_listen_to_is_refused(key: str, url: str) -> None:
    texts = unfit_updates(Updates(**{"repository": "https://fleet.example"} | WORDS | {key: url}))
    assert [text.partition(":")[0] for text in texts] == [f"$.updates.{key}"]


def test_orders_without_a_repository_are_refused() -> None:
    (text,) = unfit_updates(Updates(orchestrator="https://hawkbit.example", **WORDS))
    assert text.startswith("$.updates.orchestrator: needs a repository")


@pytest.mark.parametrize("line", sorted(RESERVED))
def test_a_line_cannot_have_the_name_of_another_document(line: str) -> None:
    (text,) = unfit_updates(Updates(line=line, device="filler-3"))
    assert text.startswith(f"$.updates.line: {line} is the name of another document")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"line": "../x"}, "line"),
        ({"line": "x\n"}, "line"),
        ({"device": ""}, "device"),
        ({"tenant": "a/b"}, "tenant"),
        ({"poll_s": 1}, "poll_s"),
        ({"poll_s": 1e9}, "poll_s"),
        ({"status_s": 0}, "status_s"),
        ({"identity": "password"}, "identity"),
        ({"token": "abc"}, "token"),
    ],
)
def test_a_wrong_value_names_its_key(change: dict[str, object], named: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=named):
        msgspec.convert(WORDS | change, Updates)


def test_no_updates_and_a_stick_alone_have_nothing_unfit() -> None:
    assert unfit_updates(None) == unfit_updates(msgspec.convert(WORDS, Updates)) == []
