"""What a site sends its fleet when a device is gone: please revoke it. A request, not an order: two people decide."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from signing.approval import require_utc
from signing.errors import DocumentInvalid
from signing.manifest import Sentence, Sha256Hex, strict_json

_Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")]


class RevocationRequest(
    Struct, frozen=True, forbid_unknown_fields=True, tag_field="document", tag="revocation-request"
):
    """`id` is the device id (signing.identity.device_id) that `by` wants revoked; `device` its name, which lives on."""

    format: Literal[1]
    what: Literal["device"]
    id: Sha256Hex
    device: _Name
    reason: Sentence
    by: Sentence
    utc: str


def read_revocation_request(raw: bytes, where: str) -> RevocationRequest:
    """Read a request. Called by `linewarden-fleet revoke`, which shows it to the two who sign.

    Raises:
        DocumentInvalid: it is none.
    """
    found = strict_json(raw, RevocationRequest, where)
    require_utc(found.utc, where)
    return found


def encoded_request(request: RevocationRequest) -> bytes:
    """Return the file's bytes.

    Raises:
        DocumentInvalid: a field does not fit.
    """
    raw = msgspec.json.format(msgspec.json.encode(request), indent=2) + b"\n"
    try:
        msgspec.json.decode(raw, type=RevocationRequest)
    except msgspec.ValidationError as error:
        raise DocumentInvalid(f"the revocation request: {error}; correct it") from error
    return raw
