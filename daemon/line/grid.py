"""Which units a frame shows. Pure.

A camera shows the one unit that fired it, or, with regions, one unit in each: on a carrier a region's unit stands a
whole number of pockets behind the first one's, in its own lane. It is found by where it was latched at the infeed eye,
never by counting numbers: an empty pocket shows nobody.
"""

from collections import OrderedDict, defaultdict, deque

from daemon.config import Camera, Station
from daemon.units import UnitId, ViewKey
from drivers.registers import signed_delta

KEPT = 64
FRAMES = 512
Member = tuple[UnitId, ViewKey]


class Grid:
    """Owned by Control. `encoder` arguments are the PLC's u32 counts."""

    def __init__(self, station: Station) -> None:
        geometry = station.geometry
        self._scale = geometry.counts_per_mm
        self._pitch = round(geometry.carrier.pitch_mm * self._scale) if geometry.carrier else 0
        self._cameras = {camera.name: camera for camera in station.cameras}
        self._latched: dict[int, deque[tuple[int, UnitId]]] = defaultdict(lambda: deque(maxlen=KEPT))
        self._frames: OrderedDict[tuple[str, UnitId, int], list[Member]] = OrderedDict()

    def created(self, unit: UnitId, encoder: int) -> None:
        """The infeed eye latched a unit."""
        self._latched[unit.lane].append((encoder, unit))

    def served(self, name: str, unit: UnitId, shot: int, encoder: int) -> list[Member]:
        """A camera was fired for a unit at that encoder value. Return every unit that its frame will show."""
        camera = self._cameras[name]
        if not camera.regions:
            return [(unit, ViewKey(camera.look, 0, shot))]
        members = self._in_regions(camera, shot, encoder)
        self._frames[name, unit, shot] = members
        while len(self._frames) > FRAMES:
            self._frames.popitem(last=False)
        return members

    def members(self, name: str, unit: UnitId, shot: int) -> list[Member]:
        """Return what `served` said of that trigger."""
        camera = self._cameras[name]
        if not camera.regions:
            return [(unit, ViewKey(camera.look, 0, shot))]
        return self._frames.get((name, unit, shot), [])

    def _in_regions(self, camera: Camera, shot: int, encoder: int) -> list[Member]:
        first = encoder - round(camera.position_mm * self._scale) - shot * round(camera.shot_pitch_mm * self._scale)
        found: list[Member] = []
        for index, region in enumerate(camera.regions):
            due = first + region.behind * self._pitch
            for at, unit in self._latched[region.lane]:
                if 4 * abs(signed_delta(at, due & 0xFFFFFFFF)) <= self._pitch:
                    found.append((unit, ViewKey(camera.look, index, shot)))
        units = [unit for unit, _ in found]
        return [(unit, view) for unit, view in found if units.count(unit) == 1 and self._alone(view, found)]

    @staticmethod
    def _alone(view: ViewKey, found: list[Member]) -> bool:
        """Two units in one pocket: nobody can say which of them a region shows."""
        return [other for _, other in found].count(view) == 1
