"""The one way from a verified bundle to a running engine."""

from engines.engine import Engine
from engines.errors import ModelRefused
from engines.model_engine import ModelEngine
from engines.onnx_runtime import OnnxRuntimeSession
from signing.verify import VerifiedBundle


def load(bundle: VerifiedBundle, name: str) -> Engine:
    """Return the warm engine of model `name` in `bundle`. Takes a VerifiedBundle and nothing else, by design.

    Called by: `vision`, once per model at start; takes 0.1 to some seconds.

    Raises:
        ModelRefused: the bundle holds no such model, or the backend does not accept it.
    """
    model = bundle.manifest.models.get(name)
    if model is None:
        known = ", ".join(sorted(bundle.manifest.models))
        raise ModelRefused(
            f"bundle {bundle.manifest.name}: no model '{name}' (it holds {known}); choose another bundle"
        )
    return ModelEngine(
        model, OnnxRuntimeSession(model, bundle.files[model.file].bytes()), bundle.files[model.file].sha256
    )
