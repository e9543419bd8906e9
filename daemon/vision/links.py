"""The sockets of `vision` to line, recorder and cameras: connected, polled and reconnected by thread `infer`."""

import contextlib
import logging
import os
import select
from collections.abc import Iterator
from pathlib import Path

from daemon.messages import PROTO, Hello
from daemon.wire import Message, Peer, WireError, connect

FIRST_RETRY_NS = 20_000_000
LAST_RETRY_NS = 500_000_000
BURST = 64

_log = logging.getLogger(__name__)


class Link:
    """One connection to the owner of `path`, or the wish for one. Retries with a doubling pause."""

    def __init__(self, process: str, path: Path, hello: Hello) -> None:
        self.process = process
        self.path = path
        self.peer: Peer | None = None
        self.greeted = False
        self._hello = hello
        self._pause_ns = FIRST_RETRY_NS
        self._next_ns = 0

    def try_connect(self, now_ns: int) -> bool:
        """Connect when a try is due; True if a new connection stands."""
        if self.peer or now_ns < self._next_ns:
            return False
        self.peer = connect(self.path, self._hello)
        if self.peer is None:
            self._next_ns = now_ns + self._pause_ns
            self._pause_ns = min(self._pause_ns * 2, LAST_RETRY_NS)
            return False
        self._pause_ns = FIRST_RETRY_NS
        self.greeted = False
        return True

    def messages(self) -> Iterator[tuple[Message, list[int]]]:
        """Yield what waits, at most BURST messages; descriptors that come along are closed after the next step.

        Raises:
            WireError: the peer is gone, sent nonsense, or did not greet as the process it should be.
        """
        for _ in range(BURST):
            if self.peer is None:
                return
            message, fds = self.peer.receive_fds()
            try:
                if message is None:
                    return
                if self.greeted:
                    yield message, fds
                else:
                    self._greet(message)
            finally:
                for fd in fds:
                    os.close(fd)

    def send(self, message: Message) -> None:
        """Send if connected.

        Raises:
            WireError: the peer is gone or does not read.
        """
        if self.peer:
            self.peer.send(message)

    def _greet(self, message: Message) -> None:
        if not isinstance(message, Hello) or message.proto != PROTO or message.process != self.process:
            raise WireError(f"{self.path}: expected Hello of {self.process}, protocol {PROTO}; install one release")
        self.greeted = True
        if self.peer:
            self.peer.process, self.peer.name = message.process, message.name


class Links:
    """All links and the one epoll they share."""

    def __init__(self, links: list[Link]) -> None:
        self.all = links
        self._epoll = select.epoll()
        self._by_fd: dict[int, Link] = {}

    def connect_due(self, now_ns: int) -> list[Link]:
        """Try the links that are down; return those that came up."""
        risen = [link for link in self.all if link.try_connect(now_ns)]
        for link in risen:
            if link.peer:
                self._by_fd[link.peer.fileno()] = link
                self._epoll.register(link.peer.fileno(), select.EPOLLIN)
                _log.info("connected to %s", link.path.name)
        return risen

    def wait(self, timeout_s: float) -> list[Link]:
        """Return the links with something to read, in the order they were given."""
        ready = {fd for fd, _ in self._epoll.poll(timeout_s)}
        return [link for fd, link in sorted(self._by_fd.items(), key=self._rank) if fd in ready]

    def drop(self, link: Link, cause: Exception) -> None:
        """Close a link; it is tried again later."""
        if link.peer is None:
            return
        _log.warning("connection to %s ended: %s", link.path.name, cause)
        fd = link.peer.fileno()
        with contextlib.suppress(OSError):
            self._epoll.unregister(fd)
        del self._by_fd[fd]
        link.peer.close()
        link.peer = None

    def close(self) -> None:
        for link in self.all:
            if link.peer:
                link.peer.close()
                link.peer = None
        self._by_fd.clear()
        self._epoll.close()

    def _rank(self, item: tuple[int, Link]) -> int:
        return self.all.index(item[1])
