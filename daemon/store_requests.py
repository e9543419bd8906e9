"""How anybody asks process `slots` for something: a file in `requests/` of the state folder, an answer in `answers/`.

One file is one act of one person or process. Who dropped it is the owner of the file, not what it says. The folders
belong to slots (systemd/tmpfiles.conf); a path unit starts it as soon as a request lies there.
"""

import os
import secrets
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from signing.durable import sync_directory, write_durably

REQUESTS, ANSWERS, REPORTS = "requests", "answers", "vision-reports"
STORE, INCOMING = "store", "incoming"
LARGEST_BYTES = 64 * 1024
SUFFIX, CARRIED = ".json", ".carried"
GROUP_MAY_READ, GROUP_MAY_WRITE = 0o640, 0o2770

T = TypeVar("T")
Id = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]


class What(StrEnum):
    """What can be asked for. `wake`: nothing but what is due: reports of vision, what waited for the end of a batch."""

    INSTALL = "install"
    ACTIVATE = "activate"
    ROLLBACK = "rollback"
    PIN = "pin"
    UNPIN = "unpin"
    COLLECT = "collect"
    CHECK = "update-check"
    APPLY = "update-apply"
    BUILD_PLANS = "build-plans"
    APPROVE_PLAN = "approve-plan"
    WAKE = "wake"


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """One act. `subject`: a digest or name, or the folder to install or update from ("" = what came along, incoming);
    of `approve-plan` the approval itself (signing.plan_approval), of `build-plans` "" = active and staged.

    `carried`: the folder to install lies beside the request, as `ID.carried`.
    """

    id: Id
    what: What
    actor: str
    role: str
    reason: str
    subject: str = ""
    carried: bool = False
    wish: list[tuple[str, str]] | None = None


class Response(Struct, frozen=True, forbid_unknown_fields=True):
    """What became of a request. `text` is one line."""

    ok: bool
    text: str


class VisionReport(Struct, frozen=True, forbid_unknown_fields=True):
    """vision -> slots, as `vision-reports/N.json`: generation N was loaded and warmed, or refused and why."""

    generation: Annotated[int, Meta(ge=1)]
    ok: bool
    text: str


class RequestUnreadable(Exception):
    """The file is no request or report; the text says why."""


def new_id() -> str:
    """Return a name for a request that nobody else uses."""
    return secrets.token_hex(16)


def drop(state: Path, request: Request) -> None:
    """Ask for an act; durable when it returns. What is carried along lies there before.

    Raises:
        OSError: this user may not ask, or the disk is full.
    """
    _put(state / REQUESTS, request.id, msgspec.json.encode(request) + b"\n")


def wake(state: Path, process: str) -> None:
    """Let slots do what is due. Called by vision, recorder and uplink; a store that is not there is left alone.

    Raises:
        OSError: as `drop`.
    """
    if (state / REQUESTS).is_dir():
        drop(state, Request(new_id(), What.WAKE, process, "machine", "something is due"))


def report(state: Path, told: VisionReport) -> None:
    """Tell slots what became of a generation; a path unit wakes it. Called by vision after loading.

    Raises:
        OSError: as `drop`.
    """
    if (state / STORE).is_dir():
        (state / REPORTS).mkdir(exist_ok=True)
        _put(state / REPORTS, str(told.generation), msgspec.json.encode(told) + b"\n")


def read_request(path: Path) -> tuple[Request, int]:
    """Return a request and the user id of whoever dropped it.

    Raises:
        RequestUnreadable: not a request, or not under its own name.
    """
    raw, owner = _read(path)
    request = _decoded(path, raw, Request)
    if f"{request.id}{SUFFIX}" != path.name:
        raise RequestUnreadable(f"{path.name}: is the request {request.id}")
    return request, owner


def read_report(path: Path) -> VisionReport:
    """Return what vision said.

    Raises:
        RequestUnreadable: not a report.
    """
    return _decoded(path, _read(path)[0], VisionReport)


def _decoded(path: Path, raw: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RequestUnreadable(f"{path.name}: {error}") from error


def _put(folder: Path, name: str, data: bytes) -> None:
    """Let slots see a file that its group may read, whatever the umask, and see it whole."""
    hidden = folder / f".{name}"
    write_durably(hidden, data, GROUP_MAY_READ)
    hidden.chmod(GROUP_MAY_READ)
    os.replace(hidden, folder / f"{name}{SUFFIX}")
    sync_directory(folder)


def _read(path: Path) -> tuple[bytes, int]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            raw = file.read(LARGEST_BYTES + 1)
            owner = os.fstat(fd).st_uid
    except OSError as error:
        raise RequestUnreadable(f"{path.name}: {error.strerror}") from error
    if len(raw) > LARGEST_BYTES:
        raise RequestUnreadable(f"{path.name}: more than {LARGEST_BYTES} bytes")
    return raw, owner
