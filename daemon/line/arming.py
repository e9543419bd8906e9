"""What may judge the open batch, and what of it is on record already. Pure.

The recorder says what is armed, vision what is loaded; a verdict counts only while both name the same documents and
this process runs on the configuration that the batch was opened with (law 5).
"""

from collections.abc import Callable

from daemon.messages import Arm, Loaded, Resume
from daemon.units import UnitId

REMEMBERED = 1024
Pinned = Callable[[str, str, str], str]  # (bundle, recipe, plan) -> configuration digest of this process


class Arming:
    """Owned by Control. `ready`: the recorder told what it has and which batch is open."""

    def __init__(self, pinned: Pinned) -> None:
        self._pinned = pinned
        self._permitted: set[UnitId] = set()
        self._recorded: dict[UnitId, None] = {}
        self._resume: Resume | None = None
        self.arm = Arm("", "", "", "")
        self.loaded: Loaded | None = None
        self.ready = False

    @property
    def batch(self) -> str:
        return self.arm.batch

    @property
    def told(self) -> Resume:
        """What the recorder said it has of earlier lives of the line."""
        return self._resume or Resume(0, [])

    @property
    def bundle_name(self) -> str:
        return self.loaded.bundle_name if self.loaded else ""

    @property
    def armed_is_loaded(self) -> bool:
        """True while vision's documents and this process's configuration are the open batch's."""
        loaded, arm = self.loaded, self.arm
        if not loaded or not arm.batch or (loaded.bundle, loaded.recipe) != (arm.bundle, arm.recipe):
            return False
        return arm.configuration == self._pinned(loaded.bundle, loaded.recipe, loaded.plan)

    def resume(self, resume: Resume) -> None:
        """The recorder said what it has of earlier lives of the line."""
        self._resume = resume
        self._permitted = {row.unit for row in resume.permitted}
        self._recorded |= dict.fromkeys(resume.recorded)

    def take(self, arm: Arm) -> None:
        """The recorder said which batch is open."""
        self.arm = arm
        self.ready = self._resume is not None

    def concerns(self, unit: UnitId) -> bool:
        """True for a unit of the open batch that has no row yet."""
        since = self._resume.since_epoch if self._resume else 0
        return bool(self.batch) and unit not in self._recorded and unit.epoch >= since

    def permitted(self, unit: UnitId) -> bool:
        """True if a durable permit of an earlier life of the line stands for the unit."""
        return unit in self._permitted

    def recorded(self, unit: UnitId) -> None:
        """The unit has its final row."""
        self._recorded[unit] = None
        if len(self._recorded) > REMEMBERED:
            del self._recorded[next(iter(self._recorded))]
