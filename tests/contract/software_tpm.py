"""A TPM 2.0 in software (swtpm) over a state folder: started, stopped, and started again as a computer is.

Two ways in: a character device, as the kernel's /dev/tpmrm0 is one, and the sockets of a TPM in software.
"""

import importlib.util
import os
import shutil
import subprocess
import tempfile
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

LIMIT_S = 20.0
ACCEPTS = "00010000"
MISSING = [
    text
    for text, found in (
        ("swtpm (apt-get install swtpm)", shutil.which("swtpm")),
        ("tpm2-pytss (apt-get install libtss2-dev, then make setup)", importlib.util.find_spec("tpm2_pytss")),
    )
    if not found
]
needs_tpm = pytest.mark.skipif(bool(MISSING), reason=f"needs {' and '.join(MISSING)}")


class SoftwareTpm:
    """One chip, for one program at a time: close a key before the next is opened."""

    tcti: str

    def __init__(self, state: Path, mode: list[str], *fds: int) -> None:
        state.mkdir()
        self._state, self._mode, self._fds = state, mode, fds
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Switch it on, as the firmware does: TPM2_Startup(CLEAR)."""
        self._prepare()
        log = self._state / "log"
        command = ["swtpm", *self._mode, "--tpm2", "--tpmstate", f"dir={self._state}", "--log", f"file={log}"]
        command += ["--flags", "not-need-init,startup-clear", "--pid", f"file={self._pid}"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=self._fds)
        end = time.monotonic() + LIMIT_S
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"swtpm did not start: {log.read_text()}")
            time.sleep(0.002)

    def stop(self) -> None:
        """Cut its power."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(LIMIT_S)

    def restart(self) -> None:
        self.stop()
        self.start()

    @property
    def _pid(self) -> Path:
        return self._state / "pid"

    def _prepare(self) -> None:
        self._pid.unlink(missing_ok=True)

    def _ready(self) -> bool:
        return self._pid.exists()


class _AtDevice(SoftwareTpm):
    def __init__(self, state: Path, chip: int, device: int) -> None:
        super().__init__(state, ["chardev", "--fd", str(chip)], chip)
        self.tcti = f"device:{os.ttyname(device)}"
        self._device = device

    def _prepare(self) -> None:
        super()._prepare()
        termios.tcflush(self._device, termios.TCIOFLUSH)


class _AtSockets(SoftwareTpm):
    def __init__(self, state: Path, server: Path) -> None:
        self._server, self._control = server, server.with_suffix(".ctrl")
        mode = ["--server", f"type=unixio,path={self._server}", "--ctrl", f"type=unixio,path={self._control}"]
        super().__init__(state, ["socket", *mode])
        self.tcti = f"swtpm:path={self._server}"

    def _prepare(self) -> None:
        super()._prepare()
        self._server.unlink(missing_ok=True)
        self._control.unlink(missing_ok=True)

    def _ready(self) -> bool:
        return super()._ready() and _listened_at(self._server) and _listened_at(self._control)


@contextmanager
def software_tpm(state: Path) -> Iterator[SoftwareTpm]:
    """Yield a running TPM behind a character device; the new folder `state` is its memory. Stopped, it is silent."""
    chip, device = os.openpty()
    try:
        tty.setraw(chip)
        with _running(_AtDevice(state, chip, device)) as tpm:
            yield tpm
    finally:
        os.close(device)
        os.close(chip)


@contextmanager
def software_tpm_at_sockets(state: Path) -> Iterator[SoftwareTpm]:
    """As `software_tpm`, behind sockets. Their path is short, a test's folder is not."""
    with tempfile.TemporaryDirectory(prefix="tpm-") as folder, _running(_AtSockets(state, Path(folder, "tpm"))) as tpm:
        yield tpm


@contextmanager
def _running(tpm: SoftwareTpm) -> Iterator[SoftwareTpm]:
    try:
        tpm.start()
        yield tpm
    finally:
        tpm.stop()


def _listened_at(path: Path) -> bool:
    """A path is there before its socket takes connections, and a connection to look would be the one it serves."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return any(fields[3] == ACCEPTS and fields[-1] == str(path) for fields in map(str.split, lines))
