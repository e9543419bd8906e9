"""The store of bundles under a power cut: install, activate, roll back, pin, collect, and a judge of what is left.

The store promises: whatever is cut, a verified bundle and recipe are active, before anybody opens the store and after;
what was answered is so; what is active has its row, stored or owed; and the next acts work.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import power_slots_worker as worker
from power_stores import WorkerLife
from power_trace import Event

from daemon.store_requests import STORE, What
from signing.errors import SigningError
from signing.keyring import load_trust
from signing.sealed import open_directory
from signing.store import read_state
from signing.verify import verify, verify_recipe


@dataclass(frozen=True, slots=True)
class Said:
    """One line of the worker, from line `at` of the log on: a step answered, or a row stored."""

    at: int
    step: int = -1
    stored: str = ""


class SlotsLife(WorkerLife):
    """A store with one active bundle, two more that come, and everything that is done with them."""

    name = "bundle store"
    module = "power_slots_worker"
    part = "slots"

    def prepare(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        worker.prepare(folder)

    def promises(self, found: Sequence[Event]) -> list[Said]:  # type: ignore[override]
        said = [event for event in found if event.kind == "say" and event.path == "stdout"]
        return [Said(event.begin, **json.loads(line)) for event in said for line in event.data.splitlines()]

    def finish(self, folder: Path, held: None) -> tuple[list[str], list[Said]]:
        """The judge does the rest of the life in its own process: nothing is left to be done for real."""
        return [], []

    def judge(self, folder: Path, promised: Sequence[Said]) -> list[str]:
        with worker.silent():
            return self._judge(folder, promised)

    def _judge(self, folder: Path, promised: Sequence[Said]) -> list[str]:
        step = max((said.step for said in promised), default=-1)
        device = worker.Again(folder)
        wrong = _unverified(folder / "state" / STORE, "before it is opened")
        try:
            wrong += _unknown(folder / "state" / STORE)
            device.run()
            wrong += _unverified(device.store, "opened again")
            wrong += _not_so(device, step, sum(1 for said in promised if said.stored))
            wrong += _next_acts(device)
        except (SigningError, OSError, AssertionError) as error:
            wrong.append(f"stuck: {type(error).__name__}: {error}")
        return wrong


def _unverified(store: Path, when: str) -> list[str]:
    try:
        trust = load_trust(store / "active" / "trust", production=False)
        with open_directory(store / "active" / "bundle") as fd:
            bundle = verify(fd, trust).digest
        with open_directory(store / "active" / "recipe") as fd:
            verify_recipe(fd, trust)
    except SigningError as error:
        return [f"unverifiable: {when}: {error}"]
    return [] if (store / "active" / "bundle").resolve().name == bundle else [f"unverifiable: {when}: another digest"]


def _unknown(store: Path) -> list[str]:
    """The state is the act: a link may lag behind it and never runs ahead."""
    number = (store / "active").readlink().name
    known = int(number) in read_state(store).generations
    return [] if known else [f"lost: generation {number} is active and the state knows of no such act"]


def _not_so(device: worker.Again, step: int, stored: int) -> list[str]:
    """Is the store as after the last step that was answered, or as after the next one?"""
    after = [worker.FIRST, *(active for _, _, active in worker.STEPS)]
    expected = {device.digests[f"bundle-{number}"] for number in after[step + 1 : step + 3]}
    wrong = [] if device.active in expected else [f"lost: step {step} was answered, active is {device.active[:12]}"]
    told = stored + len(device.recorder.rows)
    if told < step + 1:
        wrong.append(f"lost: {step + 1} steps were answered, {told} rows are stored or owed")
    state = read_state(device.store)
    here = {what: name for what, name, _ in worker.STEPS[: step + 1] if what is What.INSTALL}
    gone = [name for name in here.values() if device.digests[name] not in state.installed]
    return wrong + [f"lost: {name} was installed" for name in gone]


def _next_acts(device: worker.Again) -> list[str]:
    """Install, activate, go back and forth, collect."""
    if read_state(device.store).pins:
        device.ask(What.UNPIN, device.digests["bundle-1"])
    other = 2 if device.active != device.digests["bundle-2"] else 3
    for kind in ("bundle", "recipe"):
        answer = device.ask(What.INSTALL, str(device.source(f"{kind}-{other}")))
        if not answer.ok:
            return [f"stuck: install: {answer.text}"]
    before = device.active
    for what, subject, active in (
        (What.ACTIVATE, device.digests[f"recipe-{other}"], device.digests[f"bundle-{other}"]),
        (What.ROLLBACK, "", before),
        (What.COLLECT, "", before),
    ):
        answer = device.ask(what, subject)
        if not answer.ok or device.active != active:
            return [f"stuck: {what}: {answer.text}"]
    return _unverified(device.store, "after the next acts")
