"""What the orchestrator orders now, and what it is told about it. While it is away its last order stands."""

import contextlib
import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from daemon.uplink.ddi import Execution, Finished, Orchestrator, OrderError
from daemon.uplink.schedule import Polls
from daemon.uplink.web import WebError
from signing.errors import SigningError
from signing.permission import Decision, Pair


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an order stands, for the people at the server."""

    execution: Execution
    finished: Finished
    text: str


def outcome(pair: Pair, decision: Decision | None, installed: Collection[str], answer: str, progress: str) -> Outcome:
    """Return what to tell about an order. Pure.

    Args:
        decision: None while no signed documents are here.
        installed: digests that the store has.
        answer: why `slots` refused this pair, "" if it did not.
        progress: how far the download is.
    """
    refused = {one.pair: one.why for one in decision.refused} if decision else {}
    if pair in refused:
        return Outcome(Execution.CLOSED, Finished.FAILURE, refused[pair])
    if decision and pair.bundle in installed and pair.recipe in installed:
        return Outcome(Execution.CLOSED, Finished.SUCCESS, "installed; what is activated is the allow-list's matter")
    if answer:
        return Outcome(Execution.CLOSED, Finished.FAILURE, answer)
    return Outcome(Execution.PROCEEDING, Finished.NONE, progress)


class Orders:
    """The orders of one server. Owned by the duty to update; nothing of it outlives the process."""

    def __init__(self, connect: Callable[[], Orchestrator], data: Callable[[], dict[str, str]], polls: Polls) -> None:
        """`data`: what the server is told about this device when it asks."""
        self._connect, self._data, self._polls = connect, data, polls
        self._action: int | None = None
        self._pair: Pair | None = None
        self._told: tuple[int, Outcome] | None = None
        self.said = ""

    @property
    def due_s(self) -> float:
        """When the next poll is due, monotonic s."""
        return self._polls.due_s

    def hurry(self) -> None:
        """A person asks: poll now."""
        self._polls.due_s = 0.0

    @property
    def wish(self) -> tuple[Pair, ...]:
        """What is ordered now."""
        return (self._pair,) if self._pair else ()

    def turn(self) -> None:
        """Poll if that is due. A server that is away or says what cannot be read is only said to be so."""
        if time.monotonic() < self._polls.due_s:
            return
        try:
            asked_s = self._poll()
        except (WebError, OrderError, SigningError) as error:
            self.said = f"orchestrator: {error}"
            self._polls.failed(time.monotonic(), random.random(), getattr(error, "retry_after_s", 0.0))
        else:
            self.said = ""
            self._polls.succeeded(time.monotonic(), random.random(), asked_s)

    def _poll(self) -> float:
        server = self._connect()
        try:
            offer = server.poll()
            if offer.wants_data:
                server.register(self._data())
            self._take(server, None if offer.cancel is not None else offer.deployment)
            if offer.cancel is not None:
                server.cancelled(offer.cancel)
        except OrderError:
            self._action = self._pair = None
            raise
        return offer.sleep_s

    def report(self, decision: Decision | None, installed: Collection[str], answer: str, progress: str) -> None:
        """Tell how the order stands, once for each change. Nothing follows from it, nor from its failure."""
        if self._action is not None and self._pair is not None:
            with contextlib.suppress(WebError, SigningError):
                self._tell(self._connect(), self._action, outcome(self._pair, decision, installed, answer, progress))

    def _tell(self, server: Orchestrator, action: int, found: Outcome) -> None:
        if self._told != (action, found):
            server.feedback(action, found.execution, found.finished, found.text)
            self._told = (action, found)

    def _take(self, server: Orchestrator, action: int | None) -> None:
        """Learn what an action names, from its number: what it names never changes. Unreadable, it orders nothing."""
        if action is None:
            self._action = self._pair = None
        elif action != self._action or self._pair is None:
            self._action, self._pair = action, None
            try:
                self._pair = server.wish(action)
            except OrderError as error:
                with contextlib.suppress(WebError):
                    self._tell(server, action, Outcome(Execution.CLOSED, Finished.FAILURE, str(error)))
                raise
