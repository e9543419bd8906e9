"""The Protocols that the daemon drives devices through. Real device and simulator pass one contract suite."""

from typing import Protocol

from drivers.frame import CameraTraits, ClockLatch, Grab


class Camera(Protocol):
    """One triggered area-scan camera. Owned by one loop in a process of its own.

    Order: open, start, (wait, requeue, latch, alive)*, stop, close. After DeviceLost: close, then open again.
    """

    @property
    def traits(self) -> CameraTraits:
        """What the camera offers; known after `open`."""

    def open(self) -> None:
        """Find the camera by serial and configure it.

        Raises:
            ProducerMissing, DeviceLost, DeviceRefused, DeviceTimeout.
        """

    def start(self) -> None:
        """Reset the counters and start acquisition; frame ids and counts begin anew.

        Raises:
            DeviceLost, DeviceRefused, DeviceTimeout.
        """

    def wait(self, timeout_ms: int) -> Grab | None:
        """Return the next buffer, or None after `timeout_ms`. A lost device also just times out: ask `alive`.

        Raises:
            DeviceLost, DeviceRefused.
        """

    def requeue(self, grab: Grab) -> None:
        """Give the buffer back; its pixels are no longer valid. Once per grab."""

    def latch(self) -> ClockLatch:
        """Compare the device clock with CLOCK_MONOTONIC.

        Raises:
            DeviceLost, DeviceRefused (no such feature).
        """

    def alive(self) -> int | None:
        """Read a cheap register: the edges counted since acquisition start, None where the camera does not count.

        Raises:
            DeviceLost: the device does not answer.
        """

    def trigger(self) -> None:
        """Trigger by software.

        Raises:
            DeviceLost, DeviceRefused.
        """

    def reset(self) -> None:
        """Restart the camera (DeviceReset); it is lost until opened again.

        Raises:
            DeviceLost, DeviceRefused.
        """

    def stop(self) -> None:
        """Stop acquisition. Never raises: a lost device is stopped on this side."""

    def close(self) -> None:
        """Let the device go. Never raises; may be called at any time, twice too."""
