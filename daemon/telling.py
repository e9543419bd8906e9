"""Telling the recorder rows of one's own: one connection, and they count once it has stored them."""

import select
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from daemon.messages import Hello, Stored
from daemon.records import ArchivedRow, AuditRow
from daemon.wire import Message, Peer, WireError, connect

ANSWER_S = 2.0


def tell(socket: Path, hello: Hello, rows: Sequence[AuditRow | ArchivedRow]) -> bool:
    """Send rows, numbered upwards under the session of `hello`; True once the recorder has all of them on record.

    Without rows: True if the recorder is there. False: tell it again under the same session, that does no harm.
    """
    peer = connect(socket, hello)
    if peer is None:
        return False
    try:
        for row in rows:
            peer.send(row)
        last = rows[-1].seq if rows else 0
        return _await(peer, lambda message: isinstance(message, Stored) and message.seq >= last if last else True)
    except WireError:
        return False
    finally:
        peer.close()


def _await(peer: Peer, met: Callable[[Message], bool]) -> bool:
    end = time.monotonic() + ANSWER_S
    while (left := end - time.monotonic()) > 0:
        select.select([peer], [], [], left)
        while (message := peer.receive()) is not None:
            if met(message):
                return True
    return False
