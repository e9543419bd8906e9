"""HTTP connections whose reader has a time limit for all that it awaits: status, headers, sizes of chunks.

A socket's time-out begins anew with every byte, so a server that sends one header line a second, or `100 Continue` for
ever, holds up a reader that waits for the end of it. Here every read of the socket looks at one limit.
"""

import http.client
import io
import math
import socket
import ssl
import time
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class Limit:
    """Until when the answer under way may take, monotonic. One thread, one request at a time."""

    def __init__(self) -> None:
        self._end_s = math.inf

    def restart(self, seconds: float) -> None:
        """Give what is awaited next so much time."""
        self._end_s = time.monotonic() + seconds

    def check(self) -> None:
        """Raise TimeoutError once the time is over."""
        if time.monotonic() > self._end_s:
            raise TimeoutError("the answer takes too long")


class _Limited(io.RawIOBase):
    """The raw side of a response's file."""

    def __init__(self, raw: io.RawIOBase, limit: Limit) -> None:
        self._raw, self._limit = raw, limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._limit.check()
        return self._raw.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


def limited_pool(limit: Limit, tls: ssl.SSLContext | None, timeout: urllib3.Timeout) -> urllib3.PoolManager:
    """Return connections without retries, every read of which looks at `limit`."""

    class Response(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *more: Any, **words: Any) -> None:
            super().__init__(sock, *more, **words)
            self.fp: Any = io.BufferedReader(_Limited(self.fp.detach(), limit))

    class Http(HTTPConnection):
        response_class = Response

    class Https(HTTPSConnection):
        response_class = Response

    class HttpPool(HTTPConnectionPool):
        ConnectionCls = Http

    class HttpsPool(HTTPSConnectionPool):
        ConnectionCls = Https

    manager = urllib3.PoolManager(ssl_context=tls, timeout=timeout, retries=False)
    manager.pool_classes_by_scheme = {"http": HttpPool, "https": HttpsPool}
    return manager
