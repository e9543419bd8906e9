"""An archive in an S3 bucket: one PUT a file, refused by the server where a name is taken or a byte is wrong.

What the server confirms is the sha256 that it computed itself over the whole object (x-amz-checksum-sha256).
"""

import base64
import contextlib
import datetime
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from daemon.config import ConfigError
from daemon.config_archive import S3Archive
from daemon.uplink.stores import StoreConflict, StoreError

CREDENTIALS = "CREDENTIALS_DIRECTORY"
ACCESS, SECRET = "archive-access-key", "archive-secret-key"
CONNECT_S, READ_S = 5, 30
TAKEN, ABSENT = ("PreconditionFailed", "412"), ("NoSuchKey", "NotFound", "404")
NO_LOCK = ("ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration", *ABSENT)


class S3Store:
    """One bucket and prefix.

    Raises (constructor):
        ConfigError: no credentials, no such authority file, or a lock is asked for and the bucket has none.
        StoreError: the server does not answer.
    """

    def __init__(self, archive: S3Archive, authority: Path | None) -> None:
        """`authority`: certificates that the server's must be signed by, None for the system's."""
        self._archive = archive
        self._prefix = f"{archive.prefix}/" if archive.prefix else ""
        self._client = _client(archive, authority)
        self._retain = datetime.timedelta(days=archive.retain_days)
        try:
            self._locked = self._has_lock()
            if archive.retain_days and not self._locked:
                raise ConfigError(
                    f"$.archive.retain_days: bucket {archive.bucket} has no object lock: make it with one, or write 0"
                )
        except (ConfigError, StoreError):
            self.close()
            raise

    @property
    def name(self) -> str:
        return f"s3://{self._archive.bucket}/{self._archive.prefix}".rstrip("/")

    @property
    def warning(self) -> str:
        return "" if self._retain else f"{self.name} is not locked: retain_days = 0"

    def put(self, path: str, data: bytes, sha256: str) -> None:
        checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
        words: dict[str, Any] = {"IfNoneMatch": "*", "ChecksumSHA256": checksum}
        if self._retain:
            until = datetime.datetime.now(datetime.UTC) + self._retain
            words |= {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}
        with self._translated(path):
            try:
                self._client.put_object(**self._where(path), Body=data, **words)
            except ClientError as error:
                if _code(error) not in TAKEN:
                    raise
                if self.digest(path) != sha256:
                    text = f"{self.name}/{path}: holds other bytes than those that should be archived"
                    raise StoreConflict(text) from error

    def digest(self, path: str) -> str | None:
        with self._translated(path):
            try:
                head = self._client.head_object(**self._where(path), ChecksumMode="ENABLED")
            except ClientError as error:
                if _code(error) in ABSENT:
                    return None
                raise
        whole = head.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT"
        stored = str(head.get("ChecksumSHA256", "")) if whole else ""
        if not stored or "-" in stored:
            return hashlib.sha256(self.get(path)).hexdigest()
        return base64.b64decode(stored).hex()

    def get(self, path: str) -> bytes:
        with self._translated(path):
            return bytes(self._client.get_object(**self._where(path))["Body"].read())

    def listing(self, folder: str, after: str = "") -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2")
        words = {"Bucket": self._archive.bucket, "Prefix": f"{self._prefix}{folder}/"}
        if after:
            words["StartAfter"] = self._prefix + after
        with self._translated(folder):
            for page in pages.paginate(**words):
                yield from (item["Key"][len(self._prefix) :] for item in page.get("Contents", ()))

    def close(self) -> None:
        self._client.close()

    def _where(self, path: str) -> dict[str, str]:
        return {"Bucket": self._archive.bucket, "Key": self._prefix + path}

    def _has_lock(self) -> bool:
        with self._translated(""):
            try:
                found = self._client.get_object_lock_configuration(Bucket=self._archive.bucket)
            except ClientError as error:
                if _code(error) in NO_LOCK:
                    self._client.head_bucket(Bucket=self._archive.bucket)
                    return False
                raise
        return bool(found["ObjectLockConfiguration"].get("ObjectLockEnabled") == "Enabled")

    @contextlib.contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise StoreError(f"{self.name}/{path} at {self._archive.endpoint}: {error}") from error


def _client(archive: S3Archive, authority: Path | None) -> Any:
    if authority is not None and not authority.is_file():
        raise ConfigError(f"$.archive.authority: {authority} is not a file: put the server's authority there")
    return boto3.session.Session().client(
        "s3",
        endpoint_url=archive.endpoint,
        region_name=archive.region,
        aws_access_key_id=credential(ACCESS),
        aws_secret_access_key=credential(SECRET),
        verify=str(authority) if authority else True,
        config=Config(
            connect_timeout=CONNECT_S,
            read_timeout=READ_S,
            retries={"total_max_attempts": 2, "mode": "standard"},
            s3={"addressing_style": "path"},
            proxies={},
        ),
    )


def credential(name: str) -> str:
    """Return the text of a systemd credential of this service.

    Raises:
        ConfigError: systemd gave none of that name.
    """
    path = Path(os.environ.get(CREDENTIALS, "/nonexistent")) / name
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        advice = f"add LoadCredential={name}:FILE to a drop-in of linewarden-uplink.service"
        raise ConfigError(f"no credential {name} in ${CREDENTIALS}: {advice}") from error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
