"""docs/interfaces/enrolment.md says what the code does."""

from pathlib import Path

from fleet import authority
from fleet.authority import SmallAuthority
from signing import enrolled, est, identity, revocation_request, status_note
from signing.certificates import Usage
from signing.enrolment_token import TOKEN

DOC = (Path(__file__).resolve().parents[2] / "docs" / "interfaces" / "enrolment.md").read_text(encoding="utf-8")


def test_paths_schemes_and_types_are_written_there() -> None:
    said = [est.CACERTS, est.ENROL, est.REENROL, f"{est.TOKEN_SCHEME} T", f"{est.IDENTITY_SCHEME} C.S"]
    said += [est.REQUEST_TYPE, est.CERTS_ONLY, f"{est.LARGEST_BODY:,}", TOKEN, status_note.STATUS]
    said += [f"{identity.HANDLE:#x}", authority.REVOCATIONS, *(usage.value.dotted_string for usage in Usage)]
    said += [enrolled.CERTIFICATE, enrolled.AUTHORITY, enrolled.ROOT, enrolled.RECORD, identity.DEVELOPMENT_FILE]
    assert [text for text in said if text not in DOC] == []


def test_what_the_identity_key_signs_is_written_there_to_the_byte() -> None:
    mark = est.reenrolment(b"")
    assert f"the {len(mark)} bytes `{mark.decode().rstrip()}` and line feed" in DOC


def test_lives_and_fields_are_written_there() -> None:
    hours = SmallAuthority.__dataclass_fields__["client_life"].default.total_seconds() / 3600
    assert f"| {hours:g} h, renewed at 2/3 |" in DOC
    assert f"| {authority.IDENTITY_LIFE.days // 365} years |" in DOC
    fields = revocation_request.RevocationRequest.__struct_fields__
    assert [name for name in fields if f'"{name}"' not in DOC] == []
