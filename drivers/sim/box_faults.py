"""Plays the box's faults: begins them when their vial trips the infeed eye, ends them when their time is up."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from drivers.sim.box_cameras import EDGE_FAULTS, Cameras
from drivers.sim.box_fronts import Front
from drivers.sim.box_talk import Speaker
from drivers.sim.faults import MS, Executor, FaultName, Order, Schedule
from drivers.sim.machine import Machine
from drivers.sim.truth import TruthLog

BOUNCE_MM = 8.0
INPUTS = {
    FaultName.AIR_LOW: "air_ok",
    FaultName.BIN_FULL: "bin_ok",
    FaultName.GUARD_OPEN: "guard_closed",
    FaultName.REJECT_INHIBITED: "rejects_enabled",
}
Act = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Ending:
    """A fault that lasts: when it ends and what ends it."""

    order: Order
    at_ns: int
    act: Act


class FaultPlay:
    """Owned by the box's loop. Acts get the time of the scan, ns."""

    def __init__(
        self, schedule: Schedule, machine: Machine, front: Front, cameras: Cameras, inputs: Mapping[str, int]
    ) -> None:
        """`inputs`: the bit of each digital input that the station wires, by name."""
        self._schedule = schedule
        self._inputs = inputs
        self._machine = machine
        self._cameras = cameras
        self._endings: list[Ending] = []
        self._waiting: dict[int, Order] = {}
        self._delayed: list[tuple[int, Order]] = []
        first = cameras.heads[0].feed
        self._lasting: dict[FaultName, tuple[Act, Act]] = {
            FaultName.CAMERA_LOSS: (lambda _: first.drop_link(), lambda _: first.restore_link()),
            FaultName.CAMERA_RESTART: (lambda _: first.drop_link(), lambda _: first.restore_link(reboot=True)),
            FaultName.PLC_LINK_DOWN: (lambda _: front.shut(), lambda _: front.open()),
            FaultName.PLC_RESTART: (machine.stop_plc, lambda now: machine.start_plc(now, True)),
            FaultName.RESTART_SAME_NUMBERS: (machine.stop_plc, lambda now: machine.start_plc(now, False)),
            FaultName.LIGHT_OUT: (lambda _: cameras.darken(True), lambda _: cameras.darken(False)),
            FaultName.CHUTE_BLIND: (lambda _: self._blind(True), lambda _: self._blind(False)),
            **{fault: (self._switched(name, False), self._switched(name, True)) for fault, name in INPUTS.items()},
        }

    def infeed(self, vial: int, now_ns: int, speaker: Speaker, truth: TruthLog) -> None:
        """A vial trips the infeed eye: play what is due."""
        for order in self._schedule.take(vial):
            if order.delay_ms and order.name not in EDGE_FAULTS:
                self._delayed.append((now_ns + order.delay_ms * MS, order))
            else:
                self._strike(order, now_ns, speaker, truth)

    def _strike(self, order: Order, now_ns: int, speaker: Speaker, truth: TruthLog) -> None:
        if order.spec.executor is Executor.SUPERVISOR:
            speaker.say("fault", name=order.name, unit=order.unit, duration_ms=order.spec.duration_ms)
            return
        speaker.say("fault-begin", name=order.name, unit=order.unit)
        truth.faults.append({"name": order.name, "unit": order.unit, "begin_ns": now_ns, "end_ns": 0})
        self._begin(order, now_ns, speaker, truth)

    def struck(self, vial: int, now_ns: int, speaker: Speaker, truth: TruthLog) -> None:
        """The edge of that vial went out with its fault."""
        order = self._waiting.pop(vial, None)
        if order is not None:
            self._over(order, now_ns, speaker, truth)

    def tick(self, now_ns: int, speaker: Speaker, truth: TruthLog) -> None:
        """Begin what was delayed and end what has lasted long enough."""
        for at_ns, order in [delayed for delayed in self._delayed if delayed[0] <= now_ns]:
            self._delayed.remove((at_ns, order))
            self._strike(order, now_ns, speaker, truth)
        for ending in [ending for ending in self._endings if ending.at_ns <= now_ns]:
            self._endings.remove(ending)
            ending.act(now_ns)
            self._over(ending.order, now_ns, speaker, truth)

    def _begin(self, order: Order, now_ns: int, speaker: Speaker, truth: TruthLog) -> None:
        if order.name in EDGE_FAULTS:
            self._cameras.plan(order.unit, order.name)
            self._waiting[order.unit] = order
        elif order.name in self._lasting:
            begin, end = self._lasting[order.name]
            begin(now_ns)
            self._endings.append(Ending(order, now_ns + order.spec.duration_ms * MS, end))
        else:
            self._machine.belt.bounce(order.unit, BOUNCE_MM)
            self._over(order, now_ns, speaker, truth)

    def _switched(self, name: str, good: bool) -> Act:
        return lambda _: self._switch(name, good)

    def _switch(self, name: str, good: bool) -> None:
        """Set a digital input; one that the station does not wire stays as it should be."""
        bit = 1 << self._inputs[name] if name in self._inputs else 0
        self._machine.switches = self._machine.switches | bit if good else self._machine.switches & ~bit

    def _blind(self, blind: bool) -> None:
        self._machine.chute_blind = blind
        self._switch("confirm_eyes_ok", not blind)

    def _over(self, order: Order, now_ns: int, speaker: Speaker, truth: TruthLog) -> None:
        speaker.say("fault-end", name=order.name, unit=order.unit)
        for record in truth.faults:
            if (record["name"], record["unit"]) == (order.name, order.unit):
                record["end_ns"] = now_ns
