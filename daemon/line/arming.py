"""What may judge the open batch, and what of it is on record already. Pure.

The recorder says what is armed, vision what is warm; a verdict counts only while both name the same documents and
this process runs on the configuration that the batch, or its sub-lot, was opened with (law 5).

The cut of a swap: a unit is judged, and recorded, by what was armed when this process first heard of it. Nothing of it
can have been seen by a camera before, for a frame is bound only to a unit that the line knows.
"""

from collections.abc import Callable

import msgspec

from daemon.messages import Arm, Judged, Loaded, Resume, Staged
from daemon.units import UnitId

REMEMBERED = 1024
SHORT = 12
Pinned = Callable[[str, str, str], str]  # (bundle, recipe, plan) -> configuration digest of this process


class Arming:
    """Owned by Control. `ready`: the recorder told what it has and which batch is open.

    `loaded` is what a new batch would be judged by, `staged` what is warm besides.
    """

    def __init__(self, pinned: Pinned) -> None:
        self._pinned = pinned
        self._permitted: dict[UnitId, str] = {}
        self._arms: dict[UnitId, Arm] = {}
        self._newest: dict[int, UnitId] = {}
        self._recorded: dict[UnitId, None] = {}
        self._resume: Resume | None = None
        self.arm = Arm("", "", "", "")
        self.loaded: Loaded | None = None
        self.staged: list[Loaded] = []
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
        shown = self.armed or self.loaded
        return shown.bundle_name if shown else ""

    @property
    def armed(self) -> Loaded | None:
        """What is warm of vision's that the open batch is armed with, on this process's configuration."""
        return self._warm(self.arm)

    @property
    def armed_is_loaded(self) -> bool:
        """True while documents of vision's and this process's configuration are the open batch's."""
        return self.armed is not None

    def _warm(self, arm: Arm) -> Loaded | None:
        for warm in (self.loaded, *self.staged):
            if warm and arm.batch and (warm.bundle, warm.recipe) == (arm.bundle, arm.recipe):
                return warm if arm.configuration == self._pinned(warm.bundle, warm.recipe, warm.plan) else None
        return None

    def vision_lost(self) -> None:
        """Vision went away, or began anew: what it had said is void."""
        self.loaded, self.staged = None, []

    def created(self, unit: UnitId) -> None:
        """The line heard of a unit: from now on it belongs to what is armed."""
        self._arms.setdefault(unit, self.arm)
        self._newest[unit.lane] = unit

    def arm_of(self, unit: UnitId) -> Arm:
        """Return what judges a unit. One that an earlier life permitted is of the sub-lot that its permit names; of
        the others that went by without the line nobody knows it, and nothing of them is accepted.
        """
        if unit in self._permitted:
            return msgspec.structs.replace(self.arm, configuration=self._permitted[unit])
        return self._arms.get(unit, self.arm)

    def recipe_of(self, unit: UnitId) -> str:
        """Return the digest of the recipe that judges a unit."""
        return self.arm_of(unit).recipe

    def judges(self, judged: Judged) -> bool:
        """True if a verdict came from what judges its unit, and that is warm on the configuration it was armed with."""
        arm = self.arm_of(judged.unit)
        return (judged.bundle, judged.recipe) == (arm.bundle, arm.recipe) and self._warm(arm) is not None

    def resume(self, resume: Resume) -> None:
        """The recorder said what it has of earlier lives of the line."""
        self._resume = resume
        self._permitted = {row.unit: row.configuration for row in resume.permitted}
        self._recorded |= dict.fromkeys(resume.recorded)

    def warmed(self, message: Loaded | Staged) -> None:
        """Vision said what it has warm."""
        if isinstance(message, Loaded):
            self.loaded = message
        else:
            self.staged = message.warm

    def take(self, arm: Arm) -> str:
        """The recorder said which batch is open and what judges it; return where a swap inside of it cuts, or ""."""
        before, self.arm = self.arm, arm
        self.ready = self._resume is not None
        if arm.batch != before.batch:
            self._arms.clear()
            self._newest.clear()
        if not arm.batch or arm.batch != before.batch or arm.configuration == before.configuration:
            return ""
        newest = ", ".join(str(unit) for _, unit in sorted(self._newest.items())) or "nothing"
        return f"bundle {arm.bundle[:SHORT]} recipe {arm.recipe[:SHORT]} from behind {newest}"

    def concerns(self, unit: UnitId) -> bool:
        """True for a unit of the open batch that has no row yet."""
        since = self._resume.since_epoch if self._resume else 0
        return bool(self.batch) and unit not in self._recorded and unit.epoch >= since

    def permitted(self, unit: UnitId) -> bool:
        """True if a durable permit of an earlier life of the line stands for the unit."""
        return unit in self._permitted

    def recorded(self, unit: UnitId) -> None:
        """The unit has its final row."""
        self._arms.pop(unit, None)
        self._recorded[unit] = None
        if len(self._recorded) > REMEMBERED:
            del self._recorded[next(iter(self._recorded))]
