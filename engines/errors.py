"""What an engine can report; its unit is never accepted. Leaf names say what happened, daemon/faults.py what we do."""


class EngineError(Exception):
    """Root of everything this folder raises."""


class ModelRefused(EngineError):
    """The backend does not accept this model, or the bundle holds no model of that name: choose another bundle."""


class FrameRefused(EngineError):
    """The frame is not what the model's region of interest needs: check the camera's size and pixel format."""


class InferenceFailed(EngineError):
    """The backend failed while it ran: the engine must be closed and loaded again."""


class GoldenRefused(EngineError):
    """What runs here does not score the bundle's golden frames as the bundle says: nothing may be judged with it."""


class BackendMissing(EngineError):
    """The runtime that the station asks for is not installed or does not load: install it or choose another."""


class DeviceFailed(EngineError):
    """The GPU is not there or its driver refuses: check the driver, then load the engine again."""


class BuildFailed(EngineError):
    """No plan came of a graph that the runtime accepts: check the GPU, its memory and the build options."""


class PlanRefused(EngineError):
    """A cached plan is not the one that was built here of this graph: build it again."""


class PlanMissing(PlanRefused):
    """No plan of this graph was built for this runtime and GPU yet: build it."""
