"""What can go wrong at a device. Third-party exceptions are translated into these at the adapter.

`daemon/faults.py` maps each class to a reaction; the text is one line that says what to do.
"""


class DriverError(Exception):
    """Root of everything this folder raises."""


class DeviceLost(DriverError):
    """The device does not answer any more: cable, power or process gone. Close, then open again."""


class DeviceTimeout(DriverError):
    """The device took longer than agreed; it may still be there."""


class DeviceRefused(DriverError):
    """The device is there and will not do what was asked: wrong setting, in use elsewhere, missing feature."""


class ProducerMissing(DriverError):
    """The GenTL producer (.cti) is not there or cannot be loaded; correct the station file or install it."""
