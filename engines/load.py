"""The one way from a verified bundle to a running engine."""

from engines.backends import PlanMaker
from engines.engine import Engine
from engines.errors import ModelRefused, PlanRefused
from engines.model_engine import ModelEngine
from engines.onnx_runtime import OnnxRuntimeSession
from engines.plan_file import CheckedPlan
from engines.plan_shelf import Cleared, described
from signing.verify import VerifiedBundle


def load(bundle: VerifiedBundle, name: str, cleared: Cleared | None = None) -> Engine:
    """Return the warm engine of model `name` in `bundle`. Takes a VerifiedBundle and nothing else, by design.

    Args:
        cleared: the plan that was built here of that model and signed, where the station's back end runs plans; None:
            ONNX Runtime runs the graph itself.

    Called by: `vision`, once per model at start; takes 0.1 to some seconds.

    Raises:
        ModelRefused: the bundle holds no such model, or the backend does not accept it.
        PlanRefused, BackendMissing, DeviceFailed: the plan is of another model, or the runtime does not take it.
    """
    model = bundle.manifest.models.get(name)
    if model is None:
        known = ", ".join(sorted(bundle.manifest.models))
        raise ModelRefused(
            f"bundle {bundle.manifest.name}: no model '{name}' (it holds {known}); choose another bundle"
        )
    file = bundle.files[model.file]
    if cleared is None:
        return ModelEngine(model, OnnxRuntimeSession(model, file.bytes()), file.sha256)
    if (cleared.approval.bundle, cleared.checked.evidence.source.onnx_sha256) != (bundle.digest, file.sha256):
        raise PlanRefused(f"{described(bundle, name)}: it was given the plan of another one; build it again")
    return load_built(bundle, name, cleared.maker, cleared.checked)


def load_built(bundle: VerifiedBundle, name: str, maker: PlanMaker, plan: CheckedPlan) -> Engine:
    """Return the warm engine of a plan that was built of model `name`, signed or not.

    Called by: `load`, and `slots` to measure what it has just built; nothing inspects with that.

    Raises:
        ModelRefused, PlanRefused, BackendMissing, DeviceFailed: the runtime does not take it.
    """
    model = bundle.manifest.models[name]
    return ModelEngine(model, maker.session(model, plan), bundle.files[model.file].sha256)
