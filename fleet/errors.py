"""What can go wrong on the publishers' side. Every message is one line: what is wrong, where, what to do."""


class FleetError(Exception):
    """Root of everything this folder raises; `linewarden-fleet` prints it and exits with 1."""


class NotDone(FleetError):
    """Not done: somebody said no, or it is not possible as things stand; the text says what to do first."""


class JournalUnreadable(FleetError):
    """The journal cannot be read or written: restore it or make room, nothing is done without it."""


class KeyUnusable(FleetError):
    """A person's key cannot be opened or does not sign: wrong address, file, token or PIN."""


class NotSigned(FleetError):
    """What a person was asked to build or sign is not whole, or not as that person may sign it."""
