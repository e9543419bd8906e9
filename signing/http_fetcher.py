"""A repository behind HTTP(S): static files, ranges, and nothing that an environment variable or a redirect can bend.

Every wait has a time-out, and a server that drips is left, so that it holds up nobody. The body's length is compared
with what the server announced (urllib3 does) and with what was signed (the caller). Nothing is decompressed: a small
answer could swell past any limit.
"""

import re
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from signing.fetchers import CHUNK_BYTES, Bytes, Fetcher, steps
from signing.limited_http import Limit, limited_pool

CONNECT_S = 10.0
READ_S = 20.0
ANSWER_S = 30.0
PATIENCE_S = 60.0
SLOWEST_BYTES_S = 1000
_WHOLE, _PART = 200, 206
_RANGE = re.compile(r"bytes (\d+)-")


class HttpFetcher(Fetcher):
    """Reads `base_url`/metadata/… over one kept connection; to be closed.

    `retry_after`: the header of that name of the last answer that was not the file, "" for none.

    Args:
        tls: the device's certificate and the authorities it believes; None: the system's authorities.
    """

    def __init__(self, base_url: str, tls: ssl.SSLContext | None = None) -> None:
        self.where = base_url.rstrip("/")
        self.retry_after = ""
        timeout = urllib3.Timeout(connect=CONNECT_S, read=READ_S)
        self._limit = Limit()
        self._pool = limited_pool(self._limit, tls, timeout)

    def close(self) -> None:
        self._pool.clear()

    def open_from(self, path: str, start: int) -> tuple[int, Bytes]:
        response = self._answer(path, start)
        if response.status not in (_WHOLE, _PART):
            response.close()
            self.retry_after = response.headers.get("Retry-After", "")
            raise DownloadHTTPError(f"{path}: the server answers {response.status}", response.status)
        found = _RANGE.match(response.headers.get("Content-Range", "")) if response.status == _PART else None
        begins = int(found[1]) if found else 0
        if begins not in (0, start):
            response.close()
            raise DownloadError(f"{path}: asked from byte {start}, the server sends from {begins}")
        return begins, _body(response, path, self._limit)

    def _answer(self, path: str, start: int) -> BaseHTTPResponse:
        url = f"{self.where}/{quote('/'.join(steps(path)))}"
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        self._limit.restart(ANSWER_S)
        with _as_download(path):
            return self._pool.request(
                "GET", url, headers=headers, preload_content=False, decode_content=False, redirect=False
            )


def _body(response: BaseHTTPResponse, path: str, limit: Limit) -> Bytes:
    began, got = time.monotonic(), 0
    try:
        with _as_download(path):
            while chunk := response.read1(CHUNK_BYTES, decode_content=False):
                got += len(chunk)
                yield chunk
                limit.restart(ANSWER_S)
                _hurry(path, got, time.monotonic() - began)
        response.release_conn()
    finally:
        if not response.closed:
            response.close()


def _hurry(path: str, got: int, took_s: float) -> None:
    if took_s > PATIENCE_S and got < took_s * SLOWEST_BYTES_S:
        raise SlowRetrievalError(f"{path}: {got} bytes in {took_s:.0f} s")


@contextmanager
def _as_download(path: str) -> Iterator[None]:
    try:
        yield
    except (HTTPError, OSError) as error:
        raise DownloadError(f"{path}: {type(error).__name__}: {error}") from error
