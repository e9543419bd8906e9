"""A plan on disk: what was built of which graph by what for which GPU, under a code that only this device can make.

A plan is as good as code. What is read here is therefore what this device wrote: a folder KEY/ with `plan`,
`evidence.json` and `mac`, the HMAC-SHA256 under the device's own key over both. KEY is the digest of everything a plan
depends on, so that a changed graph, runtime, GPU, driver or option finds no plan instead of a wrong one.
"""

import hashlib
import hmac
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, structs

from engines.equivalence import Comparison
from engines.errors import PlanMissing, PlanRefused
from signing.durable import SECRET, sync_directory, write_durably
from signing.manifest import Sha256Hex

PLAN, EVIDENCE, MAC = "plan", "evidence.json", "mac"
KEY_BYTES = 32
MAX_PLAN_BYTES = 1 << 30
MAX_EVIDENCE_BYTES = 1 << 20
# Whoever runs plans may read the key by its group; nobody else may, and only its owner may change it.
KEY_MODE_REFUSED = 0o137


class BuildOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """What a person may choose of a build. No precision is among them: that is the graph's.

    workspace_mb: device memory that a kernel may use beside weights and activations, in MiB.
    level: how long the builder looks for faster kernels, 0 to 5 (TensorRT's default is 3).
    tf32: let convolutions round their factors to 10 bits of mantissa.
    """

    workspace_mb: Annotated[int, Meta(ge=64, le=65536)] = 1024
    level: Annotated[int, Meta(ge=0, le=5)] = 3
    tf32: bool = False


class PlanSource(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a plan depends on. Change one and it is another plan.

    device: the GPU's name; capability: "8.7" (or the name of the target it was built for, "SM80"); driver: the CUDA
    version the driver gives, "13.0".
    """

    onnx_sha256: Sha256Hex
    runtime: str
    version: str
    device: str
    capability: str
    driver: str
    options: BuildOptions

    @property
    def key(self) -> str:
        """Name of the plan's folder: sha256 (hex) over the fields in their order."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


class Evidence(Struct, frozen=True, forbid_unknown_fields=True, tag_field="document", tag="plan"):
    """The content of `evidence.json`: how the plan came to be, and what it was measured against before its first use.

    golden: against the bundle's golden frames. equivalence: against ONNX Runtime on the same graph.
    """

    format: Literal[1]
    source: PlanSource
    plan_sha256: Sha256Hex
    built_utc: str
    seconds: float
    layers: int
    log: tuple[str, ...]
    golden: tuple[Comparison, ...] = ()
    equivalence: tuple[Comparison, ...] = ()

    def measured(self, golden: tuple[Comparison, ...], equivalence: tuple[Comparison, ...]) -> "Evidence":
        """Return the evidence with what the plan was measured against."""
        return structs.replace(self, golden=golden, equivalence=equivalence)


@dataclass(frozen=True, slots=True)
class CheckedPlan:
    """A plan and its evidence: what `read_plan` checked, or what `slots` has just built and is about to measure.

    Vision gets one from `engines.plan_shelf` alone, which also wants a person's signature.
    """

    plan: bytes
    evidence: Evidence


def write_plan(root: Path, plan: bytes, evidence: Evidence, device_key: bytes) -> Path:
    """Keep `plan` under its key below `root` and return its folder; what lay there is replaced.

    The code is written last: a power cut before leaves a folder that `read_plan` refuses, and it is built again.
    Called by: `slots` after a build and its comparisons.

    Raises:
        PlanRefused: `evidence` is not of this plan.
        OSError: see `signing.durable.write_durably`.
    """
    if evidence.plan_sha256 != hashlib.sha256(plan).hexdigest():
        raise PlanRefused("the evidence is of another plan; build it again")
    raw = msgspec.json.encode(evidence)
    folder = root / evidence.source.key
    folder.mkdir(exist_ok=True)
    sync_directory(root)
    for name, content in ((PLAN, plan), (EVIDENCE, raw), (MAC, _code(device_key, raw, plan))):
        write_durably(folder / name, content)
    return folder


def read_plan(root: Path, source: PlanSource, device_key: bytes) -> CheckedPlan:
    """Return the plan that this device built of `source`. Nothing is parsed before its code holds.

    Called by: `engines.plan_shelf`, for vision and for `slots`, once per model.

    Raises:
        PlanMissing: none was built yet, or not to its end.
        PlanRefused: it is not what this device wrote, or it is of another source; one line says which.
    """
    folder = root / source.key
    name = f"plan {source.key[:12]}"
    code = _bounded(folder / MAC, 2 * hashlib.sha256().digest_size, name)
    raw = _bounded(folder / EVIDENCE, MAX_EVIDENCE_BYTES, name)
    plan = _bounded(folder / PLAN, MAX_PLAN_BYTES, name)
    if not hmac.compare_digest(code, _code(device_key, raw, plan)):
        raise PlanRefused(f"{name}: {_changed(raw, plan)}; build it again")
    try:
        evidence = msgspec.json.decode(raw, type=Evidence)
    except msgspec.MsgspecError as error:
        raise PlanRefused(f"{name}: {EVIDENCE}: {error}; build it again") from error
    for fault in differences(evidence.source, source):
        raise PlanRefused(f"{name}: it was built for {fault}; build it again")
    return CheckedPlan(plan, evidence)


def create_device_key(path: Path, mode: int = SECRET) -> None:
    """Make the key that vouches for this device's plans: 32 random bytes. What stands is never replaced.

    Args:
        mode: 0o600, or 0o640 where a group runs the plans.

    Called by: whoever builds first on a new device.

    Raises:
        FileExistsError: there is one. OSError: it cannot be written.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    write_durably(fresh, secrets.token_bytes(KEY_BYTES), mode)
    try:
        os.link(fresh, path)
    finally:
        fresh.unlink()
        sync_directory(path.parent)


def read_device_key(path: Path) -> bytes:
    """Return the device's key.

    Raises:
        PlanMissing: there is none. PlanRefused: it is of another size, or others may read or change it.
    """
    key = _bounded(path, KEY_BYTES, f"plan key {path}", KEY_MODE_REFUSED)
    if len(key) != KEY_BYTES:
        raise PlanRefused(
            f"plan key {path}: {len(key)} bytes instead of {KEY_BYTES}; delete it and build every plan again"
        )
    return key


def _code(device_key: bytes, evidence: bytes, plan: bytes) -> bytes:
    """HMAC-SHA256 (RFC 2104) in hex. The length before them keeps a byte from moving from one to the other."""
    code = hmac.new(device_key, len(evidence).to_bytes(8, "little"), hashlib.sha256)
    code.update(evidence)
    code.update(plan)
    return code.hexdigest().encode()


def _bounded(path: Path, limit: int, name: str, refused_mode: int = 0) -> bytes:
    """Read a regular file of at most `limit` bytes in one go; no link is followed."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
                raise PlanRefused(f"{name}: {path.name} is no file of at most {limit} bytes; delete it and build again")
            if found.st_mode & refused_mode:
                raise PlanRefused(f"{name}: mode {found.st_mode & 0o777:o} lets others read or change it; make it anew")
            return file.read(limit)
    except FileNotFoundError as error:
        raise PlanMissing(f"{name}: {path.name} is not there; build it") from error
    except OSError as error:
        raise PlanRefused(f"{name}: {path.name}: {error.strerror}; delete it and build again") from error


def _changed(evidence: bytes, plan: bytes) -> str:
    """Say which part is not as it was written, without parsing any of it."""
    if hashlib.sha256(plan).hexdigest().encode() in evidence:
        return f"{EVIDENCE} or {MAC} was changed, or another device wrote them"
    return f"{PLAN} was changed, or what {EVIDENCE} says of it"


def differences(found: PlanSource, wanted: PlanSource) -> list[str]:
    """Return in what two sources differ, in words: one entry a field."""
    return [
        f"{field} {getattr(found, field)}, here it is {getattr(wanted, field)}"
        for field in PlanSource.__struct_fields__
        if getattr(found, field) != getattr(wanted, field)
    ]
