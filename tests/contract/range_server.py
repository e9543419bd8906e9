"""A static web server with ranges on 127.0.0.1, which can cut answers off, forget about ranges, or send elsewhere."""

import functools
import gzip
import http.server
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Behaviour:
    """What the server does next, and what it was asked. `cut_after`: bytes of a body over 100 kB, then silence.

    `swell`: every answer is a compressed one that becomes as many bytes. `connections`: how many were taken.
    """

    cut_after: int | None = None
    ranges: bool = True
    redirect: str | None = None
    swell: int = 0
    connections: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    sent: int = 0


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behaviour: Behaviour

    def setup(self) -> None:
        super().setup()
        self.behaviour.connections += 1

    def do_GET(self) -> None:
        behaviour = self.behaviour
        wanted = self.headers.get("Range", "")
        behaviour.asked.append((self.path, wanted))
        file = Path(self.translate_path(self.path))
        if behaviour.redirect:
            self._head(302, 0, Location=behaviour.redirect)
        elif behaviour.swell:
            body = gzip.compress(bytes(behaviour.swell))
            self._head(200, len(body), **{"Content-Encoding": "gzip"})
            self.wfile.write(body)
        elif not file.is_file():
            self._head(404, 0)
        else:
            start = re.match(r"bytes=(\d+)-", wanted) if behaviour.ranges else None
            self._send(file.read_bytes(), int(start[1]) if start else 0)

    def _send(self, data: bytes, start: int) -> None:
        body = data[start:]
        extra = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        self._head(206 if start else 200, len(body), **{name.replace("_", "-"): text for name, text in extra.items()})
        cut = self.behaviour.cut_after
        if cut is not None and len(data) > 100_000:
            body = body[:cut]
            self.close_connection = True
        self.wfile.write(body)
        self.behaviour.sent += len(body)

    def _head(self, status: int, length: int, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name http.server gives it
        pass


@contextmanager
def range_server(folder: Path, tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, Behaviour]]:
    """Serve `folder`, behind TLS if `tls` is given; yield its address and how it behaves."""
    behaviour = Behaviour()
    handler = type("Handler", (_Handler,), {"behaviour": behaviour})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
    server.daemon_threads = False
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}", behaviour
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
