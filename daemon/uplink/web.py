"""Small requests to servers that may be anybody's: bounded answers, bounded time, no redirects, no proxies, no cookies.

Everything else (large files, ranges) is signing/fetchers.py.
"""

import re
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import urllib3

from signing.limited_http import Limit, limited_pool

LIMIT = 64 * 1024
CONNECT_S, READ_S, WHOLE_S = 5.0, 10.0, 20.0
AGENT = "linewarden"
LONGEST_LINE = 600
_OBJECT = re.compile(r"<[\w.]+(\(.*?\))? ?(object)? at 0x[0-9a-f]+>:? ?")


class WebError(Exception):
    """A server gave no usable answer; the text is one line. `retry_after_s`: how long it asked to be left alone."""

    def __init__(self, text: str, retry_after_s: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Web:
    """One way out, owned by uplink; to be closed."""

    pool: urllib3.PoolManager
    limit: Limit
    headers: Mapping[str, str]
    advance: Callable[[], None]

    def get(self, url: str) -> bytes:
        """Return what lies at a URL, at most LIMIT bytes.

        Raises:
            WebError: no answer in time, not 200, larger than allowed.
        """
        return self._ask("GET", url, None, {"Accept": "application/json"})

    def send(self, method: str, url: str, body: bytes) -> None:
        """Send JSON; the answer's body is not looked at.

        Raises:
            WebError: as `get`.
        """
        self._ask(method, url, body, {"Content-Type": "application/json"})

    def close(self) -> None:
        self.pool.clear()

    def _ask(self, method: str, url: str, body: bytes | None, headers: dict[str, str]) -> bytes:
        self.advance()
        self.limit.restart(WHOLE_S)
        try:
            answer = self.pool.request(
                method,
                url,
                body=body,
                headers={**self.headers, **headers},
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            try:
                data = self._body(answer, url)
            finally:
                answer.close()  # a connection in the middle of an answer is of no further use
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise WebError(f"{url}: {one_line(error)}") from error
        if not 200 <= answer.status < 300:
            asked = retry_after(answer.headers.get("Retry-After", ""))
            raise WebError(f"{url}: the server answers {answer.status}", asked)
        return data

    def _body(self, answer: urllib3.BaseHTTPResponse, url: str) -> bytes:
        data = bytearray()
        while chunk := answer.read1(LIMIT + 1 - len(data), decode_content=False):
            self.advance()
            data += chunk
            if len(data) > LIMIT:
                raise WebError(f"{url}: the answer is larger than {LIMIT} bytes")
        return bytes(data)


def open_web(tls: ssl.SSLContext | None, token: str, advance: Callable[[], None]) -> Web:
    """Return a client.

    Args:
        tls: whom to believe and who this device is, None for plain http to this computer itself.
        token: a whole Authorization header, "" for none.
        advance: called before each request, which takes 25 s at most, and with each piece of an answer.
    """
    headers = {"User-Agent": AGENT} | ({"Authorization": token} if token else {})
    timeout = urllib3.Timeout(connect=CONNECT_S, read=READ_S)
    limit = Limit()
    return Web(limited_pool(limit, tls, timeout), limit, headers, advance)


def retry_after(text: str, now_s: float | None = None) -> float:
    """Return the seconds that a Retry-After header asks for, 0 where it asks for nothing that can be read.

    Args:
        now_s: the time of day, None = the clock's.
    """
    if not text or (text.isascii() and text.isdigit()):
        return float(text[:9] or 0)
    try:
        at_s = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return max(0.0, at_s - (time.time() if now_s is None else now_s))


def one_line(error: Exception) -> str:
    """Return what an error says as one line that is the same each time: without the addresses of objects."""
    return " ".join(_OBJECT.sub("", str(error)).split())[:LONGEST_LINE] or type(error).__name__
