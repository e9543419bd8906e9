"""The recorder with its key in a TPM under a power cut: the chip remembers heads that the ledger must know.

The chip lives on when the process dies, and is started again as with the computer. Only processes are cut here, also
before every single command to the chip; what lies on the disk does not depend on which key signs.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from power_ledger import Promise
from power_recorder import Held, RecorderLife, prepare_fresh

from tests.contract.recorder_box import STATION
from tests.contract.software_tpm import MISSING, SoftwareTpm, software_tpm_at_sockets


class TpmLife:
    """As the first life of the recorder. One at a time in a process; `close` it."""

    name = "recorder with a TPM"
    short = True
    disk = False

    def __init__(self) -> None:
        self._life = RecorderLife(self.name, prepare_fresh)
        self._stack = ExitStack()
        self._tpm: SoftwareTpm | None = None
        self.unavailable = f"needs {' and '.join(MISSING)}" if MISSING else ""

    def prepare(self, folder: Path) -> None:
        self.close()
        self._tpm = self._stack.enter_context(software_tpm_at_sockets(folder.parent / "tpm"))
        text = STATION.format(simulated="true").replace('key = "development"', f'key = "tpm"\ntpm = "{self._tpm.tcti}"')
        (folder / "station.toml").write_text(text)

    def live(self, folder: Path, log: Path, cut: tuple[str, int] | None) -> Held:
        held = self._life.live(folder, log, cut)
        self._tpm.restart()
        return held

    def finish(self, folder: Path, held: Held) -> tuple[list[str], list[Promise]]:
        return self._life.finish(folder, held)

    def promises(self, found: Sequence[object]) -> list[Promise]:
        return self._life.promises(found)

    def judge(self, folder: Path, promised: Sequence[Promise]) -> list[str]:
        return self._life.judge(folder, promised)

    def close(self) -> None:
        """Switch the chip off."""
        self._stack.close()
