"""Alarm states of ISA-18.2 over the faults of the line. Pure: the caller brings the time.

Theory. An alarm is what a person has to notice, and has a life of its own beside the fault behind it: it is active or
gone, acknowledged or not, and may be shelved for a while by a named person. None of that changes what the line does.
One alarm is one (code, subject), however often it comes: it is counted, not repeated.
"""

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from daemon.faults import STOPS, TABLE, Reaction

LONGEST_SHELF_NS = 8 * 3600 * 1_000_000_000
REPEAT_NS = 60_000_000_000
MOST = 200

Key = tuple[str, str]
"""Code of faults.TABLE and subject: a camera, an input, or "" for the line."""


class AlarmState(enum.StrEnum):
    """States of ISA-18.2 in which an alarm can be."""

    NORMAL = "normal"
    UNACKNOWLEDGED = "unacknowledged"
    ACKNOWLEDGED = "acknowledged"
    RETURNED = "returned"
    SHELVED = "shelved"
    OUT_OF_SERVICE = "out_of_service"


_ACTIVE = {AlarmState.UNACKNOWLEDGED, AlarmState.ACKNOWLEDGED}
_WAITS = {AlarmState.UNACKNOWLEDGED, AlarmState.RETURNED}
_SILENT = {AlarmState.SHELVED, AlarmState.OUT_OF_SERVICE}


@dataclass(slots=True)
class Alarm:
    """One alarm. Times CLOCK_MONOTONIC ns; `stands` tells whether its fault is there now, whatever the state.

    `who` acknowledged, shelved or took it out of service last, `until_ns` is the end of its time on the shelf.
    """

    code: str
    subject: str
    state: AlarmState = AlarmState.NORMAL
    stands: bool = False
    since_ns: int = 0
    count: int = 0
    text: str = ""
    who: str = ""
    until_ns: int = 0
    told_ns: int = -REPEAT_NS

    @property
    def name(self) -> str:
        """CODE or CODE/subject, as a person writes it."""
        return f"{self.code}/{self.subject}" if self.subject else self.code

    @property
    def stops(self) -> bool:
        """True for an alarm whose fault stops the line."""
        return TABLE[self.code].reaction in STOPS


class Alarms:
    """Owned by Desk. Acts return "" when done, or one line that says why not."""

    def __init__(self) -> None:
        self._alarms: dict[Key, Alarm] = {}

    def raised(self, code: str, subject: str, text: str, now_ns: int, *, stands: bool) -> bool:
        """A fault came; `stands` if it lasts until `returned`. Return True if it is worth a line in the record.

        That is when it is news to the person who looks, and once in REPEAT_NS while it goes on coming.
        """
        alarm = self._alarms.get((code, subject))
        if alarm is None:
            self._forget_one()
            alarm = self._alarms[code, subject] = Alarm(code, subject)
        alarm.count += 1
        alarm.text = text
        again = alarm.stands
        alarm.stands = again or stands
        seen = alarm.state in (AlarmState.NORMAL, AlarmState.ACKNOWLEDGED) and not again
        news = seen or now_ns - alarm.told_ns >= REPEAT_NS
        if alarm.state not in _SILENT and not again:
            if alarm.state not in _WAITS:
                alarm.since_ns = now_ns
            alarm.state = AlarmState.UNACKNOWLEDGED if stands else AlarmState.RETURNED
        if news:
            alarm.told_ns = now_ns
        return news

    def returned(self, code: str, subject: str) -> None:
        """The fault is gone."""
        alarm = self._alarms.get((code, subject))
        if alarm is None:
            return
        alarm.stands = False
        if alarm.state is AlarmState.ACKNOWLEDGED:
            alarm.state = AlarmState.NORMAL
        elif alarm.state is AlarmState.UNACKNOWLEDGED:
            alarm.state = AlarmState.RETURNED

    def acknowledge(self, name: str, who: str) -> str:
        """A person has seen one alarm, or `all`."""
        found = [alarm for alarm in self._alarms.values() if name in ("all", alarm.name) and alarm.state in _WAITS]
        for alarm in found:
            alarm.state = AlarmState.ACKNOWLEDGED if alarm.stands else AlarmState.NORMAL
            alarm.who = who
        return "" if found or name == "all" else f"no alarm {name!r} waits to be acknowledged: see `linewarden alarms`"

    def shelve(self, name: str, who: str, for_ns: int, now_ns: int) -> str:
        """Put an alarm out of sight for a while; it comes back by itself."""
        alarm, refusal = self._may_silence(name)
        if alarm is None:
            return refusal
        if not 0 < for_ns <= LONGEST_SHELF_NS:
            return f"{name} can be shelved for 1 to {LONGEST_SHELF_NS // 60_000_000_000} minutes"
        alarm.state, alarm.who, alarm.until_ns = AlarmState.SHELVED, who, now_ns + for_ns
        return ""

    def take_out(self, name: str, who: str) -> str:
        """Take an alarm out of service until a person puts it back."""
        alarm, refusal = self._may_silence(name)
        if alarm is None:
            return refusal
        alarm.state, alarm.who, alarm.until_ns = AlarmState.OUT_OF_SERVICE, who, 0
        return ""

    def bring_back(self, name: str, who: str, now_ns: int) -> str:
        """A person unshelves an alarm or puts it back in service."""
        alarm = self._named(name)
        if alarm is None or alarm.state not in _SILENT:
            return f"{name!r} is neither shelved nor out of service: see `linewarden alarms`"
        alarm.who = who
        self._back(alarm, now_ns)
        return ""

    def tick(self, now_ns: int) -> list[Alarm]:
        """Return the alarms whose time on the shelf is over now."""
        over = [a for a in self._alarms.values() if a.state is AlarmState.SHELVED and now_ns >= a.until_ns]
        for alarm in over:
            self._back(alarm, now_ns)
        return over

    def waiting(self) -> list[str]:
        """Return the names of the alarms that wait to be acknowledged."""
        return [alarm.name for alarm in self._alarms.values() if alarm.state in _WAITS]

    def state(self, name: str) -> AlarmState:
        """Return the state of an alarm; what never came is normal."""
        alarm = self._named(name)
        return alarm.state if alarm else AlarmState.NORMAL

    @property
    def horn(self) -> bool:
        """True while an alarm that stops the line, or did, waits for somebody to acknowledge it."""
        return any(alarm.state in _WAITS and alarm.stops for alarm in self._alarms.values())

    @property
    def active(self) -> bool:
        """True while the fault of any alarm in sight stands."""
        return any(alarm.state in _ACTIVE for alarm in self._alarms.values())

    def shown(self) -> Iterator[Alarm]:
        """Yield what a person has to see, the most urgent first: all that is not normal."""
        order = (Reaction.ABORT, Reaction.HOLD, Reaction.SUSPEND, Reaction.REJECT, Reaction.ALARM)
        rows = [alarm for alarm in self._alarms.values() if alarm.state is not AlarmState.NORMAL]
        yield from sorted(rows, key=lambda a: (a.state in _SILENT, order.index(TABLE[a.code].reaction), a.since_ns))

    def _named(self, name: str) -> Alarm | None:
        code, _, subject = name.partition("/")
        return self._alarms.get((code, subject))

    def _may_silence(self, name: str) -> tuple[Alarm | None, str]:
        code, _, subject = name.partition("/")
        row = TABLE.get(code)
        if row is None:
            return None, f"there is no alarm {code!r}: see `linewarden alarms`"
        if row.safety:
            return None, f"{code} guards the product: it can be neither shelved nor taken out of service"
        return self._alarms.setdefault((code, subject), Alarm(code, subject)), ""

    def _back(self, alarm: Alarm, now_ns: int) -> None:
        alarm.until_ns = 0
        alarm.state = AlarmState.UNACKNOWLEDGED if alarm.stands else AlarmState.NORMAL
        if alarm.stands:
            alarm.since_ns = now_ns

    def _forget_one(self) -> None:
        """Make room: a normal alarm goes first, then the one whose fault is gone for longest."""
        if len(self._alarms) < MOST:
            return
        gone = [key for key, alarm in self._alarms.items() if not alarm.stands and alarm.state not in _SILENT]
        if gone:
            del self._alarms[min(gone, key=lambda key: self._rank(self._alarms[key]))]

    @staticmethod
    def _rank(alarm: Alarm) -> tuple[bool, int]:
        return alarm.state is not AlarmState.NORMAL, alarm.since_ns
