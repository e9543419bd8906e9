"""Thread `load`: keeps warm what the station file names, what is staged, and what the open batch is armed with.

Verifying and loading takes 0.1 s to some seconds and goes on beside thread `infer`, which takes over what is ready
between two frames. What cannot be loaded changes nothing: it is reported, and whatever was warm stays so.

The store (docs/interfaces/store.md) is `state/store`: `staged` is a link to a generation with bundle, recipe and trust,
`bundles/DIGEST` and `recipes/DIGEST` are where a restart inside a batch finds what a swap had armed.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path

from daemon.config import ConfigError, Station
from daemon.recipe import RecipeRefused
from daemon.store_requests import STORE, VisionReport, report, wake
from daemon.vision.plan import Folders, Plan, folders_of, load_pair, loaded_of, verify_pair
from engines.errors import EngineError
from signing.errors import SigningError

LOOK_S = 0.2
ACTIVE, STAGED = "active", "staged"
NOTHING: tuple[Folders | None, int] = (None, 0)
REFUSALS = (ConfigError, SigningError, RecipeRefused, EngineError, OSError)

_log = logging.getLogger(__name__)


class Place(Enum):
    """Why a pair is kept warm."""

    ACTIVE = auto()
    STAGED = auto()
    ARMED = auto()


@dataclass(frozen=True, slots=True)
class Warm:
    """Everything that is loaded. `active` is what a new batch is judged by."""

    active: Plan
    plans: tuple[Plan, ...]


class Loader:
    """`warm` is for thread `infer` to read, `armed` (bundle, recipe) for it to write; the rest is thread `load`'s.

    Raises (constructor):
        ConfigError, SigningError, RecipeRefused, EngineError, OSError: what the station file names cannot be loaded.
    """

    def __init__(self, station_path: Path, station: Station, state: Path) -> None:
        self._station_path = station_path
        self._station = station
        self._state = state
        self._seen: dict[Place, tuple[Folders | None, int]] = {}
        self._plans: dict[Place, Plan] = {}
        self._stop = threading.Event()
        self._was_armed = ("", "")
        self.armed = ("", "")
        first = self._resolved(Place.ACTIVE)
        number = self._number(Place.ACTIVE, first)
        try:
            active = self._opened(first or folders_of(station_path, station))
        except REFUSALS as error:
            self._report(number, str(error))
            raise
        self._seen[Place.ACTIVE], self._plans[Place.ACTIVE] = (first, number), active
        self._report(number, "")
        self.warm = Warm(active, (active,))
        self._look()

    @property
    def turns(self) -> int:
        """Always another number: loading takes as long as it takes, and nothing that runs waits for it."""
        return time.monotonic_ns()

    def stop(self) -> None:
        """Ask `run` to return after what it is loading."""
        self._stop.set()

    def run(self) -> None:
        """Body of thread `load`: look what is to be warm, until `stop`."""
        while not self._stop.wait(LOOK_S):
            self._look()

    def close(self) -> None:
        """Release every engine. Called once, when no thread runs any more."""
        for plan in self.warm.plans:
            plan.close()

    def _look(self) -> None:
        self._tell_slots()
        for place in Place:
            folders = self._resolved(place)
            found_there = folders, self._number(place, folders)
            if found_there != self._seen.get(place, NOTHING):
                self._seen[place] = found_there
                self._changed(place, *found_there)
        plans = {plan.key: plan for plan in self._plans.values()}
        found = Warm(self._plans[Place.ACTIVE], tuple(plans.values()))
        if found != self.warm:
            self.warm = found

    def _tell_slots(self) -> None:
        """Wake slots when a batch has ended: an activation may have waited for that."""
        before, self._was_armed = self._was_armed, self.armed
        if any(before) and not any(self._was_armed):
            try:
                wake(self._state, "vision")
            except OSError as error:
                _log.error("slots not woken after the batch: %s", error)

    def _changed(self, place: Place, folders: Folders | None, number: int) -> None:
        """Load what a place holds now; the station file's own pair stays warm until another one is."""
        if place is not Place.ACTIVE:
            self._plans.pop(place, None)
        if folders is None:
            return
        try:
            self._plans[place] = self._opened(folders)
        except REFUSALS as error:
            _log.error("%s pair not loaded: %s", place.name.lower(), error)
            self._report(number, str(error))
        else:
            _log.info("%s pair is warm: %s", place.name.lower(), self._plans[place].loaded.bundle_name)
            self._report(number, "")

    def _opened(self, folders: Folders) -> Plan:
        """Verify a pair, always; load it unless the very same documents are warm already."""
        pair = verify_pair(self._station, folders)
        for warm in self._plans.values():
            if warm.key == pair.key:
                return replace(warm, loaded=loaded_of(pair, warm.loaded.plan, warm.approvers))
        return load_pair(self._station, pair)

    def _resolved(self, place: Place) -> Folders | None:
        """Return where a place's documents lie, links followed; None where there are none."""
        finders: dict[Place, Callable[[], Folders | None]] = {
            Place.ACTIVE: lambda: folders_of(self._station_path, self._station),
            Place.STAGED: lambda: _generation(self._state / STORE / STAGED),
            Place.ARMED: self._armed,
        }
        try:
            found = finders[place]()
            there = found is not None and found.bundle.is_dir() and found.recipe.is_dir()
            return found.resolved() if found and there else None
        except OSError as error:
            if self._seen.get(place, NOTHING) != NOTHING:
                _log.error("%s pair not found: %s", place.name.lower(), error)
            return None

    def _armed(self) -> Folders | None:
        """Return where the armed pair lies if nothing else keeps it warm; its trust is that of its own generation."""
        bundle, recipe = self.armed
        if not bundle or self._elsewhere(bundle, recipe):
            return None
        store = self._state / STORE
        trust = folders_of(self._station_path, self._station).trust
        pair = Folders(store / "bundles" / bundle, store / "recipes" / recipe, trust).resolved()
        for number in sorted((store / "generations").glob("*"), key=lambda path: (len(path.name), path.name)):
            one = Folders(number / "bundle", number / "recipe", number / "trust").resolved()
            if (one.bundle, one.recipe) == (pair.bundle, pair.recipe):
                pair = one
        return pair

    def _number(self, place: Place, folders: Folders | None) -> int:
        """Return which generation of the store these folders are, 0 for none: a link may be turned at any moment."""
        link = self._state / STORE / (STAGED if place is Place.STAGED else ACTIVE)
        if place is Place.ARMED or folders is None or (found := _generation(link)) is None:
            return 0
        name = found.bundle.parent.name
        return int(name) if name.isdecimal() and found.resolved() == folders else 0

    def _elsewhere(self, bundle: str, recipe: str) -> bool:
        return any(plan.key == (bundle, recipe) for place, plan in self._plans.items() if place is not Place.ARMED)

    def _report(self, number: int, failure: str) -> None:
        """Say what became of a generation of the store; `slots` reads it (state/vision-reports/GENERATION.json)."""
        if not number:
            return
        said = VisionReport(number, not failure, failure or "verified, loaded and warm")
        try:
            report(self._state, said)
        except OSError as error:
            _log.error("generation %d: report not written: %s", number, error)


def _generation(link: Path) -> Folders | None:
    if not link.is_symlink():
        return None
    folder = link.resolve()
    return Folders(folder / "bundle", folder / "recipe", folder / "trust")
