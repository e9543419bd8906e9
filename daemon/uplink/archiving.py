"""The duty to archive: whatever fails, nothing is lost, and the next pass goes on where the last one was cut off."""

from typing import Protocol

from daemon.ledger_file import LedgerUnreadable
from daemon.uplink.archive import ArchiveError
from daemon.uplink.loop import Advance
from daemon.uplink.shipping import Step
from daemon.uplink.stores import StoreConflict, StoreError

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0


class Ships(Protocol):
    """What this duty needs of an Archivist."""

    @property
    def told(self) -> bool: ...

    def ship(self, step: Step) -> str: ...

    def close(self) -> None: ...


class Archiving:
    """One pass every `every_s` seconds, less and less often while the archive is away. Implements loop.Duty."""

    def __init__(self, archivist: Ships, every_s: float) -> None:
        self._archivist = archivist
        self._every_s = every_s
        self._retry_s = FIRST_WAIT_S
        self._said = ""

    @property
    def said(self) -> str:
        return self._said

    def asked(self) -> bool:
        return False

    def turn(self, advance: Advance) -> float:
        try:
            self._said = self._archivist.ship(lambda _what, _done, _total: advance())
        except (StoreError, OSError) as error:
            self._archivist.close()
            self._said = f"the archive is out of reach, nothing is lost, trying again: {error}"
            return self._back_off()
        except LedgerUnreadable as error:
            self._said = f"the records cannot be read, trying again: {error}"
            return self._back_off()
        except (ArchiveError, StoreConflict) as error:
            self._said = f"ALARM, not archived: {error}"
            return max(self._every_s, FIRST_WAIT_S)
        self._retry_s = FIRST_WAIT_S
        return self._every_s if self._archivist.told else FIRST_WAIT_S

    def _back_off(self) -> float:
        wait, self._retry_s = self._retry_s, min(2 * self._retry_s, LONGEST_WAIT_S)
        return wait
