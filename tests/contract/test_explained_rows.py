"""Rows that carry explanations, to a real recorder over its socket: as many as wait after a pause arrive, in order."""

import queue
import time
from pathlib import Path

from daemon.messages import PROTO, Hello, Stored
from daemon.records import EvidenceRow, Kept
from daemon.units import FrameKey, UnitId, ViewKey
from daemon.vision.links import Link, Links
from daemon.vision.reports import Reports
from daemon.wire import WireError
from engines.explanation import MAX_BYTES
from tests.contract.recorder_box import LOADED, RecorderProcess

ROWS, LIMIT_S = 120, 20.0


def row(number: int) -> EvidenceRow:
    why = bytes([number % 256]) * MAX_BYTES
    key = FrameKey("side", 1, number)
    return EvidenceRow(0, UnitId(1, 0, number), ViewKey("side"), key, f"{number:064x}", Kept.RETAINED, "", 100, why)


def test_the_largest_rows_do_not_fill_the_recorders_socket(tmp_path: Path) -> None:
    """A full peer is dropped and everything sent again: with a larger window that went on for ever."""
    waiting: queue.SimpleQueue[EvidenceRow] = queue.SimpleQueue()
    for number in range(1, ROWS + 1):
        waiting.put(row(number))
    box = RecorderProcess(tmp_path)
    box.start()
    reports = Reports(waiting)
    links = Links([Link("recorder", tmp_path / "recorder.sock", Hello(PROTO, "vision", "box", 1_000_001))])
    lost: list[str] = []
    end = time.monotonic() + LIMIT_S
    while reports.acknowledged < ROWS and time.monotonic() < end:
        turn(links, reports, lost)
    links.close()
    code, errors = box.stop()
    assert (reports.acknowledged, lost, code) == (ROWS, [], 0), errors
    assert box.look("SELECT count(*) FROM evidence")[0][0] == ROWS


def turn(links: Links, reports: Reports, lost: list[str]) -> None:
    """One turn of thread `infer`, as far as the recorder is concerned."""
    for link in links.connect_due(time.monotonic_ns()):
        link.send(LOADED)
        reports.connected()
    for link in links.wait(0.02):
        for message, _ in link.messages():
            if isinstance(message, Stored):
                reports.stored(message.seq)
    link = links.all[0]
    if link.peer:
        reports.pump(lambda row: _sent(links, link, row, lost))


def _sent(links: Links, link: Link, row: EvidenceRow, lost: list[str]) -> bool:
    try:
        link.send(row)
    except WireError as error:
        lost.append(str(error))
        links.drop(link, error)
    return link.peer is not None
