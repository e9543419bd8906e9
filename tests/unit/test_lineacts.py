"""Acts from the command line: under the name of the operating system's user, and line clearance step by step."""

import argparse
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from rich.console import Console

from daemon.messages import Act, Answer, Ask, Hello, Status
from daemon.wire import Listener, Peer
from provisioning import batchacts
from provisioning.lineacts import ActRefused, act, clear, person, why
from provisioning.owners import OwnerError

STATUS = Status(
    "STOPPED", "automatic", "LINEWARDEN", "B", 1, "", [], {}, {}, [], [], {}, {}, 0, "",
    in_machine=["7.0.1", "7.0.2"], units_in_machine=2,
)  # fmt: skip


class Line:
    """Stands where an owner listens, in a thread of its own; `state` changes as PackML's Clear changes it."""

    def __init__(self, runtime: Path, state: str, process: str = "line") -> None:
        self.state, self.refusal = state, ""
        self.acts: list[Act] = []
        self._listener = Listener(runtime / f"{process}.sock")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        peers: list[Peer] = []
        while not self._over.wait(0.005):
            if peer := self._listener.accept():
                peers.append(peer)
            for peer in list(peers):
                try:
                    while (message := peer.receive()) is not None:
                        self._answer(peer, message)
                except Exception:
                    peers.remove(peer)
                    peer.close()
        for peer in peers:
            peer.close()

    def _answer(self, peer: Peer, message: object) -> None:
        if isinstance(message, Ask):
            peer.send(replace(STATUS, state=self.state))
        elif isinstance(message, Act):
            self.acts.append(message)
            if message.kind == "clear" and self.state == "ABORTED":
                self.state = "STOPPED"
            peer.send(Answer(not self.refusal, self.refusal or f"{message.kind}: done"))
        else:
            assert isinstance(message, Hello)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    line = Line(tmp_path, "STOPPED")
    yield line
    line.close()


def _console() -> Console:
    return Console(file=io.StringIO(), width=120)


def test_an_act_carries_the_persons_name_and_reason(line: Line, tmp_path: Path) -> None:
    assert act(tmp_path, "reset", "", "lamp changed") == "reset: done"
    (done,) = line.acts
    assert (done.kind, done.actor, done.reason) == ("reset", person(), "lamp changed")


def test_a_refusal_is_one_line(line: Line, tmp_path: Path) -> None:
    line.refusal = "a person must reset first"
    with pytest.raises(OwnerError, match="line refuses: a person must reset first"):
        act(tmp_path, "start", "", "go")


@pytest.mark.parametrize("disposition", ["removed", "rejected"])
def test_clearance_lists_the_units_and_says_what_became_of_them(line: Line, tmp_path: Path, disposition: str) -> None:
    console = _console()
    clear(tmp_path, disposition, "guard opened", True, console)
    assert [(a.kind, a.old, a.new) for a in line.acts] == [("clear", "2 units", disposition)], "as they were shown"
    assert isinstance(console.file, io.StringIO)
    assert "2 units are in the machine: 7.0.1 7.0.2" in console.file.getvalue()


def test_clearance_of_an_aborted_line_leaves_aborted_first(line: Line, tmp_path: Path) -> None:
    line.state = "ABORTED"
    clear(tmp_path, "removed", "x", True, _console())
    assert [(a.kind, a.new) for a in line.acts] == [("clear", ""), ("clear", "removed")]


def test_a_running_line_is_not_cleared(line: Line, tmp_path: Path) -> None:
    line.state = "EXECUTE"
    with pytest.raises(ActRefused, match="in EXECUTE: line clearance takes a stopped line"):
        clear(tmp_path, "removed", "x", True, _console())
    assert line.acts == []


@pytest.mark.parametrize(("disposition", "says"), [("", "--removed or --rejected"), ("removed", "add --yes")])
def test_where_nobody_can_be_asked_nothing_happens(
    line: Line, tmp_path: Path, disposition: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(ActRefused, match=says):
        clear(tmp_path, disposition, "x", False, _console())
    assert line.acts == []


class Terminal(io.StringIO):
    """A person at the keyboard."""

    def isatty(self) -> bool:
        return True


def test_a_person_is_asked_why(monkeypatch: pytest.MonkeyPatch) -> None:
    console = _console()
    monkeypatch.setattr("sys.stdin", Terminal("  the lamp was dark \n"))
    assert why(None, console) == "the lamp was dark"
    assert isinstance(console.file, io.StringIO) and console.file.getvalue() == "Why? "
    assert why(" lamp ", console) == "lamp", "who says it at once is not asked"


@pytest.mark.parametrize("answer", ["\n", "   \n", "...\n"])
def test_an_answer_that_says_nothing_is_no_reason(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    with pytest.raises(ActRefused, match="no reason was given"):
        why(None, _console())


def test_a_terminal_that_goes_away_is_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(""))
    with pytest.raises(ActRefused, match="no reason was given"):
        why(None, _console())


@pytest.mark.parametrize(
    ("words", "kind", "new"), [(["open", "B7"], "batch-open", "B7"), (["close"], "batch-close", "")]
)
def test_a_batch_is_opened_and_closed_by_a_person_with_a_reason(
    line: Line, tmp_path: Path, words: list[str], kind: str, new: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder = Line(tmp_path, "", "recorder")
    try:
        parser = argparse.ArgumentParser()
        batchacts.add(parser.add_subparsers())
        parsed = parser.parse_args([*words, "--reason", "shift begins", "--runtime", str(tmp_path)])
        assert parsed.run(parsed) == 0 and f"{kind}: done" in capsys.readouterr().out
        (done,) = recorder.acts
        assert (done.kind, done.actor, done.reason, done.new) == (kind, person(), "shift begins", new)
        recorder.refusal = "no batch is open"
        with pytest.raises(OwnerError, match="recorder refuses: no batch is open"):
            parsed.run(parsed)
    finally:
        recorder.close()
