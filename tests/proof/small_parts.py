"""Places, limits and things of the small line."""

from dataclasses import dataclass

from daemon.line.tracking import Settings as Limits
from daemon.units import UnitId, ViewKey
from drivers.gate.plc_io import Compare, Place, PlcSpec
from drivers.registers import load_map

MAP = load_map()
DEVICE, PLC_ID = 1001, 2001
MS, MOVE_NS = 1_000_000, 200_000_000
PITCH, CAMERA, DECIDE, EYE, WINDOW = 2000, 600, 2900, 3600, 200
VIEW = ViewKey("body")
SESSION = 7
WAIT_NS = 60 * MS
RUN, AUTOMATIC = 1, 2
SPEC = PlcSpec(
    identity=PLC_ID,
    device_identity=DEVICE,
    lanes=1,
    stations=(Place(0, CAMERA),),
    decide=DECIDE,
    release=DECIDE + 300,
    chute_eye=EYE,
    pass_eye=EYE,
    window=WINDOW,
    clear=300,
    phantom=300,
)
LIMITS = Limits(frozenset({VIEW}), 1000, DECIDE, 100, 120 * MS * 10)


@dataclass(slots=True)
class Body:
    """One vial: where it entered, the unit that the program made of it, and whether the gate let it pass."""

    entered: int
    unit: UnitId | None = None
    order: Compare | None = None
    passed: bool | None = None


@dataclass(slots=True)
class Write:
    """Words of a permit on their way; a revocation is four zeros and needs no second half."""

    unit: UnitId
    address: int
    words: list[int]
    done: int = 0
