"""A real hawkBit DDI server (goosebit) on loopback: its own database and port, ended by its process id."""

import os
import secrets
import socket
import sqlite3
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3

SERVE = """
import asyncio, sys, uvicorn
from tortoise import Tortoise
from goosebit.db.config import TORTOISE_CONF

async def make_schema():
    await Tortoise.init(config=TORTOISE_CONF)
    await Tortoise.generate_schemas()
    await Tortoise.close_connections()

asyncio.run(make_schema())
uvicorn.run("goosebit:app", host="127.0.0.1", port=int(sys.argv[1]), access_log=False)
"""
START_S = 30.0
PYTHON = Path(__file__).resolve().parents[2] / ".venv-peers" / "bin" / "python"
RUNNING, ERROR, FINISHED = 3, 4, 5


class Hawkbit:
    """The server as its operator uses it: through its own REST interface. Every order is one software with one file."""

    def __init__(self, folder: Path, port: int, pid: int) -> None:
        self.pid, self.port = pid, port
        self.url = f"http://127.0.0.1:{port}"
        self._database = folder / "goosebit.sqlite"
        self._orders = 0
        self._pool = urllib3.PoolManager(retries=False)
        user = {"username": "operator", "password": secrets.token_hex(8)}
        token = self._call("POST", "/setup", fields=user, encode_multipart=False)["access_token"]
        self._headers = {"Authorization": f"Bearer {token}"}

    def order(self, device: str, filename: str) -> int:
        """Assign a new software, whose file has this name, to a device; return its number."""
        self._orders += 1
        fields = {"file": (filename, image(f"1.0.{self._orders}"))}
        number = self._call("PUT", "/api/v1/software", fields=fields, headers=self._headers)["id"]
        words = {"devices": [device], "software": str(number), "force_update": True}
        self._call("PUT", "/api/v1/devices", json=words, headers=self._headers)
        return int(str(number))

    def device(self, name: str) -> dict[str, object]:
        """Return the server's own row about a device."""
        with closing(sqlite3.connect(self._database, timeout=10)) as db:
            db.row_factory = sqlite3.Row
            return dict(db.execute("SELECT * FROM device WHERE id = ?", (name,)).fetchone() or {})

    def close(self) -> None:
        self._pool.clear()

    def _call(self, method: str, path: str, **words: Any) -> dict[str, object]:
        answer = self._pool.request(method, self.url + path, timeout=20.0, **words)
        assert answer.status == 200, f"goosebit {method} {path}: {answer.status} {answer.data[:300]!r}"
        found = answer.json()
        return found if isinstance(found, dict) else {}


def image(version: str) -> bytes:
    """Return the smallest SWU image that goosebit takes: a cpio archive that begins with sw-description."""
    name, text = b"sw-description\0", f'software = {{ version = "{version}"; }};'.encode()
    fields = [0, 0o100644, 0, 0, 1, 0, len(text), 0, 0, 0, 0, len(name), 0]
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return header + name + b"\0" * 3 + text


@contextmanager
def hawkbit(folder: Path, *, poll_time: str = "00:01:00") -> Iterator[Hawkbit]:
    """Run a server in `folder`; skip where there is none."""
    if not PYTHON.exists():
        pytest.skip("needs goosebit in .venv-peers (make setup)")
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GOOSEBIT_DB_URI": f"sqlite://{folder}/goosebit.sqlite",
        "GOOSEBIT_ARTIFACTS_DIR": str(folder / "artifacts"),
        "GOOSEBIT_POLL_TIME": poll_time,
        "OTEL_SDK_DISABLED": "true",
    }
    with (folder / "goosebit.log").open("ab") as log:
        words = {"env": environment, "cwd": folder, "stdout": log, "stderr": log}
        process = subprocess.Popen([PYTHON, "-c", SERVE, str(port)], **words)
    try:
        _await(port, process, folder)
        with closing(Hawkbit(folder, port, process.pid)) as server:
            yield server
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"goosebit does not start: {(folder / 'goosebit.log').read_text()[-2000:]}")


def free_port() -> int:
    """Return a port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
