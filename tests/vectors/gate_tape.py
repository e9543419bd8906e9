"""Tapes of the gate program: what came in at each scan, and what registers and outputs were afterwards.

A tape is a list of steps, plain JSON (docs/operations/plc-gate.md has the format). It is recorded from the Python
program and played against that program again and against the Structured Text of drivers/plc.
"""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np

from drivers.gate.plc_bank import Bank
from drivers.gate.plc_io import Compare, Fired, Inputs, Key, Latch, Outputs, Place, PlcSpec, ResyncEye
from drivers.gate.plc_logic import Plc
from drivers.registers import load_map

MAP = load_map()
Step = dict[str, Any]
# Read at the moment of the answer, or written by the wiring.
ELSEWHERE = ("clock_us", "encoder", "turn_echo")
IGNORED = [MAP.registers[name].offset + word for name in ELSEWHERE for word in range(MAP.registers[name].words)]


class Player(Protocol):
    """A gate program that tapes are played against."""

    def words(self) -> list[int]:
        """Return the registers, IGNORED ones as 0."""

    def play(self, step: Step) -> Step:
        """Do one step and return its outputs: gates, channels, belt, infeed, armed; {} after a start."""


class Tape:
    """Stands where a world expects its Plc, and records what passes. `steps` is the tape."""

    def __init__(self, plc: Plc, bank: Bank, encoder: int) -> None:
        self._plc = plc
        self._bank = bank
        self._before = np.zeros(MAP.size, np.uint16)
        self.steps: list[Step] = []
        self._keep({"start": True, "encoder": encoder})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plc, name)

    def preset(self, lane: int, last: int) -> None:
        """The last unit number of a lane was `last`."""
        self._plc._lanes[lane]._next = last % 0xFFFFFFFF + 1
        self.steps.append({"last": [lane, last]})

    def start(self, encoder: int, retained: bool = True) -> None:
        self._write()
        self._plc.start(encoder, retained)
        self._before = np.zeros(MAP.size, np.uint16)
        self._keep({"start": retained, "encoder": encoder})

    def scan(self, now_us: int, inputs: Inputs) -> Outputs:
        step: Step = {"now": now_us, "encoder": inputs.encoder} | _latched(inputs)
        self._write()
        out = self._plc.scan(now_us, inputs)
        self._keep(step | {"out": outputs(out)})
        return out

    def _changed(self) -> dict[int, int]:
        before, self._before = self._before, np.array(self._bank.words, np.uint16)
        self._before[IGNORED] = 0
        return {int(a): int(self._before[a]) for a in np.flatnonzero(before != self._before)}

    def _write(self) -> None:
        """What changed since the last scan was written by the device."""
        for address, words in _runs(self._changed()):
            self.steps.append({"write": address, "words": words})

    def _keep(self, step: Step) -> None:
        self.steps.append(step | {"set": [[address, *words] for address, words in _runs(self._changed())]})


class Reference:
    """The Python program as a player."""

    def __init__(self, spec: PlcSpec) -> None:
        self._bank = Bank(MAP)
        self._plc = Plc(spec, self._bank)

    def words(self) -> list[int]:
        return visible(self._bank.words)

    def play(self, step: Step) -> Step:
        if "write" in step:
            self._bank.write(step["write"], step["words"])
        elif "last" in step:
            lane, last = step["last"]
            self._plc._lanes[lane]._next = last % 0xFFFFFFFF + 1
        elif "start" in step:
            self._plc.stop()
            self._plc.start(step["encoder"], step["start"])
        else:
            return outputs(self._plc.scan(step["now"], _inputs(step)))
        return {}


def mismatch(player: Player, steps: Iterable[Step]) -> str:
    """Play a tape; return the first difference in words, empty when there is none."""
    image = [0] * MAP.size
    for number, step in enumerate(steps):
        if "start" in step:
            image = [0] * MAP.size
        got = player.play(step)
        for address, *words in step.get("set", [[step.get("write", 0), *step.get("words", [])]]):
            image[address : address + len(words)] = words
        if got != step.get("out", {}):
            return f"step {number}: {got} came, {step['out']} is right; {step}"
        words = player.words()
        if words != image:
            a = next(address for address, word in enumerate(words) if word != image[address])
            return f"step {number}: register {a} is {words[a]}, {image[a]} is right; {step}"
    return ""


def visible(words: Iterable[int]) -> list[int]:
    """Return the registers, IGNORED ones as 0."""
    seen = list(words)
    for address in IGNORED:
        seen[address] = 0
    return seen


def outputs(out: Outputs) -> Step:
    """Outputs as a tape has them; orders in an order of their own."""
    armed = sorted([c.station, c.epoch, c.lane, c.number, c.shot, *_when(c)] for c in out.armed)
    levels = {"belt": [out.belt, out.infeed], "lamps": out.lamps, "armed": armed}
    return {"gates": list(out.gates), "channels": list(out.channels)} | levels


def spec_document(spec: PlcSpec) -> dict[str, Any]:
    """Return the settings as a tape has them."""
    lists = {
        "stations": [[*place[:-1], list(place.beside)] for place in spec.stations],
        "eyes": [list(eye) for eye in spec.eyes],
    }
    return asdict(spec) | lists


def spec_of(document: dict[str, Any]) -> PlcSpec:
    """Return the settings of a tape."""
    stations = tuple(Place(*place[:-1], tuple(place[-1])) for place in document["stations"])
    eyes = tuple(ResyncEye(*eye) for eye in document["eyes"])
    return PlcSpec(**document | {"stations": stations, "eyes": eyes})


def _when(compare: Compare) -> list[int]:
    """[1, time] or [0, encoder]."""
    return [0, compare.encoder] if compare.at_us is None else [1, compare.at_us & 0xFFFFFFFF]


def _latched(inputs: Inputs) -> Step:
    found: Step = {}
    for name in ("infeed", "chute", "passed"):
        if latches := getattr(inputs, name):
            found[name] = [[latch.lane, latch.time_us, latch.encoder] for latch in latches]
    if inputs.eyes:
        found["eyes"] = [[eye, latch.lane, latch.time_us, latch.encoder] for eye, latch in inputs.eyes]
    if inputs.fired:
        found["fired"] = [
            [f.compare.station, f.compare.epoch, f.compare.lane, f.compare.number, f.compare.shot, f.encoder, f.time_us]
            for f in inputs.fired
        ]
    levels = {"key": (inputs.authority, Key.LINEWARDEN), "legacy": (inputs.legacy_accept, False)}
    levels |= {"guard": (inputs.guard_closed, True), "switches": (inputs.switches, 0xFFFF)}
    levels["carrier"] = (inputs.carrier, 0)
    return found | {name: value for name, (value, usual) in levels.items() if value != usual}


def _inputs(step: Step) -> Inputs:
    def latches(name: str) -> list[Latch]:
        return [Latch(time_us, encoder, lane) for lane, time_us, encoder in step.get(name, [])]

    fired = [
        Fired(Compare(station, 0, None, epoch, lane, number, shot), time_us, encoder)
        for station, epoch, lane, number, shot, encoder, time_us in step.get("fired", [])
    ]
    return Inputs(
        encoder=step["encoder"],
        infeed=latches("infeed"),
        chute=latches("chute"),
        passed=latches("passed"),
        fired=fired,
        authority=step.get("key", Key.LINEWARDEN),
        legacy_accept=step.get("legacy", False),
        guard_closed=step.get("guard", True),
        carrier=step.get("carrier", 0),
        eyes=[(eye, Latch(time_us, encoder, lane)) for eye, lane, time_us, encoder in step.get("eyes", [])],
        switches=step.get("switches", 0xFFFF),
    )


def _runs(words: dict[int, int]) -> list[tuple[int, list[int]]]:
    """Join neighbours."""
    runs: list[tuple[int, list[int]]] = []
    for address, value in sorted(words.items()):
        if runs and runs[-1][0] + len(runs[-1][1]) == address:
            runs[-1][1].append(value)
        else:
            runs.append((address, [value]))
    return runs
