"""One life of the line process after another: the product's driver and Control under a loop that virtual time turns."""

from collections import deque
from collections.abc import Callable

from proof_agenda import MS, Agenda, Alarm
from proof_wire import LocalLink, Request, Wire

from daemon.config import Station
from daemon.line.control import Control, Post
from daemon.messages import Act
from daemon.wire import Message
from drivers.plc_link import Plc, Settings
from drivers.registers import RegisterMap

HEARTBEAT_NS = 20 * MS
TURN_NS = 1 * MS
BUSY_NS = 400_000
QUIET_NS = 18 * MS
POLL_NS = 4 * MS
DRIVE_NS = 4 * MS
CONFIGURATIONS = {"recipe 1": "configuration 1", "recipe 2": "configuration 2"}


class Driver(Plc):
    """The driver; notes that somebody is in a hurry, so that the loop turns again in a millisecond.

    `taken_back(number)` is told of every permit that the line takes back, whether the write arrives or not.
    """

    hurried = False
    taken_back: Callable[[int], None]

    def hurry(self) -> None:
        super().hurry()
        self.hurried = True

    def revoke(self, lane: int, number: int) -> None:
        self.taken_back(number)
        super().revoke(lane, number)


def _pinned(_bundle: str, recipe: str, _plan: str) -> str:
    return CONFIGURATIONS[recipe]


class LineProcess:
    """Owned by the World. `start` begins a life, `kill` ends it, `hang` and `wake` stop and continue it (SIGSTOP)."""

    def __init__(
        self, agenda: Agenda, wire: Wire, station: Station, registers: RegisterMap, settings: Settings, post: Post
    ) -> None:
        self._agenda, self._wire, self._post = agenda, wire, post
        self._station, self._registers, self._settings = station, registers, settings
        self._alarm = Alarm(agenda, self._turn)
        self._inbox: deque[Message] = deque()
        self._link = LocalLink(agenda, wire, self._wake)
        self._driver = Driver(self._link, registers, settings, clock=lambda: agenda.now)
        self.arrived: Callable[[Request], None] = lambda _: None
        self.taken_back: dict[int, list[int]] = {}
        self.up = False
        self.hung = False
        self.turns = 0
        self._news_ns = self._turned_ns = 0

    @property
    def epoch(self) -> int:
        """The epoch that the driver believes in."""
        return self._driver.epoch

    def start(self) -> None:
        """A new process: nothing of the last one is known to it."""
        self._link = LocalLink(self._agenda, self._wire, self._wake, lambda: self.up and not self.hung)
        self._link.arrived = self.arrived
        self._driver = Driver(self._link, self._registers, self._settings, clock=lambda: self._agenda.now)
        self._driver.taken_back = lambda number: self.taken_back.setdefault(number, []).append(self._agenda.now)
        self.control = Control(self._station, self._driver, self._registers, _pinned, self._post)
        self._inbox.clear()
        self.up, self.hung = True, False
        self._wake(self._agenda.now)

    def kill(self) -> None:
        """SIGKILL: the kernel closes its connection; what was sent may still arrive."""
        self.up = False
        self._link.close()

    def wake(self) -> None:
        """SIGCONT."""
        self.hung = False
        self._wake(self._agenda.now)

    def deliver(self, message: Message) -> None:
        """A message lies in its socket."""
        if self.up:
            self._inbox.append(message)
            self._wake(self._agenda.now)

    def poll(self) -> None:
        """The PLC has news; the loop's next poll finds them."""
        self._news_ns = self._agenda.now
        self._wake(self._link.poll_ns + POLL_NS)

    def poll_again(self) -> None:
        """The PLC's heartbeat went on; that alone is read only where nothing else was for a while."""
        if self._agenda.now - self._link.poll_ns > QUIET_NS:
            self.poll()

    def act(self, kind: str, new: str = "") -> bool:
        """A person acts."""
        if not self.up or self.hung:
            return False
        answer = self.control.act(Act(kind, "operator", "operator", "proof", "", new), self._agenda.now)
        self._wake(self._agenda.now)
        return answer.ok

    def _wake(self, at_ns: int) -> None:
        if self.up and not self.hung:
            self._alarm.at(max(at_ns, self._turned_ns + BUSY_NS))

    def _turn(self) -> None:
        if not self.up or self.hung:
            return
        now, driver, control = self._agenda.now, self._driver, self.control
        self.turns += 1
        rested, self._turned_ns = now - self._turned_ns > TURN_NS, now
        driver.hurried = False
        word = (driver.command_bits, driver.mode, driver.state, driver.lamps)
        for event in driver.service(now) if control.ready else ():
            control.event(event, now)
        if rested and self._inbox:
            control.tick(now)  # the loop turns every millisecond: what it knows of the belt is never older than that
        while self._inbox:
            control.message(self._inbox.popleft(), now)
        control.tick(now)
        driver.flush()
        changed = word != (driver.command_bits, driver.mode, driver.state, driver.lamps)
        unread = self._link.poll_ns < self._news_ns and now >= self._link.poll_ns + POLL_NS
        if changed or driver.hurried or unread:
            self._wake(now + TURN_NS)
        self._wake(max(self._link.beat_ns + HEARTBEAT_NS, now + TURN_NS))
