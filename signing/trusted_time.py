"""What time it is, for expiry alone. Pure.

A clock that was set back must not make expired metadata fresh again, so the time never lies before the newest signed
time that was ever accepted nor before the last record of this device. A clock that runs ahead cannot be told from a
device that was switched off; the person is told, because everything may look expired.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

FAR_AHEAD = timedelta(days=60)
_NOTICED = timedelta(minutes=5)


class Clock(StrEnum):
    GOOD = "good"
    BACK = "back"
    AHEAD = "ahead"


@dataclass(frozen=True, slots=True)
class TrustedTime:
    """`now` to judge expiry with, and one line about the clock ("" when there is nothing to say)."""

    now: datetime
    clock: Clock
    text: str


def trusted_now(clock: datetime, newest_signed: datetime | None, last_record: datetime | None) -> TrustedTime:
    """Return max(clock, newest signed time, last record).

    Args:
        clock: the computer's, UTC.
        newest_signed: `x-linewarden-signed-at` of the newest timestamp this device trusts, None before the first.
        last_record: UTC of the last row on record here, None where there is none.
    """
    known = [time for time in (newest_signed, last_record) if time is not None]
    if not known:
        return TrustedTime(clock, Clock.GOOD, "")
    newest = max(known)
    if clock < newest:
        late = clock < newest - _NOTICED
        text = f"the clock says {clock:%Y-%m-%d %H:%M} UTC, before {newest:%Y-%m-%d %H:%M} that is on record; set it"
        return TrustedTime(newest, Clock.BACK if late else Clock.GOOD, text if late else "")
    if clock > newest + FAR_AHEAD:
        days = (clock - newest).days
        text = f"the clock says {clock:%Y-%m-%d} UTC, {days} days after the newest signed time and record; is it right?"
        return TrustedTime(clock, Clock.AHEAD, text)
    return TrustedTime(clock, Clock.GOOD, "")
