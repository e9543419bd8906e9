"""Vectors of plan approvals: `python -m tests.vectors.plan_approval_1` rewrites plan-approval-1/ without a diff.

They are for the keys and the trust store of bundle-1; `refused/` names in each file's name why a device refuses it.
"""

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from fleet.people import Signatory
from fleet.plans import Asked, sign_plan_approval
from fleet.signatures import Words
from provisioning.plan_request import PlanRequest
from signing.durable import write_durably
from signing.plan_approval import ApprovedPlan
from signing.statement import envelope
from signing.trust import Role, key_id_of, public_pem
from tests.vectors.bundle_1 import KEYS, NAMES, NOW, STRANGER, NumberSigner

ROOT = Path(__file__).parent / "plan-approval-1"
STATION, BACKEND = "line-4", "onnxruntime-plan"
BUNDLE, PLAN, EVIDENCE = "b" * 64, "c" * 64, "e" * 64
QA, RELEASE = KEYS[Role.QA], KEYS[Role.RELEASE]
REASON = "CC-2026-0207: ONNX Runtime was updated, golden set and equivalence seen"


def asked(station: str = STATION, backend: str = BACKEND, bundle: str = BUNDLE, plan: str = PLAN) -> Asked:
    """What a device asks for: one model `side`."""
    request = PlanRequest(1, station, backend, bundle, {"side": ""})
    return Asked(request, {"side": ApprovedPlan(plan, EVIDENCE)}, ())


def sign(what: Asked, key: EllipticCurvePrivateKey = QA, name: str = NAMES[Role.QA], reason: str = REASON) -> bytes:
    """Sign it as a person would; the same bytes every time."""
    signatory = Signatory(NumberSigner(key), public_pem(key.public_key()), key_id_of(key.public_key()))
    return sign_plan_approval(what, signatory, Words(name, "", reason), NOW)


def anew(raw: bytes, change: Callable[[dict[str, Any]], object], key: EllipticCurvePrivateKey = QA) -> bytes:
    """Change the statement in an approval and sign it again."""
    said = json.loads(base64.b64decode(json.loads(raw)["payload"]))
    change(said)
    signer = NumberSigner(key)
    signed = envelope(
        json.dumps(said).encode(),
        key_id_of(key.public_key()),
        lambda message: bytes.fromhex(signer.sign(message).signature),
    )
    return msgspec.json.encode(signed)


def refused() -> dict[str, bytes]:
    """Return what is no approval, by why."""
    good = sign(asked())
    recipe = {"name": "recipe.json", "digest": {"sha256": BUNDLE}}
    return {
        "by-release": sign(asked(), RELEASE, NAMES[Role.RELEASE]),
        "by-a-stranger": sign(asked(), STRANGER, "Mallory"),
        "under-another-name": sign(asked(), QA, NAMES[Role.RELEASE]),
        "flipped": good.replace(b'"payload":"ey', b'"payload":"eyI', 1),
        "other-signature": good.replace(b'"sig":"M', b'"sig":"N'),
        "swap-order": anew(good, lambda s: s.update(predicateType="https://linewarden.org/attestation/swap-order/v1")),
        "two-subjects": anew(good, lambda s: s["subject"].append(recipe)),
        "recipe-for-bundle": anew(good, lambda s: s.update(subject=[recipe])),
        "no-plan": anew(good, lambda s: s["predicate"].update(plans={})),
        "no-evidence": anew(good, lambda s: s["predicate"]["plans"]["side"].pop("evidence")),
        "no-reason": anew(good, lambda s: s["predicate"].update(reason="")),
        "unknown-key": anew(good, lambda s: s["predicate"].update(any_station=True)),
        "no-time": anew(good, lambda s: s["predicate"].update(utc="yesterday")),
        "too-long": good + b" " * 4096,
    }


def write_all(root: Path) -> None:
    """Write every vector under the new directory `root`."""
    (root / "refused").mkdir(parents=True)
    write_durably(root / "good.plan-approval", sign(asked()))
    for why, raw in refused().items():
        write_durably(root / "refused" / f"{why}.plan-approval", raw)


if __name__ == "__main__":
    shutil.rmtree(ROOT, ignore_errors=True)
    write_all(ROOT)
