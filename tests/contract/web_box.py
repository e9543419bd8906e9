"""A web server on loopback: static files with ranges, and whatever a thief of it would answer instead."""

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Fault = Callable[[BaseHTTPRequestHandler], None]


class WebBox(ThreadingHTTPServer):
    """`faults`: path -> what is done instead. `asked`: (method, path) in order. `taken`: bodies by path."""

    daemon_threads = False

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.scheme = "http"
        self.faults: dict[str, Fault] = {}
        self.asked: list[tuple[str, str]] = []
        self.taken: dict[str, bytes] = {}

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}"

    def count(self, path: str) -> int:
        return sum(path == asked for _, asked in self.asked)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WebBox

    def do_GET(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def _serve(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append((self.command, path))
        self.close_connection = True
        if length := int(self.headers.get("Content-Length", "0")):
            self.server.taken[path] = self.rfile.read(length)
        try:
            if path in self.server.faults:
                self.server.faults[path](self)
            elif self.command == "GET":
                self._file(self.server.folder / path.lstrip("/"))
            else:
                answer(200)(self)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client had enough

    def _file(self, path: Path) -> None:
        if not path.is_file():
            answer(404)(self)
            return
        data = path.read_bytes()
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        extra = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        answer(206 if start else 200, data[start:], **extra)(self)


def answer(status: int, body: bytes = b"", **headers: str) -> Fault:
    """Return a whole answer; `Retry_After` in `headers` is Retry-After."""

    def done(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", str(len(body)))
        request.send_header("Connection", "close")
        request.end_headers()
        request.wfile.write(body)

    return done


def endless(request: BaseHTTPRequestHandler) -> None:
    """Answer without end, as fast as the client takes it."""
    request.send_response(200)
    request.send_header("Connection", "close")
    request.end_headers()
    while True:
        request.wfile.write(b" " * 65536)


def dripping(request: BaseHTTPRequestHandler) -> None:
    """Answer one byte after another, for ten seconds at most."""
    request.send_response(200)
    request.send_header("Connection", "close")
    request.end_headers()
    for _ in range(200):
        request.wfile.write(b" ")
        request.wfile.flush()
        time.sleep(0.05)


def dripping_headers(request: BaseHTTPRequestHandler) -> None:
    """Answer one header line after another, for ten seconds at most."""
    request.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + b"HTTP/1.1 200 OK\r\n")
    for number in range(200):
        request.wfile.write(b"X-%d: x\r\n" % number)
        request.wfile.flush()
        time.sleep(0.05)


def cut(data: bytes, at: int) -> Fault:
    """Return an answer that is announced whole and ends early."""

    def done(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.send_header("Connection", "close")
        request.end_headers()
        request.wfile.write(data[:at])

    return done


@contextmanager
def web_box(folder: Path, tls: ssl.SSLContext | None = None) -> Iterator[WebBox]:
    """Run a server over a folder; with `tls` it is an https server."""
    box = WebBox(folder)
    if tls is not None:
        box.scheme = "https"
        box.socket = tls.wrap_socket(box.socket, server_side=True)
    thread = threading.Thread(target=box.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield box
    finally:
        box.shutdown()
        thread.join()
        box.server_close()
