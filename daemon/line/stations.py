"""The camera stations as the line sees them: one binder each, their sessions, and W from recipe and belt speed."""

from daemon.config import Station
from daemon.line import tracking
from daemon.line.binding import Binder, Settings
from daemon.messages import Loaded
from daemon.views import spacing_mm
from drivers.gate.plc_carrier import Carrier
from drivers.plc_link import Snapshot
from drivers.registers import signed_delta

WAIT_FACTOR_NS = 1_000_000
SLOWEST_NS = 25_000_000
FASTEST_NS = 1_500_000
SPEED_NS = 40_000_000
LATENCY_MS = 120.0


class Stations:
    """Owned by the line loop."""

    def __init__(self, station: Station) -> None:
        self._cameras = {camera.name: camera for camera in station.cameras}
        self._by_station = {camera.station: camera.name for camera in station.cameras}
        self._windows = dict.fromkeys(self._cameras, SLOWEST_NS)
        self._binders = {name: Binder(self._settings(name)) for name in self._cameras}
        self._counts_per_mm = station.geometry.counts_per_mm
        self._window_ms, self._min_gap_mm = SLOWEST_NS / 1e6, 0.0
        self._quarter_ns = SLOWEST_NS
        self._mark: Snapshot | None = None
        self._counts_per_ns = 0.0
        self.sessions = dict.fromkeys(self._cameras, 0)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._cameras)

    def at(self, station: int) -> str:
        """Return the camera at a trigger station."""
        return self._by_station[station]

    def binder(self, name: str) -> Binder:
        return self._binders[name]

    @property
    def synced(self) -> bool:
        return all(binder.synced for binder in self._binders.values())

    @property
    def waits(self) -> bool:
        """True while a frame waits for its edge."""
        return any(binder.waits for binder in self._binders.values())

    def facts(self) -> tuple[tuple[str, bool, bool], ...]:
        """Return (name, acquiring, in step) of each camera."""
        return tuple((name, bool(self.sessions[name]), binder.synced) for name, binder in self._binders.items())

    def limit(self, window_ms: float, min_gap_mm: float) -> None:
        """Take the recipe's window and minimum gap."""
        self._window_ms, self._min_gap_mm = window_ms, min_gap_mm
        self._apply(self._quarter_ns)

    def speed(self, before: Snapshot, now: Snapshot) -> None:
        """Follow the belt: W is a quarter of the minimum gap at its present speed, at most the recipe's window."""
        self._mark = self._mark or before
        elapsed = now.at_ns - self._mark.at_ns
        if elapsed < SPEED_NS:
            return
        counts = signed_delta(now.registers["encoder"], self._mark.registers["encoder"])
        self._mark = now
        self._counts_per_ns = max(0.0, counts / elapsed)
        if counts > 0:
            gap_ns = self._min_gap_mm * self._counts_per_mm * elapsed / counts
            self._apply(int(gap_ns / 4))

    def look_ahead(self, tracker: tracking.Tracker, snapshot: Snapshot | None, now_ns: int) -> None:
        """Tell the tracker how far the belt can be, before anything is decided in a turn that may come late."""
        if snapshot:
            tracker.encoder(self.furthest(snapshot, now_ns))

    def furthest(self, snapshot: Snapshot, now_ns: int) -> int:
        """Return where the belt can be at most by now, in counts; 3 % above its last speed."""
        age_ns = now_ns - snapshot.at_ns
        return snapshot.registers["encoder"] + int(1.03 * self._counts_per_ns * age_ns)

    def feed(self, until_ns: int) -> None:
        """Tell the binders until when all edges are known."""
        for binder in self._binders.values():
            binder.feed(until_ns)

    def _apply(self, quarter_gap_ns: int) -> None:
        self._quarter_ns = quarter_gap_ns
        for name, binder in self._binders.items():
            window, before = self._window(name), self._windows[name]
            if abs(window - before) * 20 > before:
                self._windows[name] = window
                binder.configure(self._settings(name))

    def _window(self, name: str) -> int:
        """W of a camera; several shots of a unit come closer to each other than two units do."""
        gap_mm = self._min_gap_mm
        share = spacing_mm(self._cameras[name], gap_mm) / gap_mm if gap_mm else 1.0
        return max(min(int(self._quarter_ns * share), int(self._window_ms * 1e6), SLOWEST_NS), FASTEST_NS)

    def _settings(self, name: str) -> Settings:
        return Settings(self._windows[name], int(self._cameras[name].frame_timeout_ms * WAIT_FACTOR_NS))


def limits(station: Station, loaded: Loaded | None) -> tracking.Settings:
    """Return what the tracker needs of station and recipe; before a recipe is loaded nothing can be accepted."""
    geometry = station.geometry
    carrier = geometry.carrier
    lead, scale = geometry.ejector_lead_mm, geometry.counts_per_mm
    return tracking.Settings(
        views=frozenset(loaded.views if loaded else ()),
        min_gap_counts=int(
            max(loaded.min_gap_mm if loaded else 0.0, getattr(station.wiring, "min_gap_mm", 0.0)) * scale
        ),
        decision_counts=int((geometry.gate_mm - lead) * scale),
        margin_counts=int(lead * scale),
        sampling_every=loaded.sampling_every if loaded else 0,
        max_gap_counts=int((loaded.max_gap_mm if loaded else 0.0) * scale),
        carrier=Carrier(carrier.pockets, round(carrier.pockets * carrier.pitch_mm * scale)) if carrier else None,
        latency_ns=int(min(loaded.max_latency_ms if loaded else LATENCY_MS, LATENCY_MS) * 1e6),
    )
