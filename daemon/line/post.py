"""The way from the line's decisions to the other processes."""

from typing import Protocol

from daemon.wire import Message


class Post(Protocol):
    """The way to the other processes; False and None of it ever waits."""

    @property
    def vision_up(self) -> bool:
        """True while vision is connected."""

    @property
    def recorder_up(self) -> bool:
        """True while the recorder is connected."""

    def to_vision(self, message: Message) -> None:
        """Send, or drop when vision is away."""

    def to_recorder(self, message: Message) -> bool:
        """Send a row; False when it must be sent again later."""
