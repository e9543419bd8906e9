"""Byte streams to a PLC that never block: TCP and TLS; drivers/serial_transport.py has the serial line."""

import errno
import os
import socket
import ssl
from typing import Protocol

from drivers.errors import DeviceLost

CHUNK = 4096
TLS_RECORD = 16_384


class Transport(Protocol):
    """Opened, used, closed and opened again by a link; nothing here waits."""

    @property
    def name(self) -> str:
        """Where the peer is, for messages."""

    def fileno(self) -> int:
        """The descriptor, -1 while there is none."""

    def open(self) -> None:
        """Begin.

        Raises:
            DeviceLost: it cannot be begun.
        """

    def ready(self) -> bool:
        """Move the opening on; True once bytes can go both ways.

        Raises:
            DeviceLost: refused, unreachable, not trusted.
        """

    def receive(self) -> bytes:
        """Return what came, empty if nothing did.

        Raises:
            DeviceLost: the other end is gone.
        """

    def send(self, data: bytes) -> int:
        """Return how many bytes were taken.

        Raises:
            DeviceLost: the other end is gone.
        """

    def close(self) -> None:
        """Give the descriptor back; what was not sent is forgotten. May be called twice."""


class TcpTransport:
    """A TCP connection without delay (TCP_NODELAY). `host` is an IPv4 address: a name would have to be looked up."""

    def __init__(self, host: str, port: int) -> None:
        self.address = (host, port)
        self._sock: socket.socket | None = None

    @property
    def name(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"

    def fileno(self) -> int:
        return self._sock.fileno() if self._sock else -1

    def open(self) -> None:
        self.close()
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        failed = self._sock.connect_ex(self.address)
        if failed not in (0, errno.EINPROGRESS):
            raise DeviceLost(os.strerror(failed))

    def ready(self) -> bool:
        sock = self._open()
        failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed:
            raise DeviceLost(os.strerror(failed))
        try:
            sock.getpeername()
        except OSError:
            return False
        return True

    def receive(self) -> bytes:
        try:
            data = self._open().recv(CHUNK)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise DeviceLost(_text(error)) from error
        if not data:
            raise DeviceLost("closed by the PLC")
        return data

    def send(self, data: bytes) -> int:
        try:
            return self._open().send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise DeviceLost(_text(error)) from error

    def hand_over(self) -> socket.socket:
        """Return the connected socket, which is the caller's from now on."""
        sock, self._sock = self._open(), None
        return sock

    def close(self) -> None:
        if self._sock:
            self._sock.close()
        self._sock = None

    def _open(self) -> socket.socket:
        if self._sock is None:
            raise DeviceLost("not connected")
        return self._sock


class TlsTransport:
    """TLS over TCP, each side with a certificate; the PLC's must name the address it is reached at."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        self._tcp = TcpTransport(host, port)
        self._context = context
        self._tls: ssl.SSLSocket | None = None
        self._greeted = False

    @property
    def name(self) -> str:
        return f"{self._tcp.name} (TLS)"

    def fileno(self) -> int:
        return self._tls.fileno() if self._tls else self._tcp.fileno()

    def open(self) -> None:
        self.close()
        self._tcp.open()

    def ready(self) -> bool:
        try:
            if self._tls is None:
                if not self._tcp.ready():
                    return False
                self._tls = self._wrapped(self._tcp.hand_over())
            self._tls.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError as error:
            raise DeviceLost(_tls_text(error)) from error
        return True

    def receive(self) -> bytes:
        try:
            data = self._open().recv(TLS_RECORD)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return b""
        except OSError as error:
            raise DeviceLost(_tls_text(error)) from error
        if not data:
            raise DeviceLost("closed by the PLC")
        return data

    def send(self, data: bytes) -> int:
        try:
            return self._open().send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0
        except OSError as error:
            raise DeviceLost(_tls_text(error)) from error

    def close(self) -> None:
        self._tcp.close()
        if self._tls:
            self._tls.close()
        self._tls = None

    def _wrapped(self, sock: socket.socket) -> ssl.SSLSocket:
        try:
            host = self._tcp.address[0]
            return self._context.wrap_socket(sock, do_handshake_on_connect=False, server_hostname=host)
        except OSError:
            sock.close()
            raise

    def _open(self) -> ssl.SSLSocket:
        if self._tls is None:
            raise DeviceLost("not connected")
        return self._tls


def _text(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


def _tls_text(error: OSError) -> str:
    """Return who refused whom and why."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: the certificate of the PLC is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        reason = error.reason or str(error)
        return f"TLS: {'the PLC refuses our certificate: ' if 'ALERT' in reason else ''}{reason}"
    return _text(error)
