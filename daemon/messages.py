"""The messages between the processes (docs/interfaces/wire.md). Words only; wire.py carries them."""

import msgspec

from daemon.units import (
    Channel,
    Evidence,
    FrameKey,
    JudgedView,
    Outcome,
    Reason,
    Stages,
    StopRules,
    UnitId,
    Verdict,
    ViewKey,
)

PROTO = 1


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """First message in both directions. `process` is line, camera, vision, recorder or cli."""

    proto: int
    process: str
    name: str
    session: int


class CameraState(msgspec.Struct, frozen=True, tag="camera_state"):
    """camera -> line, on every change. A new `session` makes the camera UNSYNCED at once; 0 = not acquiring."""

    camera: str
    session: int
    acquiring: bool
    text: str


class FrameSeen(msgspec.Struct, frozen=True, tag="frame_seen"):
    """camera -> line: evidence of one delivered frame."""

    evidence: Evidence


class FrameLost(msgspec.Struct, frozen=True, tag="frame_lost"):
    """camera -> line: a frame id that will never be judged (gap, incomplete, stale, no free slot), with the cause."""

    key: FrameKey
    cause: str


class FrameReady(msgspec.Struct, frozen=True, tag="frame_ready"):
    """camera -> vision: the frame lies in ring slot `slot` until vision sends Release."""

    evidence: Evidence
    slot: int
    width: int
    height: int


class Ring(msgspec.Struct, frozen=True, tag="ring"):
    """camera -> vision, with the ring's memfd attached (SCM_RIGHTS): a new ring and session begin."""

    camera: str
    session: int
    slots: int
    slot_bytes: int


class Release(msgspec.Struct, frozen=True, tag="release"):
    """vision -> camera: slot may be written again. A release of another session is ignored."""

    session: int
    slot: int


class Bound(msgspec.Struct, frozen=True, tag="bound"):
    """line -> vision: this frame is this view of this unit, which is judged by `recipe` (digest) and its bundle."""

    unit: UnitId
    view: ViewKey
    key: FrameKey
    recipe: str


class Unbound(msgspec.Struct, frozen=True, tag="unbound"):
    """line -> vision: this frame belongs to no unit that can still be accepted; release it.

    Of a frame that shows several units `region` names the one it is about, None all of them.
    """

    key: FrameKey
    region: int | None = None


class Judged(msgspec.Struct, frozen=True, tag="judged"):
    """vision -> line: the verdict over all views of one unit. `bundle` and `recipe` are the digests that judged."""

    unit: UnitId
    verdict: Verdict
    reason: Reason
    channel: Channel
    defect: str
    views: list[JudgedView]
    bundle: str
    recipe: str
    frame_ns: int
    inferred_ns: int
    inference_ns: int
    judged_ns: int


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    """vision -> line and recorder: what is verified, loaded and warm, and what a new batch is judged by.

    Digests are sha256 of the signed documents, `plan` is that of what executes the models (engines/plan_digest.py),
    `signers` are the ids of the keys that signed bundle and recipe, `product` and `container` what it is for.
    """

    bundle: str
    recipe: str
    bundle_name: str
    recipe_name: str
    views: list[ViewKey]
    max_latency_ms: float
    window_ms: float
    min_gap_mm: float
    max_gap_mm: float
    sampling_every: int = 0
    stops: StopRules = StopRules()
    plan: str = ""
    signers: list[str] = []
    product: str = ""
    container: str = ""


class Staged(msgspec.Struct, frozen=True, tag="staged"):
    """vision -> line and recorder, before Loaded and on every change: what is warm besides that."""

    warm: list[Loaded]


class VisionFault(msgspec.Struct, frozen=True, tag="vision_fault"):
    """vision -> line: an alarm of the vision process (evidence dropped, engine error, light), with a code of faults.py.

    `subject` is the camera it is about, "" for all.
    """

    code: str
    text: str
    subject: str = ""


class Arm(msgspec.Struct, frozen=True, tag="arm"):
    """recorder -> line and vision: the open batch and what may judge it. Empty batch = nothing is armed.

    Another pair inside the same batch: a person of QA signed a swap, units created from now on are judged by it.
    `revoked` says what of it was revoked since, "" for nothing: QA decides, nothing stops by itself.
    """

    batch: str
    bundle: str
    recipe: str
    configuration: str
    revoked: str = ""


class Owed(msgspec.Struct, frozen=True):
    """What persons still have to do by the record: `reset` after an abort, an `empty_run` before the next start.

    `latched` are the codes that latched since the last reset, `removed` the units that a person said
    to have taken out, `recipe` the digest of the recipe that ran last, `mode` the PackML mode chosen last.
    """

    reset: bool = False
    empty_run: bool = False
    latched: list[str] = []
    removed: list[UnitId] = []
    recipe: str = ""
    mode: str = ""


class Resume(msgspec.Struct, frozen=True, tag="resume"):
    """recorder -> line after Hello: newest epoch on record and the permitted units that have no row yet.

    Of the open batch also: `since_epoch` the newest epoch when it was opened, `recorded` the newest 512 unit rows,
    `running` True if the line was running when it was last heard of (then a restarted line goes on by itself), `state`
    the last state on record: a restart does not lift an abort, `missing` the newest 512 numbers that were given and
    have no unit row, of which `missing_permitted` have a permit on record, `totals` the PLC's of the newest epoch.

    `owed` is what a restart must not lift, whether a batch is open or not.
    """

    last_epoch: int
    permitted: list["PermitRow"]
    since_epoch: int = 0
    recorded: list[UnitId] = []
    running: bool = False
    state: str = ""
    missing: list[UnitId] = []
    missing_permitted: int = 0
    totals: list["PlcTotals"] = []
    owed: Owed = Owed()


class PermitRow(msgspec.Struct, frozen=True, tag="permit_row"):
    """line -> recorder, sent with the permit: the verdict behind it, durable before the unit is at the gate."""

    seq: int
    unit: UnitId
    batch: str
    configuration: str
    verdict: Verdict
    views: list[JudgedView]
    bundle: str
    stages: Stages


class UnitRow(msgspec.Struct, frozen=True, tag="unit_row"):
    """line -> recorder: the final row of a unit. Re-sent until acknowledged; idempotent by `unit`.

    `source` is "line", or "plc" for a unit that went by without the line and was read from the PLC's closed ring.
    """

    seq: int
    unit: UnitId
    batch: str
    configuration: str
    outcome: Outcome
    verdict: Verdict
    reason: Reason
    channel: Channel
    defect: str
    source: str
    views: list[JudgedView]
    bundle: str
    plc_flags: int
    encoder: int
    stages: Stages


class GapRow(msgspec.Struct, frozen=True, tag="gap_row"):
    """line -> recorder: units older than the PLC's closed ring, by number range (DESIGN section 3)."""

    seq: int
    epoch: int
    lane: int
    first: int
    last: int
    cause: str


class AlarmRow(msgspec.Struct, frozen=True, tag="alarm_row"):
    """line -> recorder: an alarm or state change for the batch record."""

    seq: int
    at_ns: int
    code: str
    text: str
    state: str
    unit: UnitId | None


class PlcTotals(msgspec.Struct, frozen=True, tag="plc_totals"):
    """line -> recorder: the PLC's own counts of one epoch and lane, newest wins; the base of reconciliation.

    `stray_pass`, `stray_chute`: bodies that are no unit's, as far as their alarms were sent before this row.
    """

    seq: int
    epoch: int
    lane: int
    created: int
    passed: int
    diverted: int
    first: int
    last: int
    stray_pass: int = 0
    stray_chute: int = 0


class Stored(msgspec.Struct, frozen=True, tag="stored"):
    """recorder -> line: everything up to and including `seq` is durable."""

    seq: int


class Act(msgspec.Struct, frozen=True, tag="act"):
    """A human or machine act, to the owner of what it changes. `reason` is never empty. Answered by Answer.

    `old` may say what the asker saw: the act is refused if it is not so any more.

    Kinds of the recorder: batch-open, batch-close; swap (new = "BUNDLE RECIPE", digests, `signature` = QA's order);
    record-quota (only on a simulated station). Of the line: reset,
    start, stop, hold, abort, complete; clear (new = "" leaves Aborted; "removed" or "rejected" is line clearance: what
    became of the units in the machine); mode (new = production, maintenance, manual); acknowledge (new = alarm or all),
    shelve (new = alarm and minutes), out-of-service, restore (new = alarm).
    """

    kind: str
    actor: str
    role: str
    reason: str
    old: str
    new: str
    signature: str = ""


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """Owner -> asker. `ok` False carries the one line that says what to do."""

    ok: bool
    text: str


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """cli -> line or recorder: `what` is "status"; to the line also "latches", to the recorder "report"."""

    what: str


class AlarmLine(msgspec.Struct, frozen=True):
    """One alarm that is not normal (ISA-18.2). Times CLOCK_MONOTONIC ns; `who` acted on it last."""

    name: str
    code: str
    state: str
    since_ns: int
    count: int
    text: str
    who: str
    until_ns: int


class Latched(msgspec.Struct, frozen=True, array_like=True):
    """One unit of lane 0: encoder counts (u32) at the infeed eye, at each (trigger station, shot) and at the eye behind
    the gate that saw it; None where nothing was latched for it.
    """

    unit: UnitId
    infeed: int
    edges: list[tuple[int, int, int]] = []
    chute: int | None = None
    passed: int | None = None


class Latches(msgspec.Struct, frozen=True, tag="latches"):
    """line -> cli, for Ask("latches"): the last units of lane 0, oldest first, and where the gate opened."""

    units: list[Latched]
    gate: list[int]


class Status(msgspec.Struct, frozen=True, tag="status"):
    """line -> cli: one snapshot. `conditions` = (name, met, what to do); `alarms` newest last; `loop_us` how late the
    loop woke since the last Ask.

    `causes` = (when, code, detail), first-out first, of the stop that is on or (`stopped` False) of the last one;
    `condition_keys` = (catalogue key, detail) beside each condition; `latched` faults need a person's reset,
    `reset_owed` after an abort; `in_machine` the oldest units; `empty_run` why the next start begins with one;
    `behind_gate` how many of the newest bodies behind the pass eye must come back (direct wiring, after a restart).
    """

    state: str
    mode: str
    authority: str
    batch: str
    epoch: int
    first_out: str
    conditions: list[tuple[str, bool, str]]
    counts: dict[str, int]
    reasons: dict[str, int]
    alarms: list[tuple[int, str, str]]
    recent: list[tuple[str, str, str, str]]
    latency_ms: dict[str, float]
    cameras: dict[str, str]
    unstored: int
    bundle: str
    loop_us: dict[str, float] = {}
    unit_mode: str = "production"
    stopped: bool = False
    causes: list[tuple[int, str, str]] = []
    condition_keys: list[tuple[str, str]] = []
    latched: list[str] = []
    reset_owed: bool = False
    in_machine: list[str] = []
    units_in_machine: int = 0
    empty_run: str = ""
    behind_gate: int = 0
    standing: list[AlarmLine] = []
    lamps: str = ""
    now_ns: int = 0


class Report(msgspec.Struct, frozen=True, tag="report"):
    """recorder -> cli: the batch report as JSON text (docs/interfaces/report-v1.schema.json)."""

    document: str
