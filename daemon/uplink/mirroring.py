"""The repository, poll after poll: is there news, what may this line have, its bytes here, `slots` asked to judge.

Uplink may be wrong and may be late, and that is all. A failure is one line and another attempt, later and less often.
"""

import random
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from tuf.api.exceptions import DownloadHTTPError

from daemon import notify
from daemon.store_requests import What
from daemon.uplink.access import Access
from daemon.uplink.handing import Handing
from daemon.uplink.loop import Advance
from daemon.uplink.mirror import Mirror, Progress
from daemon.uplink.schedule import Polls
from daemon.uplink.web import one_line, retry_after
from signing.errors import SigningError
from signing.freshness import Repository
from signing.http_fetcher import HttpFetcher
from signing.index import Kind
from signing.permission import Decision, Pair, decide
from signing.update_errors import UpdateError

SLICE_S = 60.0
SHOWN_EVERY_S = 2.0
NOTHING_YET = "nothing is known of the fleet yet"


class SliceOver(Exception):
    """A download has had its time for this turn; the next turn goes on with it."""


class Mirroring:
    """One repository for one line. Owned by the duty to update.

    ok, said: how it stands, one line. progress: how far a download is, one line; wanted_bytes: what it was to fetch.
    decision: what the newest documents permit, None while there are none.
    """

    def __init__(self, access: Access, line: str, mirror: Mirror, handing: Handing, polls: Polls) -> None:
        self._access, self._line, self._mirror, self._handing, self._polls = access, line, mirror, handing, polls
        self._fetcher: HttpFetcher | None = None
        self._looked = ""
        self._whole, self._more = True, False
        self._seen: tuple[object, object] = ((), ())
        self.ok, self.said, self.progress = True, NOTHING_YET, NOTHING_YET
        self.decision: Decision | None = None
        self.wanted_bytes = 0

    @property
    def due_s(self) -> float:
        """When the next turn is due, monotonic s."""
        return 0.0 if self._more else self._polls.due_s

    @property
    def repository(self) -> Repository | None:
        """The newest that was verified in this life."""
        return self._mirror.repository

    def hurry(self) -> None:
        """A person asks: poll now, and look at everything."""
        self._polls.due_s, self._whole = 0.0, True
        self._handing.forget()

    def turn(self, advance: Advance, wish: Sequence[Pair] | None, installed: Mapping[str, Kind]) -> None:
        """Poll if that is due, and go on with what is to be fetched."""
        polled, seen = time.monotonic() >= self._polls.due_s, (wish, installed)
        if not (polled or self._more or (self.ok and seen != self._seen)):
            return
        self._seen, self._more, self.ok = seen, False, True
        try:
            if polled:
                self._poll(advance)
            self._look_again(advance)
            self._bring(_paced(advance, time.monotonic() + SLICE_S, self._show), wish, installed)
        except SliceOver:
            self._more = True
        except (SigningError, OSError) as error:
            self._failed(error)

    def _poll(self, advance: Advance) -> None:
        self._fetcher = self._access.fetcher()
        self._mirror.poll(self._fetcher, datetime.now(UTC), advance, whole=self._whole)
        self._whole = False
        self._polls.succeeded(time.monotonic(), random.random())

    def _look_again(self, advance: Advance) -> None:
        """Where `slots` refused something, see once whether the bytes here are still what was fetched."""
        if self._handing.refusal and self._looked != self._handing.request:
            self._looked = self._handing.request
            self._mirror.drop_damaged(advance)

    def _bring(self, progress: Progress, wish: Sequence[Pair] | None, installed: Mapping[str, Kind]) -> None:
        """Hand over the lists, fetch what is permitted and missing, hand that over too."""
        repository, documents = self._mirror.repository, self._mirror.documents
        if repository is None or documents is None:
            return
        self.decision = decision = decide(self._access.enrolled.record.id, self._line, documents, wish)
        permitted = None if wish is None else [pair for pair in wish if pair in decision.download]
        try:
            self._mirror.cover(installed)
            missing = self._mirror.missing(decision.download, installed)
        except UpdateError:
            self._handing.hand(What.CHECK, repository.versions, decision.download, permitted)
            raise
        self.wanted_bytes = sum(sum(index.blobs().values()) for index in missing)
        self.said = f"{repository.versions.text()}: {decision.why}"
        if not self._mirror.has(missing):
            self._handing.hand(What.CHECK, repository.versions, decision.download, permitted)
            self._mirror.fetch(missing, progress)
        self._mirror.prune(missing)
        self._handing.hand(What.APPLY, repository.versions, decision.download, permitted)
        self.progress = "here; the device judges it" if missing else "nothing is to be fetched"

    def _failed(self, error: Exception) -> None:
        """Try again later, and then look at everything: a connection may have grown old with its certificate."""
        self.ok, self._whole = False, True
        self.said = f"not updated, trying again: {one_line(error)}"
        asked = self._fetcher.retry_after if self._fetcher and isinstance(error.__cause__, DownloadHTTPError) else ""
        self._polls.failed(time.monotonic(), random.random(), retry_after(asked))

    def _show(self, got: int, total: int) -> None:
        self.progress = f"fetching: {got / 1e6:.0f} of {total / 1e6:.0f} MB"
        notify.status(self.progress)


def _paced(advance: Advance, end_s: float, show: Progress) -> Progress:
    """Return what a download is told to call: feeds the watchdog, shows progress, ends the slice."""
    shown_s = 0.0

    def progress(got: int, total: int) -> None:
        nonlocal shown_s
        advance()
        now_s = time.monotonic()
        if now_s >= shown_s + SHOWN_EVERY_S:
            shown_s = now_s
            show(got, total)
        if now_s >= end_s:
            raise SliceOver

    return progress
