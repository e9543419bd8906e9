"""What the recorder itself has to tell: the trail was opened or closed, the clock was changed. Rows of the trail."""

import os
import time
from pathlib import Path

from daemon.recorder.wall import ClockQuality, WallTime
from daemon.records import AuditRow

OPEN, CLOSE, STEP, QUALITY = "trail-open", "trail-close", "clock-step", "clock-quality"
RESTORED = "trail-restored"
WHO, MACHINE = "recorder", "machine"
BOOT_VARIABLE = "BOOT_ID"
BOOT_FILE = Path("/proc/sys/kernel/random/boot_id")
STEP_NS = 100_000_000


def boot_id() -> str:
    """Return the id of this computer's boot, from the unit file (%b) or the kernel; "" when neither tells."""
    named = os.environ.get(BOOT_VARIABLE, "")
    if named:
        return named.replace("-", "")
    try:
        return BOOT_FILE.read_text(encoding="ascii").strip().replace("-", "")
    except OSError:
        return ""


def opened(last: tuple[str, str], boot: str, about: str) -> AuditRow:
    """The recorder started. `last` is the newest opening or closing on record, `about` release and key."""
    kind, earlier = last
    if not kind:
        old = "no trail before"
    elif kind == CLOSE:
        old = "closed"
    else:
        old = "not closed: the recorder was killed" if earlier == boot else "not closed: power loss or reset"
    return _event(OPEN, "the recorder started", old, boot, about)


def closed(boot: str) -> AuditRow:
    """The recorder was told to stop."""
    return _event(CLOSE, "the recorder was told to stop", "open", boot, "")


def restored(who: str, role: str, why: str, held: str, what: str) -> AuditRow:
    """A person brought records back. `held` is what the TPM's index holds then (hex): its anchor begins anew there."""
    return AuditRow(0, time.monotonic_ns(), RESTORED, who, role, why, held, what, True, "")


class ClockWatch:
    """Sees the wall clock step against CLOCK_MONOTONIC, and its quality change. Owned by the recorder's loop."""

    def __init__(self, wall: WallTime, mono_ns: int) -> None:
        self._last = (wall, mono_ns)

    def look(self, wall: WallTime, mono_ns: int) -> list[AuditRow]:
        """Return what changed since the last look. A slow correction of the rate is no step."""
        before, then_ns = self._last
        self._last = (wall, mono_ns)
        expected = before.ns + mono_ns - then_ns
        found = []
        if abs(wall.ns - expected) >= STEP_NS:
            why = f"the clock was set by {(wall.ns - expected) / 1e9:+.3f} s"
            found.append(_event(STEP, why, utc(expected), utc(wall.ns), ""))
        if wall.quality is not before.quality:
            found.append(_event(QUALITY, _why(wall.quality), before.quality.value, wall.quality.value, ""))
        return found


def utc(wall_ns: int) -> str:
    """Return a wall time as ISO 8601 in UTC with milliseconds."""
    seconds, rest = divmod(wall_ns, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest // 1_000_000:03d}Z"


def _why(quality: ClockQuality) -> str:
    lost = quality is ClockQuality.UNSYNCHRONISED
    return "the kernel's clock is no longer synchronised" if lost else "the kernel's clock is synchronised"


def _event(what: str, why: str, old: str, new: str, answer: str) -> AuditRow:
    return AuditRow(0, time.monotonic_ns(), what, WHO, MACHINE, why, old, new, True, answer)
