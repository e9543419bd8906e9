"""ONNX Runtime with a plan: the graph as ONNX Runtime itself optimised it for this processor, run as it stands.

The optimiser lays convolutions out for the vector unit that it finds, and warns that its output is for that machine
alone. So the plan is made here, once, and kept; what is loaded is not optimised again.
"""

import os
import platform
import time
from pathlib import Path

import onnx
import onnxruntime as ort

from engines.errors import BuildFailed, ModelRefused, PlanRefused
from engines.onnx_runtime import EVERYTHING, OnnxRuntimeSession, one_line, open_graph, options
from engines.plan_digest import CPUINFO, processor
from engines.plan_file import BuildOptions, CheckedPlan, PlanSource
from engines.session import Facts
from engines.tensor_rt_build import BuiltPlan
from signing.manifest import Model

NAME = "onnxruntime-plan"
# Of /proc/cpuinfo: the line with what the processor can do, and what kernels are chosen by.
_ABILITIES = ("flags", "Features")
_VECTOR_UNITS = ("sse4", "avx", "fma", "f16c", "amx", "asimd", "sve", "i8mm", "bf16")


class OnnxPlanMaker:
    """Body of `engines.backends.PlanMaker`."""

    def __init__(self, version: str = ort.__version__) -> None:
        """`version`: of ONNX Runtime, as it stands in the source of its plans."""
        self.name = NAME
        self._version = version

    def source(self, onnx_sha256: str) -> PlanSource:
        """See `engines.backends.PlanMaker.source`. It has no options: those of a GPU build stand at their defaults."""
        return PlanSource(onnx_sha256, NAME, self._version, processor(), abilities(), "none", BuildOptions())

    def build(self, model: Model, graph: bytes) -> BuiltPlan:
        """See `engines.backends.PlanMaker.build`. `layers` are the nodes that are left."""
        started = time.monotonic()
        fd = os.memfd_create("plan", os.MFD_CLOEXEC)
        try:
            chosen = options(EVERYTHING)
            chosen.optimized_model_filepath = f"/proc/self/fd/{fd}"
            open_graph(graph, chosen)
            with os.fdopen(os.dup(fd), "rb") as file:
                plan = file.read()
            layers = len(onnx.ModelProto.FromString(plan).graph.node)
        except Exception as error:  # ONNX Runtime and protobuf raise types that share no root of their own
            raise BuildFailed(f"{model.file}: ONNX Runtime {self._version}: {one_line(error)}") from error
        finally:
            os.close(fd)
        return BuiltPlan(plan, (), layers, time.monotonic() - started)

    def session(self, model: Model, checked: CheckedPlan) -> OnnxRuntimeSession:
        """See `engines.backends.PlanMaker.session`. The optimiser is off: what runs is what was measured."""
        facts = Facts(NAME, checked.evidence.source.version, "cpu", "fp32", checked.evidence.plan_sha256)
        try:
            return OnnxRuntimeSession(model, checked.plan, facts)
        except ModelRefused as error:
            raise PlanRefused(f"ONNX Runtime does not take the plan: {error}") from error


def abilities(cpuinfo: Path = CPUINFO) -> str:
    """Return which vector instructions the processor has, sorted; "unknown" where the kernel does not say."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    words = next((line.partition(":")[2].split() for line in lines if line.startswith(_ABILITIES)), [])
    found = sorted({word for word in words if word.startswith(_VECTOR_UNITS)})
    return f"{platform.machine()} {' '.join(found) or 'unknown'}"
