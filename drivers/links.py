"""The Protocol between the PLC driver and whatever carries the registers of map v1."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer to one request. `words` is empty after a write. Stamps are CLOCK_MONOTONIC ns around the round trip:
    whatever the answer says (the PLC's clock above all) was true at some moment between the two."""

    tag: str
    index: int
    seq: int
    words: Sequence[int]
    sent_ns: int
    received_ns: int


class RegisterLink(Protocol):
    """The way to the registers of map v1, whatever carries them: Modbus TCP or RTU, the device's own Modbus server that
    a PLC polls, a reject board, or the gate program in this process. Owned by the line loop; nothing here waits.

    `Plc` (drivers/plc_link.py) is the only user. One contract suite runs over every implementation. What is asked while
    the link is down is forgotten; it is up once the other side answered.
    """

    @property
    def up(self) -> bool:
        """True while connected."""

    @property
    def idle(self) -> bool:
        """True when nothing is queued or on the wire."""

    def fileno(self) -> int:
        """A descriptor that is readable when `service` has work, -1 while there is none."""

    def read(self, tag: str, address: int, count: int, index: int = 0, seq: int = 0) -> None:
        """Queue a read of `count` holding registers (at most 120); the Reply carries tag, index and seq back."""

    def write(self, tag: str, address: int, words: Sequence[int], index: int = 0, seq: int = 0) -> None:
        """Queue a write of holding registers that takes effect as one, ahead of every queued read."""

    def connect(self, now_ns: int) -> bool:
        """Try to connect when it is time to; return True at the moment the link comes up."""

    def service(self, now_ns: int) -> list[Reply]:
        """Receive what arrived, send what waits.

        Raises:
            DeviceLost: the other side is gone or broke the protocol; the link is down afterwards. While it is down: why
                it does not come up, said when the reason is new.
        """

    def close(self) -> None:
        """Drop the connection and everything queued. Outputs that this process holds fall to their safe state."""


@runtime_checkable
class Remarking(Protocol):
    """A link that has something to say while it is up: strangers, refused writes. Asked by `Plc` every turn."""

    def remarks(self) -> list[str]:
        """Return what a person should hear of, one line each; empty most of the time."""
