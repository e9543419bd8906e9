"""What a person says with a signature: name, meaning, time and reason (21 CFR 11.50), bound to one document.

A DSSE envelope beside the signature, made with the same key: docs/interfaces/bundle-format-1.md.
"""

from dataclasses import dataclass

from msgspec import Struct

from signing.dsse import Statement, open_envelope, read_statement
from signing.errors import SignatureInvalid
from signing.manifest import Line, PrintedName, Sentence
from signing.trust import Person, Role, Trust
from signing.utc import read_utc

APPROVAL = "https://linewarden.org/attestation/approval/v1"


class ApprovalPredicate(Struct, frozen=True, forbid_unknown_fields=True):
    """The predicate as it is written."""

    role: Role
    printed_name: PrintedName
    meaning: Sentence
    utc: Line
    reason: Sentence


@dataclass(frozen=True, slots=True)
class Approval:
    """One person's checked approval of one document. `utc` is `2026-11-23T00:45:00Z`, the signer's clock."""

    role: Role
    key_id: str
    printed_name: str
    meaning: str
    utc: str
    reason: str


def read_approval(raw: bytes, role: Role, trust: Trust, document: tuple[str, str], where: str) -> Approval:
    """Return the approval of `document`, a pair of file name and sha256 (hex).

    Raises:
        SignatureInvalid: not signed by a person of that role, or about something else.
    """
    signed = open_envelope(raw, role, trust, where)
    statement = read_statement(signed.payload, APPROVAL, ApprovalPredicate, where)
    said = statement.predicate
    _require_subject(statement, document, where)
    if said.role is not role:
        raise SignatureInvalid(f"{where}: it is given as '{said.role}', not as '{role}'; have it approved again")
    require_name(said.printed_name, signed.person, where)
    require_utc(said.utc, where)
    return Approval(role, signed.person.key_id, said.printed_name, said.meaning, said.utc, said.reason)


def require_name(printed: str, person: Person, where: str) -> None:
    """Refuse a printed name that is not the trust store's.

    Raises:
        SignatureInvalid: with both names.
    """
    if printed != person.name:
        raise SignatureInvalid(
            f"{where}: printed name '{printed}', the key is {person.name}'s; sign under the trust store's name"
        )


def require_utc(text: str, where: str) -> None:
    """Refuse a time that is not written `2026-11-23T00:45:00Z`.

    Raises:
        SignatureInvalid: with the text.
    """
    try:
        read_utc(text)
    except ValueError as error:
        raise SignatureInvalid(
            f"{where}: '{text[:40]}' is not a time like 2026-11-23T00:45:00Z; have it signed again"
        ) from error


def _require_subject(statement: Statement[ApprovalPredicate], document: tuple[str, str], where: str) -> None:
    name, digest = document
    found = [(subject.name, subject.digest.sha256) for subject in statement.subject]
    if found != [document]:
        about, what = found[0]
        raise SignatureInvalid(
            f"{where}: it approves {about} {what[:16]}..., this is {name} {digest[:16]}...; have it approved again"
        )
