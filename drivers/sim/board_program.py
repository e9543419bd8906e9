"""The reject board in the box: the published C core (drivers/board) as a Program of Machine, loaded by ctypes.

The spring of the ejector and the relay of the belt are modelled as the wiring page asks for them: an output that is low
ejects, so a dead board ejects everything while its run relay stops the belt. No decision is made in this module.
"""

import ctypes
from collections.abc import Callable
from pathlib import Path

from drivers.gate.plc_io import Compare, Inputs, Outputs, PlcSpec, Step, UnitEvent
from drivers.sim.box_setup import SetupError

LIBRARY = Path(__file__).resolve().parent.parent / "board" / "build" / "board_core.so"
LANES, TRIGGERS, ORDERS, STEPS = 4, 32, 64, 128
INFEED, CHUTE, PASS, FIRED = range(4)
ALL_WELL = 0xFFFF
SEND = 256
U8, U16, U32 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32


class Trigger(ctypes.Structure):
    """struct lwb_trigger"""

    _fields_ = [("counts", U32), ("station", U8), ("lane", U8), ("shot", U8), ("reserved", U8)]


class Config(ctypes.Structure):
    """struct lwb_config"""

    _fields_ = [
        *((name, U32) for name in ("identity", "device", "decide", "release", "chute_eye", "pass_eye")),
        *((name, U32) for name in ("window", "clear", "phantom")),
        ("must", U16),
        ("lanes", U8),
        ("trigger_count", U8),
        ("trigger", Trigger * TRIGGERS),
    ]


class Order(ctypes.Structure):
    """struct lwb_order"""

    _fields_ = [
        *((name, U32) for name in ("encoder", "at_us", "epoch", "number")),
        *((name, U8) for name in ("station", "lane", "shot", "timed")),
    ]


class Levels(ctypes.Structure):
    """struct lwb_levels"""

    _fields_ = [("inputs", U16), ("authority", U8), ("legacy_accept", U8), ("guard_closed", U8)]


class UnitStep(ctypes.Structure):
    """struct lwb_step"""

    _fields_ = [("epoch", U32), ("number", U32), ("flags", U16), ("step", U8), ("lane", U8), ("cause", U8)]


class BoardOutputs(ctypes.Structure):
    """struct lwb_outputs"""

    _fields_ = [
        ("spare", U8 * LANES),
        ("channel", U8 * LANES),
        ("run", U8),
        ("infeed", U8),
        ("lamps", U16),
        ("order_count", U16),
        ("step_count", U16),
        ("order", Order * ORDERS),
        ("step", UnitStep * STEPS),
    ]


class BoardProgram:
    """Owned by Machine. Its front drains `transmit` and says through `hear` what arrived before a scan; `wired` are the
    levels of its digital inputs.

    Raises (constructor):
        SetupError: the core was not built, or the board cannot be set like that.
    """

    def __init__(self, spec: PlcSpec, must: int = 0) -> None:
        self._lib = _library()
        self._board = ctypes.create_string_buffer(self._lib.lwb_size())
        config = _config(spec, must)
        self._lib.lwb_init(self._board, ctypes.byref(config))
        outputs = self._lib.lwb_outputs(self._board)
        self._said = ctypes.cast(outputs, ctypes.POINTER(BoardOutputs)).contents
        self._said_bytes = ctypes.create_string_buffer(SEND)
        self._lanes = spec.lanes
        self._levels = Levels()
        self._out = Outputs([False] * spec.lanes, [0] * spec.lanes)
        self.running = False
        self.wired = ALL_WELL
        self.hear: Callable[[], bytes] = bytes

    @property
    def in_flight(self) -> int:
        """Units created and not closed."""
        return int(self._lib.lwb_in_flight(self._board))

    @property
    def strays(self) -> tuple[int, int]:
        """Bodies seen by the pass eyes and by the chute eyes that no unit accounts for."""
        counts = [self._lib.lwb_strays(self._board, which) for which in (PASS, CHUTE)]
        return int(counts[0]), int(counts[1])

    def stop(self) -> Outputs:
        """The board is without power: every output falls, the line falls silent."""
        self.running = False
        out = self._out
        out.gates, out.channels = [False] * self._lanes, [0] * self._lanes
        out.belt = out.infeed = False
        out.armed, out.events = [], []
        return out

    def start(self, encoder: int, retained: bool = True) -> None:
        """The board starts, with its retained memory or without."""
        self._lib.lwb_start(self._board, encoder, retained)
        self.running = True

    def scan(self, now_us: int, inputs: Inputs) -> Outputs:
        """Give the core what arrived and what was latched, tick it once, return what it wants."""
        self.receive(self.hear())
        for fired in inputs.fired:
            order = _order(fired.compare)
            self._latch(FIRED, fired.compare.lane, fired.time_us, fired.encoder, order)
        for kind, latches in ((INFEED, inputs.infeed), (CHUTE, inputs.chute), (PASS, inputs.passed)):
            for latch in latches:
                self._latch(kind, latch.lane, latch.time_us, latch.encoder, None)
        levels = self._levels
        levels.inputs, levels.authority = self.wired & inputs.switches, int(inputs.authority)
        levels.legacy_accept, levels.guard_closed = inputs.legacy_accept, inputs.guard_closed
        self._lib.lwb_tick(self._board, now_us & 0xFFFFFFFF, inputs.encoder, ctypes.byref(levels))
        return self._outputs(now_us)

    def receive(self, data: bytes) -> None:
        """Bytes arrived from the device; a board without power hears nothing."""
        if self.running:
            self._lib.lwb_receive(self._board, data, len(data))

    def transmit(self, most: int) -> bytes:
        """Return the next bytes for the device, at most so many."""
        if not self.running:
            return b""
        size = min(most, len(self._said_bytes))
        count = self._lib.lwb_send(self._board, self._said_bytes, size)
        return self._said_bytes.raw[:count]

    def _latch(self, kind: int, lane: int, time_us: int, encoder: int, order: Order | None) -> None:
        place = ctypes.byref(order) if order is not None else None
        self._lib.lwb_latch(self._board, kind, lane, time_us & 0xFFFFFFFF, encoder, place)

    def _outputs(self, now_us: int) -> Outputs:
        said, out = self._said, self._out
        out.gates = [bool(level) for level in said.spare[: self._lanes]]
        out.channels = list(said.channel[: self._lanes])
        out.belt, out.infeed, out.lamps = bool(said.run), bool(said.infeed), said.lamps
        out.armed = [_compare(order, now_us) for order in said.order[: said.order_count]]
        out.events = [
            UnitEvent(Step(step.step), step.lane, step.epoch, step.number, step.flags, step.cause)
            for step in said.step[: said.step_count]
        ]
        return out


def _config(spec: PlcSpec, must: int) -> Config:
    shots = [(place, shot) for place in spec.stations for shot in range(place.shots)]
    if spec.eyes or spec.pockets:
        raise SetupError("a reject board has no re-sync eyes and no carrier; take them out of the station file")
    if spec.lanes > LANES or len(shots) > TRIGGERS:
        raise SetupError(f"a reject board serves {LANES} lanes and {TRIGGERS} camera shots; use a PLC for more")
    config = Config()
    config.identity, config.device, config.lanes, config.must = spec.identity, spec.device_identity, spec.lanes, must
    for name in ("decide", "release", "chute_eye", "pass_eye", "window", "clear", "phantom"):
        setattr(config, name, getattr(spec, name))
    config.trigger_count = len(shots)
    for index, (place, shot) in enumerate(shots):
        config.trigger[index] = Trigger(place.at + shot * place.pitch, place.station, place.lane, shot)
    return config


def _order(compare: Compare) -> Order:
    at = (compare.encoder, compare.at_us or 0, compare.epoch, compare.number)
    return Order(*at, compare.station, compare.lane, compare.shot, compare.at_us is not None)


def _compare(order: Order, now_us: int) -> Compare:
    """The core's clock wraps at 2**32 us, the machine's does not."""
    at_us = now_us + ((order.at_us - now_us) & 0xFFFFFFFF) if order.timed else None
    return Compare(order.station, order.encoder, at_us, order.epoch, order.lane, order.number, order.shot)


def _library() -> ctypes.CDLL:
    try:
        lib = ctypes.CDLL(str(LIBRARY))
    except OSError as error:
        raise SetupError(f"{LIBRARY} cannot be loaded ({error}): run `make setup`") from error
    board = ctypes.c_char_p
    lib.lwb_size.restype = lib.lwb_in_flight.restype = lib.lwb_strays.restype = lib.lwb_send.restype = U32
    lib.lwb_outputs.restype = ctypes.c_void_p
    lib.lwb_init.argtypes = [board, ctypes.c_void_p]
    lib.lwb_start.argtypes = [board, U32, ctypes.c_int]
    lib.lwb_latch.argtypes = [board, ctypes.c_int, U8, U32, U32, ctypes.c_void_p]
    lib.lwb_receive.argtypes = [board, board, U32]
    lib.lwb_send.argtypes = [board, board, U32]
    lib.lwb_tick.argtypes = [board, U32, U32, ctypes.c_void_p]
    lib.lwb_strays.argtypes = [board, ctypes.c_int]
    for function in (lib.lwb_outputs, lib.lwb_in_flight):
        function.argtypes = [board]
    return lib
