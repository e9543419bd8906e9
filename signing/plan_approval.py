"""A plan approval: QA's leave to inspect with what one station built of the graphs of one bundle (law 5).

A plan is not what two people signed: a builder on the device made it of that. A person looks at its evidence
(differences on the golden set and against ONNX Runtime) and signs its digest, for one station, as bundles are signed.
"""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta, Struct

from signing.approval import require_name, require_utc
from signing.dsse import open_envelope, read_statement
from signing.errors import SignatureInvalid
from signing.manifest import BUNDLE_DOCUMENT, Line, PrintedName, Sentence, Sha256Hex, Word
from signing.trust import Role, Trust

PLAN_APPROVAL = "https://linewarden.org/attestation/plan-approval/v1"
# All of it goes on record with the act that brings it (daemon/acts.py).
MAX_PLAN_APPROVAL_BYTES = 4096
MAX_PLANS = 12
WHERE = "plan approval"


class ApprovedPlan(Struct, frozen=True, forbid_unknown_fields=True):
    """sha256 of a plan, and of the evidence that the person was shown: built of what, when, and how far it is off."""

    plan: Sha256Hex
    evidence: Sha256Hex


class PlanPredicate(Struct, frozen=True, forbid_unknown_fields=True):
    """The predicate as it is written; the subject is the bundle's document."""

    station: Sentence
    backend: Line
    plans: Annotated[dict[Word, ApprovedPlan], Meta(min_length=1, max_length=MAX_PLANS)]
    printed_name: PrintedName
    reason: Sentence
    utc: Line


@dataclass(frozen=True, slots=True)
class PlanApproval:
    """One person of role qa approves `said.plans`, by model, of the bundle with digest `bundle`."""

    bundle: str
    key_id: str
    said: PlanPredicate


def read_plan_approval(raw: bytes, trust: Trust, where: str = WHERE) -> PlanApproval:
    """Return what an approval says once its signature holds. Whether it is for what runs here is the caller's matter.

    Called by: `slots` when it is handed in, `engines.plan_shelf` for each plan that is to be loaded; below 1 ms.

    Raises:
        SignatureInvalid: too large, not strict, or not signed by a person of role qa under that person's name.
    """
    if len(raw) > MAX_PLAN_APPROVAL_BYTES:
        raise SignatureInvalid(f"{where}: more than {MAX_PLAN_APPROVAL_BYTES} bytes; have it signed again")
    signed = open_envelope(raw, Role.QA, trust, where)
    statement = read_statement(signed.payload, PLAN_APPROVAL, PlanPredicate, where)
    if [subject.name for subject in statement.subject] != [BUNDLE_DOCUMENT]:
        raise SignatureInvalid(f"{where}: it must name {BUNDLE_DOCUMENT} alone; have it signed again")
    require_name(statement.predicate.printed_name, signed.person, where)
    require_utc(statement.predicate.utc, where)
    return PlanApproval(statement.subject[0].digest.sha256, signed.person.key_id, statement.predicate)
