"""FB_LinewardenGate in the evaluator, as a player of tapes."""

import pickle
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from blark.parse import parse_source_code
from st_evaluator import Library

from drivers.gate.plc_io import Key, PlcSpec
from tests.vectors.gate_tape import MAP, Step, visible

FOLDER = Path(__file__).resolve().parents[2] / "drivers" / "plc"
ORDER = (
    "LW_Map",
    "LW_Constants",
    "LW_Types",
    "LW_Functions",
    "FB_LinewardenDevice",
    "FB_LinewardenLane",
    "FB_LinewardenGate",
    "PRG_LinewardenExample",
)
LONGEST_FIRST = sorted(ORDER, key=lambda name: -(FOLDER / f"{name}.st").stat().st_size)
LANES = 4
U32 = 0xFFFFFFFF


def library(cache: Path) -> Library:
    """Parse drivers/plc, some 15 s of processor time: unchanged files come from `cache`, others from two processes."""
    paths = {name: FOLDER / f"{name}.st" for name in ORDER}
    kept = {name: cache / sha256(path.read_bytes()).hexdigest() for name, path in paths.items()}
    new = [name for name in LONGEST_FIRST if not kept[name].exists()]
    if new:
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            for name, tree in zip(new, pool.map(parsed, [paths[name] for name in new]), strict=True):
                kept[name].write_bytes(tree)
    return Library([pickle.loads(kept[name].read_bytes()) for name in ORDER])


def parsed(path: Path) -> bytes:
    """Return the pickled syntax tree of a source."""
    return pickle.dumps(parse_source_code(path.read_text(encoding="utf-8")).transform())


class StGate:
    """One PLC with the function block. `retentive`: even what is not RETAIN survives a restart, as in some makes."""

    def __init__(self, code: Library, spec: PlcSpec, *, retentive: bool = False) -> None:
        self._code = code
        self._spec = spec
        self._retentive = retentive
        self._registers = [0] * MAP.size
        self._latches = {
            name: [code.block("LW_Latches") for _ in range(LANES)] for name in ("infeed", "chute", "pass_")
        }
        self._resync = [code.block("LW_EyeEdges") for _ in range(LANES)]
        self._pulses, self._orders = code.block("LW_Pulses"), code.block("LW_Orders")
        self._settings = self._set(code.block("LW_Spec"))
        self._rearmed: list[list[int]] = []
        self.gate = code.block("FB_LinewardenGate")

    def words(self) -> list[int]:
        return visible(self._registers)

    def play(self, step: Step) -> Step:
        if "write" in step:
            self._registers[step["write"] : step["write"] + len(step["words"])] = step["words"]
        elif "last" in step:
            lane, last = step["last"]
            self.gate.lanes[lane].lastnumber = last
        elif "start" in step:
            self._start(step)
        else:
            self._run(step, start=False)
            return self._outputs()
        return {}

    def _start(self, step: Step) -> None:
        if not step["start"]:
            self.gate = self._code.block("FB_LinewardenGate")
        elif not self._retentive:
            self.gate.restart()
        self._run(step, start=True)
        self._rearmed = self._armed()

    def _run(self, step: Step, *, start: bool) -> None:
        for name, key in (("infeed", "infeed"), ("chute", "chute"), ("pass_", "passed")):
            self._latch(self._latches[name], step.get(key, []))
        self._see(step.get("eyes", []))
        self._pulse(step.get("fired", []))
        gate = self.gate
        gate.start, gate.nowus, gate.encoder = start, step.get("now", 0) & U32, step["encoder"]
        gate.authority, gate.legacyaccept = step.get("key", Key.LINEWARDEN), step.get("legacy", False)
        gate.guardclosed, gate.inputs = step.get("guard", True), step.get("switches", 0xFFFF)
        gate.carrier, gate.resync = step.get("carrier", 0), self._resync
        gate.reg, gate.spec, gate.pulses, gate.orders = self._registers, self._settings, self._pulses, self._orders
        gate.infeed, gate.chute, gate.pass_ = (self._latches[name] for name in ("infeed", "chute", "pass_"))
        gate.run()

    def _outputs(self) -> Step:
        """Orders of the start scan, which only the function block has, count as those of the first scan after it."""
        gate, lanes = self.gate, self._spec.lanes
        armed, self._rearmed = sorted(self._rearmed + self._armed()), []
        levels = {"belt": [gate.belt, gate.infeedopen], "lamps": gate.lamps, "armed": armed}
        return {"gates": gate.gates[:lanes], "channels": gate.channels[:lanes]} | levels

    def _armed(self) -> list[list[int]]:
        return [
            [o.station, o.epoch, o.lane, o.number, o.shot, *([1, o.atus] if o.bytime else [0, o.encoder])]
            for o in self._orders.item[: self._orders.count]
        ]

    def _latch(self, lanes: list[Any], latches: list[list[int]]) -> None:
        for index, latched in enumerate(lanes):
            mine = [latch for latch in latches if latch[0] == index]
            latched.count = len(mine)
            for item, (_, time_us, encoder) in zip(latched.item, mine, strict=False):
                item.timeus, item.encoder = time_us & U32, encoder

    def _see(self, edges: list[list[int]]) -> None:
        for index, seen in enumerate(self._resync):
            mine = [edge for edge in edges if edge[1] == index]
            seen.count = len(mine)
            for item, (eye, _, _, encoder) in zip(seen.item, mine, strict=False):
                item.eye, item.encoder = eye, encoder

    def _pulse(self, fired: list[list[int]]) -> None:
        self._pulses.count = len(fired)
        for item, values in zip(self._pulses.item, fired, strict=False):
            item.station, item.epoch, item.lane, item.number, item.shot, item.encoder, time_us = values
            item.timeus = time_us & U32

    def _set(self, settings: Any) -> Any:
        spec = self._spec
        settings.identity, settings.deviceidentity, settings.lanes = spec.identity, spec.device_identity, spec.lanes
        settings.decide, settings.release, settings.clear = spec.decide, spec.release, spec.clear
        settings.chuteeye, settings.passeye = spec.chute_eye, spec.pass_eye
        settings.window, settings.phantom = spec.window, spec.phantom
        for item, place in zip(settings.place, spec.stations, strict=False):
            item.station, item.lane, item.distance = place.station, place.lane, place.at
            item.shots, item.pitch, item.group = place.shots, place.pitch, place.group
            item.beside = sum(1 << lane for lane in place.beside)
        settings.eyes, settings.pockets, settings.turn = len(spec.eyes), spec.pockets, spec.turn
        for item, eye in zip(settings.eye, spec.eyes, strict=False):
            item.distance, item.window = eye.at, eye.window
        return settings
