"""What stands between now and Execute, in the order in which a person would check it. Pure."""

from dataclasses import dataclass

from daemon.units import Authority, LineMode

KEYS = {
    LineMode.SHADOW: {Authority.LEGACY},
    LineMode.PROPOSE: {Authority.LEGACY},
    LineMode.AUTOMATIC: {Authority.LINEWARDEN, Authority.BOTH},
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the line knows at this moment; one instance per turn of the loop."""

    link: bool
    plc_alive: bool
    plc_right: bool
    epoch: int
    key_fits: bool
    recorder: bool
    stored: bool
    batch: str
    vision: bool
    loaded: bool
    armed_is_loaded: bool
    cameras: tuple[tuple[str, bool, bool], ...]


@dataclass(frozen=True, slots=True)
class Condition:
    """`code` is the fault's row in faults.py that applies while the condition is not met."""

    code: str
    name: str
    met: bool
    remedy: str


def key_fits(mode: LineMode, authority: int) -> bool:
    """True if the key switch `inspection authority` gives this line what its mode needs."""
    return authority in KEYS[mode]


def conditions(facts: Facts) -> list[Condition]:
    """Return every condition, in order; the first unmet one is what to look at first."""
    right = not facts.link or facts.plc_right
    rows = [
        Condition("PLC_LINK", "PLC connected", facts.link, "check the PLC's address, cable and supply"),
        Condition("PLC_WRONG", "the right PLC with register map 1", right, "check $.wiring and plc_identity"),
        Condition("PLC_LINK", "PLC heartbeat fresh", facts.plc_alive, "the PLC program must run"),
        Condition("PLC_LINK", "epoch agreed", facts.epoch != 0, "the PLC must answer epoch_nonce"),
        Condition(
            "AUTHORITY",
            "key switch fits the line mode",
            not facts.link or facts.key_fits,
            "turn the key switch `inspection authority`: LINEWARDEN for automatic, LEGACY for shadow and propose",
        ),
        Condition("RECORDER_LOST", "recorder connected", facts.recorder, "it restarts by itself; read its log"),
        Condition("NO_RECORD", "rows are stored", facts.stored, "check the disk of the ledger"),
        Condition("NOT_ARMED", "a batch is open", bool(facts.batch), "open a batch"),
        Condition("VISION_LOST", "vision connected", facts.vision, "it restarts by itself; read its log"),
        Condition("VISION_LOST", "bundle and recipe loaded", facts.loaded, "vision verifies and loads them"),
        Condition(
            "NOT_ARMED",
            "bundle, recipe and configuration are the armed ones",
            facts.armed_is_loaded or not facts.loaded,
            "install the bundle, recipe and station file that this batch was opened with",
        ),
    ]
    for name, acquiring, synced in facts.cameras:
        rows.append(Condition("CAMERA_LOST", f"camera {name} acquires", acquiring, "check its cable and supply"))
        rows.append(Condition("CAMERA_UNSYNCED", f"camera {name} in step", synced, "wait for three matching edges"))
    return rows
