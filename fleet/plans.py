"""Plan approvals: what a device built of a signed bundle, seen and signed by one person of role qa."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from engines.plan_file import Evidence
from fleet.errors import NotSigned
from fleet.people import Signatory
from fleet.signatures import Words
from provisioning.errors import CommandFailed
from provisioning.plan_request import PlanRequest, read_plan_request, worst
from signing.errors import SigningError
from signing.manifest import BUNDLE_DOCUMENT, BundleManifest, read_bundle_manifest
from signing.plan_approval import MAX_PLAN_APPROVAL_BYTES, PLAN_APPROVAL, ApprovedPlan, PlanPredicate
from signing.sealed import MAX_DOCUMENT_BYTES, open_directory, read_file
from signing.statement import envelope, statement
from signing.utc import utc_text


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that is whole and of that bundle. `shown`: what the person sees of each plan, a line each."""

    request: PlanRequest
    plans: dict[str, ApprovedPlan]
    shown: tuple[str, ...]


def read_asked(path: Path, directory: Path) -> Asked:
    """Return what a device asks for, compared with the bundle in `directory`: every model of it, and its graphs.

    Raises:
        NotSigned: it is no request, not of this bundle, or a plan was not measured against the whole golden set.
    """
    try:
        request = read_plan_request(path)
        with open_directory(directory) as fd:
            raw = read_file(fd, BUNDLE_DOCUMENT, MAX_DOCUMENT_BYTES)
        manifest = read_bundle_manifest(raw, BUNDLE_DOCUMENT)
    except (CommandFailed, SigningError) as error:
        raise NotSigned(str(error)) from error
    digest = hashlib.sha256(raw).hexdigest()
    if request.bundle != digest:
        raise NotSigned(
            f"{path}: it is about bundle {request.bundle[:12]}, {directory} is {digest[:12]}; name that one"
        )
    if request.plans.keys() != manifest.models.keys():
        raise NotSigned(f"{path}: not one plan for each model of the bundle; have it written again")
    found = {name: _evidence(path, manifest, name, text) for name, text in request.plans.items()}
    plans = {
        name: ApprovedPlan(one.plan_sha256, hashlib.sha256(request.plans[name].encode()).hexdigest())
        for name, one in found.items()
    }
    return Asked(request, plans, tuple(_shown(request, found)))


def sign_plan_approval(asked: Asked, signatory: Signatory, words: Words, now: datetime) -> bytes:
    """Return the approval of all plans of a request; `words.meaning` is not in it.

    Raises:
        NotSigned: the words are not acceptable, or it is longer than a device reads.
        KeyUnusable: the key does not sign.
    """
    request = asked.request
    said = PlanPredicate(request.station, request.backend, asked.plans, words.printed_name, words.reason, utc_text(now))
    try:
        said = msgspec.convert(msgspec.to_builtins(said), PlanPredicate, strict=True)
    except msgspec.ValidationError as error:
        raise NotSigned(f"{error}; correct name or reason") from error
    payload = statement({BUNDLE_DOCUMENT: request.bundle}, PLAN_APPROVAL, said)
    signer = signatory.signer
    signed = envelope(payload, signatory.key_id, lambda message: bytes.fromhex(signer.sign(message).signature))
    raw = msgspec.json.encode(signed)
    if len(raw) > MAX_PLAN_APPROVAL_BYTES:
        raise NotSigned(
            f"the approval has {len(raw)} bytes, at most {MAX_PLAN_APPROVAL_BYTES} are read; give a shorter reason"
        )
    return raw


def _evidence(path: Path, manifest: BundleManifest, name: str, text: str) -> Evidence:
    try:
        found = msgspec.json.decode(text.encode(), type=Evidence)
    except msgspec.MsgspecError as error:
        raise NotSigned(f"{path}: model '{name}': {error}; have it written again") from error
    graph = manifest.files[manifest.models[name].file].sha256
    if found.source.onnx_sha256 != graph:
        raise NotSigned(f"{path}: model '{name}': built of another graph than the bundle's; have it built again")
    wanted = sorted(case.file for case in manifest.golden.cases if case.model == name)
    for what, compared in (("golden set", found.golden), ("equivalence set", found.equivalence)):
        if sorted({one.file for one in compared if one.model == name}) != sorted(set(wanted)):
            raise NotSigned(f"{path}: model '{name}': not measured on the whole {what}; have it built again")
    return found


def _shown(request: PlanRequest, found: dict[str, Evidence]) -> Iterator[str]:
    for name, one in found.items():
        source = one.source
        yield (
            f"let {request.station} inspect with plan {one.plan_sha256[:12]} of model '{name}': {request.backend} "
            f"{source.version} on {source.device}, built {one.built_utc}; off by at most {worst(one.golden):.3g} "
            f"on the golden set, {worst(one.equivalence):.3g} against onnxruntime"
        )
