"""Rules of the whole suite: one seed that is always printed, and a test that leaves something running fails."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ("tests.clauses_plugin",)

SEED_VARIABLE = "LINEWARDEN_TEST_SEED"
GRACE_S = 1.0

settings.register_profile("linewarden", deadline=None, print_blob=True)
settings.load_profile("linewarden")


def pytest_configure(config: pytest.Config) -> None:
    """A runner started in the background inherits an ignored SIGINT; the tests and what they start need it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault(SEED_VARIABLE, str(random.SystemRandom().randrange(1 << 31)))


def pytest_report_header() -> str:
    return f"seed: {os.environ[SEED_VARIABLE]} (repeat with {SEED_VARIABLE}=…)"


@pytest.fixture
def seed() -> int:
    """The seed of this run, in the header of every report."""
    return int(os.environ[SEED_VARIABLE])


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail a test that leaves a thread, a socket or a child process behind."""
    before = _running()
    yield
    end = time.monotonic() + GRACE_S
    while (left := _running() - before) and time.monotonic() < end:
        time.sleep(0.01)
    if left:
        pytest.fail("left behind: " + ", ".join(sorted(left)), pytrace=False)


def _running() -> set[str]:
    return _threads() | _sockets() | _children()


def _threads() -> set[str]:
    return {f"thread {thread.name} ({thread.ident})" for thread in threading.enumerate()}


def _sockets() -> set[str]:
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


def _children() -> set[str]:
    found = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            pids = (task / "children").read_text().split()
        except OSError:
            continue
        found |= {f"process {pid}" for pid in pids}
    return found
