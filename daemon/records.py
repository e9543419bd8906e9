"""The words of the audit trail (docs/interfaces/records-v1.md): what an entry's body holds besides the rows of line."""

import enum

import msgspec

from daemon.messages import AlarmRow, GapRow, PermitRow, PlcTotals, UnitRow
from daemon.units import FrameKey, UnitId, ViewKey

Raw = bytes
"""Bytes, in a class that has a field of that name."""


class Kept(enum.StrEnum):
    """What became of the image of a judged frame."""

    RETAINED = "retained"
    DROPPED = "dropped"
    RELEASED = "released"


class AuditRow(msgspec.Struct, frozen=True, tag="audit_row"):
    """line -> recorder, and the recorder's own: an act, done or refused, or an event of the trail.

    `what` is the kind of the act; `old` and `new` the values before and after; `why` is never empty.
    """

    seq: int
    at_ns: int
    what: str
    who: str
    role: str
    why: str
    old: str
    new: str
    done: bool
    answer: str
    signature: str = ""


class EvidenceRow(msgspec.Struct, frozen=True, omit_defaults=True, tag="evidence_row"):
    """vision -> recorder, acknowledged by Stored: what became of the image of one judged frame.

    `digest` is the sha256 (hex) of its pixels, `bytes` the size of the file, `why` says why it is not retained.
    `explanation` says why its unit was not accepted (engines.explanation), b"" where the model has none to give.
    """

    seq: int
    unit: UnitId
    view: ViewKey
    key: FrameKey
    digest: str
    state: Kept
    why: str
    bytes: int
    explanation: Raw = b""


class ArchivedRow(msgspec.Struct, frozen=True, tag="archived_row"):
    """uplink -> recorder: a site archive holds the first `size` entries, their `images` and documents, by digest.

    `root` is the tree's root (hex) over those entries.
    """

    seq: int
    target: str
    size: int
    images: int
    root: str


class BatchOpened(msgspec.Struct, frozen=True, tag="batch_opened"):
    """What a new batch pins: digests of the signed documents and of everything else that judges."""

    seq: int
    id: str
    station: str
    bundle: str
    recipe: str
    bundle_name: str
    recipe_name: str
    register_map: str
    release: str
    configuration: str
    actor: str
    role: str
    reason: str
    since_epoch: int = 0
    plan: str = ""


class SubLotOpened(msgspec.Struct, frozen=True, tag="sublot_opened"):
    """What judges from now on inside a batch, by order of a person of QA (`signer`, with key id `key`).

    `number` counts the sub-lots of the batch; 1 is what it was opened with. `why` and `signed_utc` are as signed,
    `actor` and `reason` those of the act that brought the order.
    """

    seq: int
    batch: str
    number: int
    bundle: str
    recipe: str
    bundle_name: str
    recipe_name: str
    plan: str
    configuration: str
    signer: str
    key: str
    signed_utc: str
    why: str
    actor: str
    role: str
    reason: str


class BatchClosed(msgspec.Struct, frozen=True, tag="batch_closed"):
    """Who closed a batch and the report (JSON text) as it stood."""

    seq: int
    id: str
    actor: str
    reason: str
    report: str


class RefusedRow(msgspec.Struct, frozen=True, tag="refused_row"):
    """A row that contradicts the record: its kind, the sha256 (hex) and JSON text of it, and why it was not taken."""

    seq: int
    kind: str
    digest: str
    why: str
    message: str


class TableDigest(msgspec.Struct, frozen=True):
    """The rows of a table of an older schema: how many, and the sha256 (hex) over `columns` in order of their key."""

    rows: int
    digest: str
    columns: list[str]


class Genesis(msgspec.Struct, frozen=True, tag="genesis"):
    """Entry 0. `schema` is the one the ledger had before (0 = it was made new)."""

    seq: int
    schema: int
    release: str
    tables: dict[str, TableDigest] = {}


LineRow = PermitRow | UnitRow | GapRow | AlarmRow | PlcTotals
Row = LineRow | AuditRow | EvidenceRow | ArchivedRow | BatchOpened | SubLotOpened | BatchClosed | RefusedRow | Genesis


class Record(msgspec.Struct, frozen=True):
    """One entry's body."""

    at: int
    batch: str
    clock: str
    entry: int
    origin: str
    row: Row
    session: int


_body = msgspec.json.Encoder(order="sorted")
_record = msgspec.json.Decoder(Record)


def encode_body(record: Record) -> bytes:
    """Return the body of an entry: JSON, keys sorted, no blanks."""
    return _body.encode(record)


def decode_body(body: bytes) -> Record:
    """Return what a body says.

    Raises:
        msgspec.MsgspecError: not a body of this release.
    """
    return _record.decode(body)
