"""Telling the recorder what an archive confirmed: one connection for one row, which counts once it is stored."""

import select
import time
from pathlib import Path

from daemon.messages import Hello, Stored
from daemon.records import ArchivedRow
from daemon.wire import Peer, WireError, connect

ANSWER_S = 2.0


def tell(socket: Path, hello: Hello, row: ArchivedRow) -> bool:
    """Send one row; True once the recorder has it on record. False: tell again later, that does no harm."""
    peer = connect(socket, hello)
    if peer is None:
        return False
    try:
        peer.send(row)
        return _stored(peer, row.seq)
    except WireError:
        return False
    finally:
        peer.close()


def _stored(peer: Peer, seq: int) -> bool:
    end = time.monotonic() + ANSWER_S
    while (left := end - time.monotonic()) > 0:
        select.select([peer], [], [], left)
        while (message := peer.receive()) is not None:
            if isinstance(message, Stored) and message.seq >= seq:
                return True
    return False
