"""Asking process `slots` for an act and waiting for its answer; in a checkout slots is started here, too."""

import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from daemon.store_requests import (
    ANSWERS,
    CARRIED,
    GROUP_MAY_READ,
    GROUP_MAY_WRITE,
    REPORTS,
    REQUESTS,
    STORE,
    SUFFIX,
    Request,
    Response,
    What,
    drop,
    new_id,
)
from daemon.uplink.update_status import POLL_NOW, read_update_status
from daemon.uplink.update_status import REQUESTS as UPLINK
from provisioning import places
from provisioning.errors import CommandFailed
from provisioning.lineacts import person
from signing.manifest import MAX_BUNDLE_BYTES

ANSWER_S, POLL_S, LOOK_S = 180.0, 30.0, 0.05
ROLE = "technician"
# A bundle and its signatures; one copy to be judged, one for the store.
LARGEST_CARRIED, COPIES = MAX_BUNDLE_BYTES + (64 << 20), 2


class RequestFailed(CommandFailed):
    """The act was refused, or nobody answered; the text says which and what to do."""


@dataclass(frozen=True, slots=True)
class Slots:
    """The store of one device. `installed`: its path unit starts slots; elsewhere this module does."""

    station: Path
    state: Path
    runtime: Path

    @property
    def store(self) -> Path:
        return self.state / STORE

    @property
    def installed(self) -> bool:
        return self.station == places.INSTALLED_STATION


def find_slots(named: Path | None) -> Slots:
    """Return the store of the named station, of the running simulation, or of the installed device.

    Raises:
        PlaceError: there is none.
    """
    station = places.find_station(named)
    if station == places.INSTALLED_STATION:
        return Slots(station, places.INSTALLED_STATE, places.INSTALLED_RUNTIME)
    return Slots(station, station.parent / places.STATE, (station.parent / "run").resolve())


def ask(slots: Slots, what: What, reason: str, subject: str = "", carry: Path | None = None) -> str:
    """Ask for one act and return the answer.

    Args:
        subject: a digest or name, or the folder of a stick.
        carry: the folder of a bundle or recipe that is copied beside the request.

    Raises:
        RequestFailed: refused, or no answer came.
    """
    request = Request(new_id(), what, person(), ROLE, reason, subject, carry is not None)
    with _told(slots):
        if not slots.installed:
            for name in (REQUESTS, ANSWERS, REPORTS):
                (slots.state / name).mkdir(exist_ok=True)
        if carry is not None:
            _carry_whole(carry, slots.state / REQUESTS / f"{request.id}{CARRIED}")
        drop(slots.state, request)
    if not slots.installed:
        _start(slots)
    answer = _await(slots, request.id)
    if not answer.ok:
        raise RequestFailed(answer.text)
    return answer.text


def poll(slots: Slots) -> str:
    """Let uplink ask the repository now, and return what came of it; "" where this device has no uplink to ask.

    Raises:
        RequestFailed: this user may not ask.
    """
    wish = slots.state / UPLINK / POLL_NOW
    if not wish.parent.is_dir():
        return ""
    before = read_update_status(slots.state)
    with _told(slots):
        wish.touch()
    end = time.monotonic() + POLL_S
    while time.monotonic() < end:
        if not wish.exists() and (now := read_update_status(slots.state)) != before:
            return now.text
        time.sleep(LOOK_S)
    return f"uplink did not answer within {POLL_S:g} s: its mirror is read as it is"


@contextmanager
def _told(slots: Slots) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        text = f"{error.filename}: this user may not ask for this: become a member of group linewarden"
        raise RequestFailed(text) from error
    except OSError as error:
        raise RequestFailed(f"{error.filename or slots.state}: {error.strerror}; nothing was asked for") from error


def _carry_whole(source: Path, to: Path) -> None:
    """Copy a folder that can be a bundle, and leave nothing of it where that fails: records need the room."""
    size, free = sum(path.lstat().st_size for path in source.rglob("*")), shutil.disk_usage(to.parent).free
    if size > LARGEST_CARRIED or COPIES * size > free:
        raise RequestFailed(f"{source}: {size / 1e6:.0f} MB, more than a bundle has or than there is room for")
    try:
        _carry(source, to)
    except BaseException:
        shutil.rmtree(to, ignore_errors=True)
        raise


def _carry(source: Path, to: Path) -> None:
    """Copy regular files; what is a link or a device would never be accepted."""
    to.mkdir(mode=GROUP_MAY_WRITE)
    to.chmod(GROUP_MAY_WRITE)
    for path in sorted(source.iterdir()):
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            _carry(path, to / path.name)
        elif stat.S_ISREG(mode):
            shutil.copyfile(path, to / path.name, follow_symlinks=False)
            (to / path.name).chmod(GROUP_MAY_READ)
        else:
            raise RequestFailed(f"{path}: not a regular file; name the folder of a bundle or recipe")


def _start(slots: Slots) -> None:
    """Run slots as its unit would; it says what is wrong with the device itself."""
    environment = {"PATH": os.environ.get("PATH", os.defpath)}
    environment |= {"STATE_DIRECTORY": str(slots.state), "RUNTIME_DIRECTORY": str(slots.runtime)}
    command = [sys.executable, "-I", "-m", "daemon", "slots", str(slots.station)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (os.EX_OK, os.EX_TEMPFAIL):
        lines = done.stderr.strip().splitlines()
        raise RequestFailed(lines[-1].removeprefix("slots: ") if lines else f"slots ended with {done.returncode}")


def _await(slots: Slots, request: str) -> Response:
    path, end = slots.state / ANSWERS / f"{request}{SUFFIX}", time.monotonic() + ANSWER_S
    while time.monotonic() < end:
        with _told(slots):
            if path.exists():
                return msgspec.json.decode(path.read_bytes(), type=Response)
        time.sleep(LOOK_S)
    text = f"no answer within {ANSWER_S:g} s; the act stays asked for: see `systemctl status linewarden-slots`"
    raise RequestFailed(text)
