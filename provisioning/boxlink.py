"""The simulator's end of the line in a box: starts `drivers.sim.box`, reads its JSON lines, asks it to quit.

The box is another machine in a plant, so it is no service: nothing restarts it, and its end is the end of the run.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from provisioning.errors import CommandFailed
from provisioning.supervisor import die_with_parent

QUIT_S = 20.0


class BoxError(CommandFailed):
    """The box ended or spoke nonsense; the text carries its last words."""


class Box:
    """Owned by: the loop of `linewarden sim`."""

    def __init__(self, command: Sequence[str], log: Path, selector: selectors.BaseSelector) -> None:
        self._log = log
        self._selector = selector
        self._buffer = b""
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                (*die_with_parent(), *command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd="/",
                start_new_session=True,
            )
        assert self._process.stdout is not None
        self._stdout = self._process.stdout
        os.set_blocking(self._stdout.fileno(), False)
        selector.register(self._stdout, selectors.EVENT_READ)

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> list[dict[str, Any]]:
        """Return what the box said since the last call.

        Raises:
            BoxError: it ended, or a line is not a JSON object.
        """
        while chunk := self._read():
            self._buffer += chunk
        *lines, self._buffer = self._buffer.split(b"\n")
        if not lines and self._process.poll() is not None:
            raise BoxError(f"the line in a box ended with status {self._process.returncode}: {self._last_words()}")
        return [_parse(line) for line in lines if line.strip()]

    def take_out(self, behind: int) -> None:
        """A person takes every body out of the machine, and the newest `behind` that passed."""
        stdin = self._process.stdin
        if stdin is not None and not stdin.closed:
            with contextlib.suppress(OSError):
                stdin.write(b'{"cmd":"take-out","behind":%d}\n' % behind)
                stdin.flush()

    def close(self) -> None:
        """Ask the box to quit, kill it when it does not, wait for its end. Idempotent."""
        if self._process.poll() is None:
            self._quit()
        try:
            self._process.wait(QUIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if not self._stdout.closed:
            self._selector.unregister(self._stdout)
            self._stdout.close()

    def _quit(self) -> None:
        stdin = self._process.stdin
        if stdin is None or stdin.closed:
            return
        try:
            stdin.write(b'{"cmd":"quit"}\n')
            stdin.close()
        except OSError:
            self._process.terminate()

    def _read(self) -> bytes | None:
        return self._stdout.read()

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def _parse(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError as error:
        raise BoxError(f"the line in a box said {line[:80]!r}, which is not JSON") from error
    if not isinstance(message, dict):
        raise BoxError(f"the line in a box said {line[:80]!r}, which is not a JSON object")
    return message
