"""The site acceptance test: one unit after the other is treated as a broken, late or foreign device would treat it, and
the PLC's own ring and eyes say where it went. Pure: the caller brings time and link, `turn` does what is due.

A script is a generator that yields whenever it waits, so that each case reads from top to bottom.
"""

from collections.abc import Callable, Generator, Sequence
from functools import partial

from daemon.acceptance import PLAYED, Case, Finished, Progress, Refused, Result, Word
from daemon.config import Station
from daemon.units import Authority
from drivers.errors import DeviceLost
from drivers.links import RegisterLink, Reply
from drivers.plc_link import Closed, Created, LinkDown, LinkUp, Plc, PlcRestarted, Settings, Snapshot
from drivers.registers import CHANNEL_SHIFT, Command, PlcState, RegisterMap, permit_check, split

Script = Generator[None, None, None]
NS = 1_000_000_000
AUTOMATIC, EXECUTE = 2, 6
LISTEN_S, SETTLE_S, SILENCE_S, CUT_S = 0.3, 0.1, 0.15, 0.3
ANSWER_S, UNIT_S, GONE_S = 3.0, 60.0, 60.0
LEAST_TRAVEL_S = 0.13
TRIES = 5
STRANGER = 0x00FF00FF


class Stuck(Exception):
    """The test cannot go on; the text says what to do."""


class ActingLink:
    """A RegisterLink that can be silent, masked or cut; permits and reads go through otherwise."""

    def __init__(self, link: RegisterLink) -> None:
        self._link = link
        self.muted = True
        self.mask = 0
        self.cut = False
        self.unanswered = 0

    @property
    def up(self) -> bool:
        return self._link.up

    @property
    def idle(self) -> bool:
        return self._link.idle

    def fileno(self) -> int:
        return self._link.fileno()

    def read(self, tag: str, address: int, count: int, index: int = 0, seq: int = 0) -> None:
        self._link.read(tag, address, count, index, seq)

    def write(self, tag: str, address: int, words: Sequence[int], index: int = 0, seq: int = 0) -> None:
        if tag == "beat":
            if self.muted:
                return
            if self.mask:
                words = [*words[:2], *split(self.mask), *words[4:]]
        self.unanswered += 1
        self._link.write(tag, address, words, index, seq)

    def connect(self, now_ns: int) -> bool:
        return not self.cut and self._link.connect(now_ns)

    def service(self, now_ns: int) -> list[Reply]:
        try:
            replies = self._link.service(now_ns)
        except DeviceLost:
            self.unanswered = 0
            raise
        self.unanswered -= sum(not reply.tag.startswith("read") for reply in replies)
        return replies

    def close(self) -> None:
        self.unanswered = 0
        self._link.close()

    def honest(self) -> None:
        """Be the device again."""
        self.muted = self.cut = False
        self.mask = 0


class Acceptance:
    """Owned by the acceptance process, or a test. The caller empties `words`; `over` when there is no more to do."""

    def __init__(
        self,
        station: Station,
        link: RegisterLink,
        registers: RegisterMap,
        settings: Settings,
        clock: Callable[[], int],
        cases: Sequence[Case] = tuple(Case),
    ) -> None:
        self._station = station
        self._map = registers
        self._link = ActingLink(link)
        self._plc = Plc(self._link, registers, settings, clock)
        self._cases = cases
        self._created: list[Created] = []
        self._closed: dict[tuple[int, int, int], Closed] = {}
        self._picked: set[tuple[int, int, int]] = set()
        self._snapshot: Snapshot | None = None
        self._now = clock()
        self._restarts = 0
        self._down = ""
        self._script = self._all()
        self.words: list[Word] = []
        self.over = False

    def fileno(self) -> int:
        return self._plc.fileno()

    def close(self) -> None:
        """Withdraw: the heartbeat stops, so the PLC rejects by itself."""
        self._plc.close()

    def turn(self, now_ns: int) -> None:
        """Do what is due; called every millisecond or when the link has something."""
        self._now = now_ns
        for event in self._plc.service(now_ns):
            self._event(event)
        try:
            next(self._script)
        except StopIteration:
            self.over = True
        except Stuck as stuck:
            self.words.append(Refused(str(stuck)))
            self.over = True
        self._plc.flush()

    def _event(self, event: object) -> None:
        match event:
            case Snapshot():
                self._snapshot = event
            case Created():
                self._created.append(event)
            case Closed():
                self._closed[event.epoch, event.lane, event.number] = event
            case PlcRestarted():
                self._restarts += 1
            case LinkDown(cause=cause):
                self._snapshot, self._down = None, cause
            case LinkUp():
                self._down = ""

    def _all(self) -> Script:
        yield from self._alone()
        yield from self._ready()
        strays = self._strays()
        for case in self._cases:
            yield from self._play(case)
            if self._restarts:
                raise Stuck("the PLC program started anew during the test: find out why and begin again")
        self._command(Command.HOLD)
        yield from self._sent()
        registers = self._registers()
        passed = [key for key, unit in self._closed.items() if self._went_past(unit) and key not in self._picked]
        strays = self._strays() - strays + len(passed)
        self.words.append(Finished(strays, registers["plc_identity"], registers["starts"]))

    def _alone(self) -> Script:
        """Connect without a heartbeat; whoever has one is the device that runs this line."""
        self._say("", "connecting")
        yield from self._until(lambda: self._snapshot is not None, ANSWER_S, self._unreachable)
        yield from self._wait(LISTEN_S)
        registers, geometry = self._registers(), self._station.geometry
        travel_s = (geometry.gate_mm - geometry.ejector_lead_mm) / geometry.speed_mm_s
        problems = {
            "another device is alive at this PLC: stop the line first": registers["plc_state"] & PlcState.DEVICE_ALIVE,
            f"this PLC has map version {registers['map_version']}, not {self._map.version}": registers["map_version"]
            != self._map.version,
            f"this is PLC {registers['plc_identity']}; the station file says {self._station.plc_identity}": registers[
                "plc_identity"
            ]
            != self._station.plc_identity,
            "this PLC expects another device: correct its settings or the station file": registers[
                "device_identity_expected"
            ]
            != self._station.identity,
            "turn the key switch to LINEWARDEN": registers["authority"] != Authority.LINEWARDEN,
            f"a unit reaches the gate within {travel_s * 1000:.0f} ms: run the belt slower": travel_s < LEAST_TRAVEL_S,
        }
        for text, wrong in problems.items():
            if wrong:
                raise Stuck(text)

    def _ready(self) -> Script:
        """Be the device: heartbeat, a new epoch, belt and infeed."""
        self._link.honest()
        self._command(Command.RUN | Command.HOLD)
        yield from self._agree()
        if self._registers()["plc_state"] & PlcState.ABORTED:
            self._command(Command.RUN | Command.HOLD | Command.RESET)
            yield from self._wait(SETTLE_S)

    def _agree(self) -> Script:
        self._plc.ask_epoch(self._registers()["epoch"] + 1)
        yield from self._until(
            self._agreed, ANSWER_S, lambda: "the PLC grants no epoch: see register epoch_nonce_granted"
        )

    def _agreed(self) -> bool:
        return bool(
            self._plc.up
            and self._plc.epoch
            and self._snapshot
            and self._snapshot.registers["plc_state"] & PlcState.DEVICE_ALIVE
        )

    def _play(self, case: Case) -> Script:
        for _ in range(TRIES):
            self._say(case, PLAYED[case])
            before = self._plc.epoch
            if case is Case.OLD_EPOCH:
                yield from self._agree()
            unit = yield from self._pick()
            yield from self._treat(case, unit, before)
            key = (unit.epoch, unit.lane, unit.number)
            yield from self._until(partial(self._closed.__contains__, key), GONE_S, lambda: "the unit was never closed")
            self._link.honest()
            yield from self._wait(SETTLE_S)
            yield from self._until(self._agreed, ANSWER_S, lambda: "the PLC does not take this device back")
            closed = self._closed[key]
            if self._cause(closed) != "too_close" and "phantom" not in self._flags(closed):
                self.words.append(self._result(case, closed))
                return
        raise Stuck(f"{TRIES} units in a row came too close to another or had no body: space the vials")

    def _pick(self) -> Generator[None, None, Created]:
        """Open the infeed for one unit."""
        self._created.clear()
        self._command(Command.RUN)
        yield from self._until(
            lambda: any(unit.epoch == self._plc.epoch for unit in self._created), UNIT_S, self._no_unit
        )
        unit = next(unit for unit in reversed(self._created) if unit.epoch == self._plc.epoch)
        self._picked.add((unit.epoch, unit.lane, unit.number))
        self._command(Command.RUN | Command.HOLD)
        return unit

    def _treat(self, case: Case, unit: Created, before: int) -> Script:
        """Do to the unit what the case says."""
        slot, link = unit.number % self._map.permit.length, self._link
        match case:
            case Case.CONTROL | Case.CONTROL_AGAIN:
                self._write(unit)
            case Case.SHIFTED_SLOT:
                self._write(unit, slot=(slot + 1) % self._map.permit.length)
            case Case.SHIFTED_UNIT:
                self._write(unit, number=unit.number + 1)
            case Case.OLD_EPOCH:
                self._write(unit, epoch=before)
            case Case.TORN_WRITE:
                self._write(unit, length=2)
            case Case.WRONG_CHECK:
                self._write(unit, spoil=1)
            case Case.EPOCH_CHANGED:
                self._write(unit)
                yield from self._sent()
                yield from self._agree()
                self._write(unit)
            case Case.FOREIGN_DEVICE:
                yield from self._sent()
                link.mask = self._station.identity ^ STRANGER
                yield from self._wait(SETTLE_S / 2)
                self._write(unit)
            case Case.STALE_PERMIT | Case.HEARTBEAT_STOPPED | Case.LINK_CUT:
                self._write(unit)
                yield from self._sent()
                yield from self._vanish(case)
        yield from self._sent()

    def _vanish(self, case: Case) -> Script:
        self._link.muted = True
        if case is Case.STALE_PERMIT:
            yield from self._wait(SILENCE_S)
            self._link.muted = False
        elif case is Case.LINK_CUT:
            self._link.cut = True
            self._plc.close()
            yield from self._wait(CUT_S)
            self._link.honest()

    def _write(
        self, unit: Created, *, number: int = 0, epoch: int = 0, slot: int = -1, spoil: int = 0, length: int = 4
    ) -> None:
        """Write a permit for the unit: a valid one but for what is named."""
        number, epoch = number or unit.number, epoch or self._plc.epoch
        place = unit.number % self._map.permit.length if slot < 0 else slot
        check = permit_check(number, epoch, unit.lane, place, self._station.identity) ^ spoil
        words = [*split(number), epoch & 0xFFFF, check]
        self._link.write("permit", self._map.permit.at(unit.lane, place), words[:length])
        self._plc.flush()

    def _command(self, bits: int) -> None:
        self._plc.command(int(bits), AUTOMATIC, EXECUTE)

    def _result(self, case: Case, unit: Closed) -> Result:
        flags, cause = self._flags(unit), self._cause(unit)
        if case.must_pass:
            ok = {"permitted", "pass_seen"} <= set(flags) and "diverted" not in flags
            text = "passed and was seen behind the gate" if ok else "a permitted unit did not pass"
        elif self._went_past(unit):
            ok, text = False, "WENT PAST THE GATE"
        else:
            ok = {"diverted", "chute_seen"} <= set(flags)
            text = "diverted and seen in the chute" if ok else "diverted, but the chute eye did not see it"
        return Result(case, unit.epoch, unit.lane, unit.number, flags, cause, ok, text)

    def _went_past(self, unit: Closed) -> bool:
        return bool({"pass_seen", "permitted"} & set(self._flags(unit))) or "diverted" not in self._flags(unit)

    def _flags(self, unit: Closed) -> list[str]:
        return [name for name, bit in self._map.flags.items() if unit.flags & ((1 << CHANNEL_SHIFT) - 1) & bit]

    def _cause(self, unit: Closed) -> str:
        return next((name for name, value in self._map.causes.items() if value == unit.cause), str(unit.cause))

    def _strays(self) -> int:
        return self._registers()["stray_pass"]

    def _registers(self) -> dict[str, int]:
        if self._snapshot is None:
            raise Stuck(f"the connection to the PLC broke: {self._down}")
        return self._snapshot.registers

    def _unreachable(self) -> str:
        return f"the PLC does not answer: {self._down or 'no connection'}; check the wiring section of the station file"

    def _no_unit(self) -> str:
        return f"no unit came within {UNIT_S:.0f} s: put vials on the infeed and see that belt and infeed run"

    def _say(self, case: str, text: str) -> None:
        self.words.append(Progress(case, text))

    def _sent(self) -> Script:
        """Wait until the PLC has taken everything that was written."""
        yield
        yield from self._until(lambda: not self._link.unanswered, ANSWER_S, self._unreachable)

    def _wait(self, seconds: float) -> Script:
        end = self._now + int(seconds * NS)
        while self._now < end:
            yield

    def _until(self, ready: Callable[[], bool], seconds: float, text: Callable[[], str]) -> Script:
        end = self._now + int(seconds * NS)
        while not ready():
            if self._now > end:
                raise Stuck(text())
            yield
