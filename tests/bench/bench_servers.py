"""What bench_fleet measures with: a real static web server, a relay that counts bytes, the CPU time of a process."""

import os
import selectors
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hawkbit_box import PYTHON, free_port

from fleet import issuing
from signing.certificates import Subject, Usage
from signing.identity import device_id
from signing.key_file import private_pem

SERVE = """
import sys, uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
folder, port, *files = sys.argv[1:]
tls = dict(zip(("ssl_keyfile", "ssl_certfile", "ssl_ca_certs"), files)) | ({"ssl_cert_reqs": 2} if files else {})
app = Starlette(routes=[Mount("/", StaticFiles(directory=folder))])
uvicorn.run(app, host="127.0.0.1", port=int(port), access_log=False, **tls)
"""
TICKS = os.sysconf("SC_CLK_TCK")
KEY, CERTIFICATE, AUTHORITY, CLIENT = "key.pem", "server.pem", "authority.pem", "client.pem"


class Relay:
    """Passes bytes between many clients and one server, and counts them. `requests`: GET, PUT, POST going up."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._stop, self._wake = socket.socketpair()
        self.port = self._listener.getsockname()[1]
        self.up = self.down = self.requests = 0

    def reset(self) -> None:
        self.up = self.down = self.requests = 0

    def run(self) -> None:
        with selectors.DefaultSelector() as watched:
            watched.register(self._listener, selectors.EVENT_READ)
            watched.register(self._stop, selectors.EVENT_READ)
            while True:
                for key, _ in watched.select():
                    if key.fileobj is self._stop:
                        for pair in [key.data for key in watched.get_map().values() if key.data]:
                            pair[0].close()
                        return
                    if key.fileobj is self._listener:
                        self._accept(watched)
                    elif key.fileobj.fileno() >= 0:  # not closed in this very round, with its other half
                        self._pass(watched, *key.data)

    def close(self) -> None:
        self._wake.send(b"x")

    def finish(self) -> None:
        for one in (self._listener, self._stop, self._wake):
            one.close()

    def _accept(self, watched: selectors.BaseSelector) -> None:
        client, _ = self._listener.accept()
        server = socket.create_connection(("127.0.0.1", self._server_port))
        for one in (client, server):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        watched.register(client, selectors.EVENT_READ, (client, server, True))
        watched.register(server, selectors.EVENT_READ, (server, client, False))

    def _pass(self, watched: selectors.BaseSelector, source: socket.socket, sink: socket.socket, is_up: bool) -> None:
        try:
            data = source.recv(65536)
            sink.sendall(data)
        except OSError:
            data = b""
        if not data:
            for one in (source, sink):
                watched.unregister(one)
                one.close()
        elif is_up:
            self.up += len(data)
            self.requests += data.startswith((b"GET ", b"PUT ", b"POST "))
        else:
            self.down += len(data)


@contextmanager
def relay(server_port: int) -> Iterator[Relay]:
    """Run a relay in front of a server."""
    between = Relay(server_port)
    thread = threading.Thread(target=between.run)
    thread.start()
    try:
        yield between
    finally:
        between.close()
        thread.join()
        between.finish()


@contextmanager
def static_server(folder: Path, tls: Path | None) -> Iterator[tuple[int, int]]:
    """Serve a folder; yield (process id, port). `tls`: a folder of `tls_files`; clients need a certificate then."""
    port = free_port()
    files = [str(tls / name) for name in (KEY, CERTIFICATE, AUTHORITY)] if tls else []
    log = subprocess.DEVNULL
    process = subprocess.Popen([PYTHON, "-c", SERVE, str(folder), str(port), *files], stdout=log, stderr=log)
    try:
        end = time.monotonic() + 30.0
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
                break
            except OSError:
                assert time.monotonic() < end, "the static server does not start"
                assert process.poll() is None, "the static server ended"
                time.sleep(0.05)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait(timeout=20)


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has had, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def tls_files(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Write a server's files of an authority of their own; return the folder and a device's context."""
    key, now = generate_private_key(SECP256R1()), datetime.now(UTC)
    issuer = issuing.Issuer(key, issuing.root(key, "Bench", now), now)
    server, client = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
    public = client.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    subject = Subject("device", "line", device_id(public))
    shown = issuing.certificate(issuer, subject, public, Usage.CLIENT, timedelta(days=1))
    own = issuing.server(issuer, "127.0.0.1", server.public_key())
    (folder / KEY).write_bytes(private_pem(server))
    (folder / CERTIFICATE).write_bytes(own.public_bytes(Encoding.PEM))
    (folder / AUTHORITY).write_bytes(issuer.certificate.public_bytes(Encoding.PEM))
    (folder / CLIENT).write_bytes(private_pem(client) + shown.public_bytes(Encoding.PEM))
    context = ssl.create_default_context(cafile=folder / AUTHORITY)
    context.load_cert_chain(folder / CLIENT)
    return folder, context
