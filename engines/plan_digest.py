"""The digest of an execution plan: everything beside the frames on which the bytes of a score depend (law 6)."""

import hashlib
import platform
from collections.abc import Mapping
from pathlib import Path

from engines.engine import EngineInfo

CPUINFO = Path("/proc/cpuinfo")
NAMING = ("model name", "CPU part", "Hardware")


def plan_digest(engines: Mapping[str, EngineInfo], processor: str) -> str:
    """Return the sha256 (hex) over the engines by view: runtime and its version, device, precision, graph, built plan,
    processor.

    The processor is in it because a runtime picks its kernels by what the processor can do.
    """
    lines = [
        f"{view} {info.backend} {info.version} {info.device} {info.precision} {info.onnx_sha256} {info.plan}".rstrip()
        for view, info in sorted(engines.items())
    ]
    return hashlib.sha256("\n".join((*lines, processor)).encode()).hexdigest()


def processor() -> str:
    """Return this computer's processor as the kernel names it, with the architecture."""
    found = ""
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for name in NAMING:
        found = found or next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
    return f"{platform.machine()} {found}".strip()
