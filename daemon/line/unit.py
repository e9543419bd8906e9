"""One unit as the tracker knows it, what the PLC's eyes say of it, and where it therefore ended up. Pure."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from daemon.messages import Judged
from daemon.units import Channel, FrameKey, Outcome, Reason, Stages, UnitId, Verdict, ViewKey
from drivers.registers import CHANNEL_MASK, CHANNEL_SHIFT

CHANNELS = {Channel.CRITICAL: 0, Channel.COSMETIC: 1, Channel.GREY: 2, Channel.SAMPLE: 3}
"""Numbers of the register map; 0 is also what silence means."""


class Permit(enum.Enum):
    """State of a unit's permit as far as the line knows. WITHHELD: good, and taken as a sample."""

    NONE = enum.auto()
    WITHHELD = enum.auto()
    GRANTED = enum.auto()
    REVOKED = enum.auto()
    SPENT = enum.auto()


@dataclass(frozen=True, slots=True)
class Seen:
    """What the PLC's closed ring says of a unit."""

    unit: UnitId
    permitted: bool
    diverted: bool
    chute: bool
    passed: bool
    phantom: bool
    flags: int
    at_ns: int
    channel: int = 0


def seen(unit: UnitId, flags: int, bits: Mapping[str, int], at_ns: int) -> Seen:
    """Return what the flags of the register map say; `bits` by the names of the map."""
    on = {name: bool(flags & bit) for name, bit in bits.items()}
    return Seen(
        unit=unit,
        permitted=on["permitted"],
        diverted=on["diverted"],
        chute=on["chute_seen"],
        passed=on["pass_seen"],
        phantom=on["phantom"],
        flags=flags,
        at_ns=at_ns,
        channel=flags >> CHANNEL_SHIFT & CHANNEL_MASK,
    )


@dataclass(slots=True)
class TrackedUnit:
    """Owned by the Tracker. `reason` None: nothing speaks against it so far. Times ns, `encoder` counts.

    `roles` and `edges` are the views of the recipe that were bound and that were triggered.
    """

    id: UnitId
    created_ns: int
    encoder: int
    reason: Reason | None = None
    permit: Permit = Permit.NONE
    views: dict[ViewKey, FrameKey] = field(default_factory=dict)
    roles: set[ViewKey] = field(default_factory=set)
    edges: set[ViewKey] = field(default_factory=set)
    last_edge_ns: int = 0
    judged: Judged | None = None
    permit_ns: int = 0
    channel: Channel = Channel.NONE


@dataclass(frozen=True, slots=True)
class Finish:
    """The unit is closed; the recorder gets its row."""

    unit: UnitId
    outcome: Outcome
    verdict: Verdict
    reason: Reason
    source: str
    judged: Judged | None
    flags: int
    encoder: int
    stages: Stages


def outcome_of(entry: TrackedUnit, seen: Seen) -> tuple[Outcome, Reason]:
    """Decide where the unit ended up from what the eyes saw; what does not fit together has escaped."""
    reason = entry.reason or (Reason.LINE_FAULT if entry.permit is not Permit.NONE else Reason.LATE)
    if seen.passed:
        released = seen.permitted and not seen.chute and entry.permit in (Permit.GRANTED, Permit.SPENT)
        return (Outcome.ACCEPTED, Reason.NONE) if released else (Outcome.ESCAPED, reason)
    if seen.chute and entry.permit is Permit.WITHHELD and not entry.reason:
        taken = seen.channel == CHANNELS[Channel.SAMPLE]
        return (Outcome.SAMPLED, Reason.NONE) if taken else (Outcome.REJECTED, Reason.MISMATCH)
    if seen.chute:
        doubtful = entry.judged and entry.judged.verdict is Verdict.UNDECIDED and reason is Reason.DOUBTFUL
        return (Outcome.UNDECIDED if doubtful else Outcome.REJECTED), reason
    if seen.phantom and not seen.permitted:
        return Outcome.REJECTED, Reason.PHANTOM
    return Outcome.ESCAPED, reason


def how_it_escaped(entry: TrackedUnit, seen: Seen) -> str:
    """Say it for the alarm: the PLC tells whether the permit still stood when it decided."""
    if not seen.passed:
        return "seen nowhere"
    if seen.permitted and entry.permit is Permit.REVOKED:
        return f"passed the gate before its permit could be taken back ({entry.reason})"
    return "seen past the gate without a permit"


def legacy_outcome_of(entry: TrackedUnit, seen: Seen) -> tuple[Outcome, Reason]:
    """SHADOW and PROPOSE: the legacy inspection decides where the unit goes, this line only looks on."""
    would_pass = entry.judged is not None and entry.reason is None
    return (Outcome.ACCEPTED if seen.passed else Outcome.REJECTED), Reason.NONE if would_pass else (
        entry.reason or Reason.LATE
    )


def finish(entry: TrackedUnit, seen: Seen, outcome: Outcome, reason: Reason, source: str = "line") -> Finish:
    judged = entry.judged
    verdict = judged.verdict if judged else Verdict.UNDECIDED
    return Finish(
        entry.id, outcome, verdict, reason, source, judged, seen.flags, entry.encoder, stages_of(entry, seen.at_ns)
    )


def stages_of(entry: TrackedUnit, closed_ns: int) -> Stages:
    judged = entry.judged
    return Stages(
        created_ns=entry.created_ns,
        last_edge_ns=entry.last_edge_ns,
        frame_ns=judged.frame_ns if judged else 0,
        inferred_ns=judged.inferred_ns if judged else 0,
        inference_ns=judged.inference_ns if judged else 0,
        judged_ns=judged.judged_ns if judged else 0,
        permit_ns=entry.permit_ns,
        closed_ns=closed_ns,
    )


def channel_of(finish: Finish) -> tuple[Channel, str]:
    """Return (reject channel, defect code) of a closed unit."""
    if finish.outcome in (Outcome.ACCEPTED, Outcome.SAMPLED):
        return (Channel.NONE if finish.outcome is Outcome.ACCEPTED else Channel.SAMPLE), ""
    defect = finish.judged.defect if finish.judged and finish.reason in (Reason.DEFECT, Reason.DOUBTFUL) else ""
    return _channel(finish.judged), defect


def channel_for(entry: TrackedUnit) -> Channel:
    """Return where the PLC is told to put a unit that will not be accepted."""
    sampled = entry.permit is Permit.WITHHELD and not entry.reason
    return Channel.SAMPLE if sampled else _channel(entry.judged)


def _channel(judged: Judged | None) -> Channel:
    """A defect goes where the recipe wants it, what nobody judged to the doubtful ones."""
    if judged is None or judged.verdict is Verdict.ACCEPT:
        return Channel.GREY
    return judged.channel if judged.channel in (Channel.COSMETIC, Channel.GREY) else Channel.CRITICAL
