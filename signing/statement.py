"""Signed statements as they are written: in-toto in a DSSE envelope of one signature. signing/dsse.py reads them."""

import base64
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from signing.dsse import PAYLOAD_TYPE, STATEMENT_TYPE, pae


def statement(
    subjects: Mapping[str, str],
    predicate_type: str,
    predicate: object,
    *,
    order: Literal["deterministic"] | None = "deterministic",
) -> bytes:
    """Return the payload that says `predicate` about the subjects, sha256 (hex) by name in their order.

    Args:
        order: of the keys: sorted, or None: as they were put in, where earlier signatures promise the same bytes.
    """
    content = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": sha256}} for name, sha256 in subjects.items()],
        "predicateType": predicate_type,
        "predicate": predicate,
    }
    return msgspec.json.encode(content, order=order)


def envelope(payload: bytes, key_id: str, sign: Callable[[bytes], bytes]) -> dict[str, Any]:
    """Return the envelope of a payload. `sign` makes a DER signature (ECDSA P-256, SHA-256) over what it is given."""
    signature = base64.b64encode(sign(pae(payload))).decode()
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": key_id, "sig": signature}],
    }
