"""The back ends that run a plan which was built on this device, chosen by name. `onnxruntime` needs none and is none.

NVIDIA's runtimes are imported when a station asks for one, never before.
"""

from dataclasses import dataclass
from typing import Protocol

from engines.cuda import open_cuda
from engines.errors import BackendMissing
from engines.onnx_plan import NAME, OnnxPlanMaker
from engines.plan_file import BuildOptions, CheckedPlan, PlanSource
from engines.session import Session
from engines.tensor_rt import open_session, plan_source
from engines.tensor_rt_api import LIBRARIES, Library, load_library
from engines.tensor_rt_build import BuiltPlan, build_plan
from signing.manifest import Model

PLAIN = "onnxruntime"


class PlanMaker(Protocol):
    """One runtime on this device. Every method raises BackendMissing or DeviceFailed where it cannot be used."""

    @property
    def name(self) -> str: ...

    def source(self, onnx_sha256: str) -> PlanSource:
        """Return everything that a plan of this graph depends on here, now."""
        ...

    def build(self, model: Model, graph: bytes) -> BuiltPlan:
        """Build a plan; takes 0.1 s to minutes.

        Raises:
            ModelRefused: the runtime does not take the graph. BuildFailed: no plan came of it.
        """
        ...

    def session(self, model: Model, checked: CheckedPlan) -> Session:
        """Load a plan, in the thread that will run it.

        Raises:
            PlanRefused: the runtime does not take it.
        """
        ...


@dataclass(frozen=True, slots=True)
class TensorRtMaker:
    """Body of `PlanMaker` for `tensorrt` and `tensorrt-rtx`, on GPU 0."""

    library: Library
    options: BuildOptions = BuildOptions()

    @property
    def name(self) -> str:
        return self.library.name

    def source(self, onnx_sha256: str) -> PlanSource:
        """See `PlanMaker.source`."""
        cuda = open_cuda()
        try:
            return plan_source(onnx_sha256, self.library, cuda.gpu, self.options)
        finally:
            cuda.close()

    def build(self, model: Model, graph: bytes) -> BuiltPlan:
        """See `PlanMaker.build`."""
        return build_plan(self.library, graph, model, self.options)

    def session(self, model: Model, checked: CheckedPlan) -> Session:
        """See `PlanMaker.session`."""
        return open_session(model, checked, self.library)


def plan_maker(backend: str) -> PlanMaker | None:
    """Return the maker of a back end's plans; None for `onnxruntime`, which has none.

    Called by: `vision`, `slots` and `linewarden bundle plans`, with the station's `$.vision.backend`.

    Raises:
        BackendMissing: the runtime is not installed or does not load, or there is no such back end.
    """
    if backend == PLAIN:
        return None
    if backend in LIBRARIES:
        return TensorRtMaker(load_library(backend))
    if backend != NAME:
        raise BackendMissing(f"there is no back end '{backend}'; choose {', '.join((PLAIN, NAME, *LIBRARIES))}")
    return OnnxPlanMaker()
