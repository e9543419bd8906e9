"""A swap order: QA's leave to change bundle and recipe inside one open batch (law 5), small enough for one act."""

from dataclasses import dataclass

from msgspec import Struct

from signing.approval import require_name, require_utc
from signing.dsse import open_envelope, read_statement
from signing.errors import SignatureInvalid
from signing.manifest import BUNDLE_DOCUMENT, RECIPE_DOCUMENT, Line, PrintedName, Sentence
from signing.trust import Role, Trust

SWAP_ORDER = "https://linewarden.org/attestation/swap-order/v1"
MAX_ORDER_BYTES = 3000
WHERE = "swap order"


class SwapPredicate(Struct, frozen=True, forbid_unknown_fields=True):
    """The predicate as it is written; the documents are the subjects."""

    batch: Sentence
    printed_name: PrintedName
    reason: Sentence
    utc: Line


@dataclass(frozen=True, slots=True)
class SwapOrder:
    """One person of role qa orders `bundle` and `recipe` (digests) for the rest of `batch`."""

    batch: str
    bundle: str
    recipe: str
    printed_name: str
    key_id: str
    reason: str
    utc: str


def read_swap_order(raw: bytes, trust: Trust) -> SwapOrder:
    """Return what an order says once its signature holds. Whether it fits line and batch is the caller's matter.

    Called by: `line`, for each swap act; takes below 1 ms.

    Raises:
        SignatureInvalid: too large, not strict, or not signed by a person of role qa under that person's name.
    """
    if len(raw) > MAX_ORDER_BYTES:
        raise SignatureInvalid(f"{WHERE}: more than {MAX_ORDER_BYTES} bytes; have it signed again")
    signed = open_envelope(raw, Role.QA, trust, WHERE)
    statement = read_statement(signed.payload, SWAP_ORDER, SwapPredicate, WHERE)
    said, named = statement.predicate, [subject.name for subject in statement.subject]
    if named != [BUNDLE_DOCUMENT, RECIPE_DOCUMENT]:
        raise SignatureInvalid(f"{WHERE}: it must name {BUNDLE_DOCUMENT} and {RECIPE_DOCUMENT}; have it signed again")
    require_name(said.printed_name, signed.person, WHERE)
    require_utc(said.utc, WHERE)
    bundle, recipe = (subject.digest.sha256 for subject in statement.subject)
    return SwapOrder(said.batch, bundle, recipe, said.printed_name, signed.person.key_id, said.reason, said.utc)
