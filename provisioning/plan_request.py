"""What a device hands to QA: the evidence of the plans that it built of one bundle, as it lies beside them.

`linewarden bundle plans --request FILE` writes it, `linewarden-fleet plan approve` shows it and signs it.
Nothing in it is secret, and nothing in it is believed by the device: the digests that come back signed are compared.
"""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from engines.equivalence import Comparison
from engines.plan_file import MAX_EVIDENCE_BYTES
from provisioning.errors import CommandFailed
from signing.manifest import Line, Sentence, Sha256Hex, Word
from signing.plan_approval import MAX_PLANS

MAX_REQUEST_BYTES = MAX_PLANS * (MAX_EVIDENCE_BYTES + 4096)


class PlanRequest(Struct, frozen=True, forbid_unknown_fields=True, tag_field="document", tag="plan-request"):
    """`plans`: by model, the text of the plan's evidence.json, byte for byte."""

    format: Literal[1]
    station: Sentence
    backend: Line
    bundle: Sha256Hex
    plans: Annotated[dict[Word, str], Meta(min_length=1, max_length=MAX_PLANS)]


class RequestUnreadable(CommandFailed):
    """The file is no request for an approval; the text says why."""


def read_plan_request(path: Path) -> PlanRequest:
    """Return the request in a file.

    Raises:
        RequestUnreadable: it is none.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_REQUEST_BYTES + 1)
    except OSError as error:
        raise RequestUnreadable(f"{path}: {error.strerror}; name a file that `bundle plans --request` wrote") from error
    if len(raw) > MAX_REQUEST_BYTES:
        raise RequestUnreadable(f"{path}: more than {MAX_REQUEST_BYTES} bytes; name a request of one device")
    try:
        return msgspec.json.decode(raw, type=PlanRequest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RequestUnreadable(f"{path}: {error}; write it again with `bundle plans --request`") from error


def encode(request: PlanRequest) -> bytes:
    """Return a request as it is written."""
    return msgspec.json.format(msgspec.json.encode(request), indent=1) + b"\n"


def worst(found: tuple[Comparison, ...]) -> float:
    """Return the worst absolute difference of a set, 0 where nothing was compared."""
    return max((one.worst_absolute for one in found), default=0.0)
