"""Shim while the drivers move: see drivers/clock.py."""

from drivers.clock import ClockMap, Reading

__all__ = ["ClockMap", "Reading"]
