"""Supervision: a thread that ends takes the process with it, and the watchdog is fed only while every thread works."""

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.vision.main import supervise


class Turning:
    """Works until it is stopped, told to stand still after `turns_left`, or told to end."""

    def __init__(self, turns_left: int = -1, *, ends: bool = False) -> None:
        self.turns = 0
        self._left = turns_left
        self._ends = ends
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(0.005):
            if self._left == 0 and self._ends:
                return
            if self._left != 0:
                self.turns += 1
                self._left -= 1

    def stop(self) -> None:
        self._stopped.set()


@pytest.fixture
def pings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[bytes]]:
    """Plays systemd; returns what was said to it so far."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(tmp_path / "notify"))
    sock.setblocking(False)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "3000")

    def said() -> list[bytes]:
        messages = []
        try:
            while True:
                messages.append(sock.recv(1000))
        except BlockingIOError:
            sock.close()
            return messages

    return said


def test_a_stop_is_clean() -> None:
    stop = threading.Event()
    stop.set()
    assert supervise(stop, {"infer": Turning(), "keep": Turning()}) == os.EX_OK
    assert {thread.name for thread in threading.enumerate()}.isdisjoint({"infer", "keep"})


def test_a_thread_that_ends_ends_the_process(capsys: pytest.CaptureFixture[str]) -> None:
    assert supervise(threading.Event(), {"infer": Turning(), "keep": Turning(0, ends=True)}) == os.EX_SOFTWARE
    assert capsys.readouterr().err == "vision: thread keep ended; the process ends with it\n"


@pytest.mark.parametrize("hanging", [False, True])
def test_the_watchdog_is_fed_only_while_every_thread_works(pings: Callable[[], list[bytes]], hanging: bool) -> None:
    stop = threading.Event()
    timer = threading.Timer(0.4, stop.set)
    timer.start()
    supervise(stop, {"infer": Turning(0 if hanging else -1), "keep": Turning()})
    timer.join()
    said = pings()
    assert any(b"READY=1" in message for message in said)
    assert (b"WATCHDOG=1" in said) == (not hanging)
