"""What an engine can report; its unit is never accepted. Leaf names say what happened, daemon/faults.py what we do."""


class EngineError(Exception):
    """Root of everything this folder raises."""


class ModelRefused(EngineError):
    """The backend does not accept this model, or the bundle holds no model of that name: choose another bundle."""


class FrameRefused(EngineError):
    """The frame is not what the model's region of interest needs: check the camera's size and pixel format."""


class InferenceFailed(EngineError):
    """The backend failed while it ran: the engine must be closed and loaded again."""
