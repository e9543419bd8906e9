"""The duty to update: orchestrator, repository, report to the fleet. Each fails on its own, and the others go on."""

import random
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from daemon import config
from daemon.config import Station
from daemon.config_updates import Updates
from daemon.store_requests import STORE
from daemon.uplink import update_status
from daemon.uplink.access import Access
from daemon.uplink.ddi import Orchestrator
from daemon.uplink.device_facts import gather
from daemon.uplink.handing import Handing
from daemon.uplink.loop import Advance
from daemon.uplink.mirror import Mirror
from daemon.uplink.mirroring import Mirroring
from daemon.uplink.orders import Orders
from daemon.uplink.reporting import Reporting
from daemon.uplink.schedule import Polls, Schedule
from daemon.uplink.update_status import UpdateStatus
from signing.device_status import DeviceStatus
from signing.enrolled import FOLDER, ROOT
from signing.index import Kind
from signing.store import read_state
from signing.store_state import StoreError
from signing.utc import utc_text

STICKS_ONLY = "no repository in [updates]: bundles and recipes come on a stick"
LONGEST_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Parts:
    """The three that ask and tell; each has its own schedule."""

    mirroring: Mirroring | None
    orders: Orders | None
    reporting: Reporting


class Updating:
    """Implements loop.Duty. Without a repository it reports only; without an orchestrator roll-outs alone decide."""

    def __init__(self, station: Station, state: Path, access: Access, handing: Handing, parts: Parts) -> None:
        self._station, self._state, self._access, self._handing = station, state, access, handing
        self._mirroring, self._orders, self._reporting = parts.mirroring, parts.orders, parts.reporting
        self._status = update_status.read_update_status(state)
        self._trouble = ""

    @property
    def said(self) -> str:
        """How updates stand, one line."""
        texts = [self._mirroring.said if self._mirroring else STICKS_ONLY]
        texts += [self._orders.said] if self._orders else []
        texts += [f"slots: {self._handing.refusal}"] if self._handing.refusal else []
        return "updates: " + "; ".join(text for text in (*texts, self._reporting.said, self._trouble) if text)

    def asked(self) -> bool:
        return update_status.asked_now(self._state)

    def turn(self, advance: Advance) -> float:
        self._trouble = ""
        self._access.attend(advance)
        asked = self._take_asked()
        wish = None
        installed = self._installed()
        if self._orders:
            self._orders.turn()
            wish = self._orders.wish
        if self._mirroring:
            self._mirroring.turn(advance, wish, installed)
            self._report(installed)
        self._reporting.turn(self._gather)
        self._leave(asked)
        return max(0.0, self._due_s() - time.monotonic())

    def close(self) -> None:
        """Let go of connections and key."""
        self._access.close()

    def _take_asked(self) -> bool:
        try:
            asked = update_status.take_asked(self._state)
        except OSError as error:
            self._trouble = f"{error.filename}: cannot be removed: {error.strerror}"
            return False
        for part in (self._mirroring, self._orders):
            if asked and part:
                part.hurry()
        return asked

    def _installed(self) -> dict[str, Kind]:
        try:
            return {digest: one.kind for digest, one in read_state(self._state / STORE).installed.items()}
        except StoreError:
            return {}

    def _report(self, installed: Collection[str]) -> None:
        if self._mirroring and self._orders:
            mirroring = self._mirroring
            self._orders.report(mirroring.decision, installed, self._handing.refusal, mirroring.progress)

    def _gather(self) -> DeviceStatus:
        decision = self._mirroring.decision if self._mirroring else None
        wanted = decision.download if decision else ()
        return gather(self._station, self._state, time.time_ns(), wanted, self._handing.refusal)

    def _poll_due_s(self) -> float:
        return min((part.due_s for part in (self._mirroring, self._orders) if part), default=0.0)

    def _due_s(self) -> float:
        polls = [part.due_s for part in (self._mirroring, self._orders) if part]
        return min(*polls, self._reporting.due_s, time.monotonic() + LONGEST_WAIT_S)

    def _leave(self, asked: bool) -> None:
        """Leave word of how things stand, if that is new or a person wants to know."""
        mirroring = self._mirroring
        repository = mirroring.repository if mirroring else None
        versions, signed = (repository.versions, repository.signed_at) if repository else (None, None)
        found = UpdateStatus(
            utc=utc_text(datetime.now(UTC)),
            ok=mirroring.ok if mirroring else True,
            text=self.said.removeprefix("updates: "),
            versions=(versions.root, versions.timestamp, versions.snapshot) if versions else self._status.versions,
            signed_at=utc_text(signed) if signed else self._status.signed_at,
            wanted_bytes=mirroring.wanted_bytes if mirroring else 0,
            next_s=round(max(0.0, self._poll_due_s() - time.monotonic()), 1),
            request=self._handing.request,
            handed=self._handing.handed,
        )
        if asked or update_status.differ(self._status, found):
            try:
                update_status.write_update_status(self._state, found)
                self._status = found
            except OSError as error:
                self._trouble = f"{self._state / update_status.FILE}: not written: {error.strerror}"


def open_updating(station: Station, updates: Updates, path: Path, state: Path) -> Updating:
    """Put the duty together. Nothing is opened yet: a server that is away, or no enrolment, is no reason to end."""
    authority = config.resolve(path, updates.authority) if updates.authority else None
    access = Access(updates, authority, state, production=station.production)
    left = update_status.read_update_status(state)
    handing = Handing(state, left.request, left.handed)
    parts = Parts(
        _mirroring(updates, access, handing, state) if updates.repository else None,
        _orders(updates, access) if updates.orchestrator else None,
        Reporting(updates, access, state, Polls(Schedule(updates.status_s), 0.0)),
    )
    return Updating(station, state, access, handing, parts)


def _mirroring(updates: Updates, access: Access, handing: Handing, state: Path) -> Mirroring:
    mirror = Mirror(state, updates.line, state / FOLDER / ROOT)
    return Mirroring(access, updates.line, mirror, handing, _polls(updates))


def _orders(updates: Updates, access: Access) -> Orders:
    def connect() -> Orchestrator:
        return Orchestrator(access.web(updates.orchestrator), updates.orchestrator, updates.tenant, updates.device)

    def data() -> dict[str, str]:
        return {"line": updates.line, "id": access.enrolled.record.id, "release": config.release()}

    return Orders(connect, data, _polls(updates))


def _polls(updates: Updates) -> Polls:
    schedule = Schedule(updates.poll_s)
    return Polls(schedule, time.monotonic() + schedule.first(random.random()))
