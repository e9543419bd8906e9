"""Telling the fleet how this device stands: signed, left in the state folder for a stick, put where [updates] says.

Reporting drives nothing: whether a status was taken, refused or lost changes nothing here, and no order comes back.
"""

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from msgspec import structs

from daemon.config_updates import Updates
from daemon.uplink.access import Access
from daemon.uplink.schedule import Polls
from daemon.uplink.web import WebError
from signing.device_status import DeviceStatus, as_document
from signing.durable import write_durably
from signing.enrolled import NotEnrolled
from signing.errors import SigningError
from signing.utc import utc_text

FILE = "device-status.json"


class Reporting:
    """Owned by the duty to update. A status every [updates].status_s, and after each change."""

    def __init__(self, updates: Updates, access: Access, state: Path, polls: Polls) -> None:
        self._updates, self._access, self._file, self._polls = updates, access, state / FILE, polls
        self._number = 0
        self._last: DeviceStatus | None = None
        self.said = ""

    @property
    def due_s(self) -> float:
        """When the next status is due at the latest, monotonic s."""
        return self._polls.due_s

    def turn(self, gather: Callable[[], DeviceStatus]) -> None:
        """Sign and send how things stand, if that is due or has changed."""
        now_s = time.monotonic()
        found = gather()
        if now_s < self._polls.due_s and self._last is not None and not _differ(self._last, found):
            return
        self._last = found
        try:
            self._send(found)
        except NotEnrolled:
            self.said = ""  # the repository's side says so
        except (SigningError, WebError, OSError) as error:
            self.said = f"status not sent: {error}"
            self._polls.failed(now_s, random.random(), getattr(error, "retry_after_s", 0.0))
            return
        else:
            self.said = ""
        self._polls.succeeded(now_s, random.random())

    def _send(self, found: DeviceStatus) -> None:
        """`number` follows the clock, and goes on where that was set back while this process lives."""
        now = datetime.now(UTC)
        self._number = max(self._number + 1, int(now.timestamp()))
        status = structs.replace(found, utc=utc_text(now), number=self._number)
        envelope = self._access.signed(as_document(status))
        write_durably(self._file, envelope)
        if self._updates.status:
            url = f"{self._updates.status.rstrip('/')}/{self._updates.device}.json"
            self._access.web(self._updates.status).send("PUT", url, envelope)


def _differ(old: DeviceStatus, new: DeviceStatus) -> bool:
    return structs.replace(new, spool_s=old.spool_s) != old
