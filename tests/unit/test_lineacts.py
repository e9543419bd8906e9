"""Acts from the command line: under the name of the operating system's user, and line clearance step by step."""

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from rich.console import Console

from daemon.messages import Act, Answer, Ask, Hello, Status
from daemon.wire import Listener, Peer
from provisioning.lineacts import ActRefused, act, clear, person
from provisioning.owners import OwnerError

STATUS = Status(
    "STOPPED", "automatic", "LINEWARDEN", "B", 1, "", [], {}, {}, [], [], {}, {}, 0, "",
    in_machine=["7.0.1", "7.0.2"], units_in_machine=2,
)  # fmt: skip


class Line:
    """Stands where the line listens, in a thread of its own; `state` changes as PackML's Clear changes it."""

    def __init__(self, runtime: Path, state: str) -> None:
        self.state, self.refusal = state, ""
        self.acts: list[Act] = []
        self._listener = Listener(runtime / "line.sock")
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
    assert [(a.kind, a.new) for a in line.acts] == [("clear", disposition)]
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
