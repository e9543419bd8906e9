"""Foreign Modbus peers as processes: tests/peers/modbus_peer.c on Debian's libmodbus, and mbpoll."""

import os
import pty
import select
import shutil
import subprocess
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "peers" / "modbus_peer.c"


def compile_peer(folder: Path) -> Path:
    """Compile the C peer, or skip with what it needs."""
    needed = "needs a C compiler and libmodbus: apt-get install gcc pkg-config libmodbus-dev"
    if not all(shutil.which(name) for name in ("gcc", "pkg-config")):
        pytest.skip(needed)
    question = ["pkg-config", "--cflags", "--libs", "libmodbus"]
    flags = subprocess.run(question, capture_output=True, text=True, check=False)
    if flags.returncode:
        pytest.skip(needed)
    program = folder / "modbus_peer"
    command = ["gcc", "-Wall", "-Wextra", "-Werror", "-O1", "-o", str(program), str(SOURCE), *flags.stdout.split()]
    subprocess.run(command, check=True, timeout=60)
    return program


def mbpoll(*arguments: str) -> dict[int, int]:
    """Poll holding registers once; returns what it printed by the reference it printed."""
    program = shutil.which("mbpoll")
    if program is None:
        pytest.skip("needs mbpoll: apt-get install mbpoll")
    command = [program, "-1", "-q", "-a", "1", "-o", "2", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("[")]
    return {int(word[0].strip("[]:")): int(word[1]) for word in lines}


class Foreign:
    """The C peer in one of its roles; ends when its standard input does."""

    def __init__(self, *command: str) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def ask(self, request: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(request + "\n")
        self._process.stdin.flush()
        return self.hear()

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()


class Served(Protocol):
    def fileno(self) -> int: ...
    def service(self) -> None: ...


@contextmanager
def served(*parts: Served) -> Iterator[None]:
    """Serve in a thread of its own, as the box's loop does."""
    quit_now = threading.Event()

    def loop() -> None:
        with select.epoll() as epoll:
            for part in parts:
                epoll.register(part.fileno(), select.EPOLLIN)
            while not quit_now.is_set():
                epoll.poll(0.02)
                for part in parts:
                    part.service()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        quit_now.set()
        thread.join()


class Cable:
    """Two ptys, their far ends joined: `ends` are the two plugs, as a null-modem cable has them."""

    def __init__(self) -> None:
        pairs = [pty.openpty(), pty.openpty()]
        self._inner = [pair[0] for pair in pairs]
        self._fds = [fd for pair in pairs for fd in pair]
        self._epoll = select.epoll()
        for fd in self._fds:
            tty.setraw(fd)
            os.set_blocking(fd, False)
        for fd in self._inner:
            self._epoll.register(fd, select.EPOLLIN)
        self.ends = [os.ttyname(pair[1]) for pair in pairs]

    def fileno(self) -> int:
        return self._epoll.fileno()

    def service(self) -> None:
        """Carry what is there from either side to the other."""
        for fd, _ in self._epoll.poll(0):
            other = self._inner[1] if fd == self._inner[0] else self._inner[0]
            os.write(other, os.read(fd, 4096))

    def close(self) -> None:
        self._epoll.close()
        for fd in self._fds:
            os.close(fd)
