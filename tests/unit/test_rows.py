"""Rows wait until they are durable and are sent again in order, however little the recorder takes at a time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.line.rows import HOLD_NS, HOLD_ROWS, Rows
from daemon.messages import GapRow
from daemon.wire import Message

ROW = GapRow(0, 1, 0, 1, 2, "test")


class Recorder:
    """Takes `room` messages at a time and remembers their numbers."""

    def __init__(self) -> None:
        self.room = 0
        self.got: list[int] = []

    def take(self, message: Message) -> bool:
        assert isinstance(message, GapRow)
        if not self.room:
            return False
        self.room -= 1
        self.got.append(message.seq)
        return True


@pytest.mark.clause("ALCOA+ complete", "ALCOA+ consistent")
@given(st.lists(st.one_of(st.integers(0, 5), st.sampled_from(["put", "stored", "again"])), max_size=60))
def test_every_row_arrives_in_order(script: list[int | str]) -> None:
    recorder = Recorder()
    rows = Rows(recorder.take)
    put, stored = 0, 0
    for step in script:
        if step == "put":
            put += 1
            rows.put(ROW, 0)
        elif step == "stored" and recorder.got:
            stored = max(stored, recorder.got[-1])
            rows.stored(stored)
        elif step == "again":
            recorder.got.clear()
            rows.connected()
        elif isinstance(step, int):
            recorder.room = step
            rows.pump()
    recorder.room = put
    recorder.got.clear()
    rows.connected()
    rows.pump()
    assert recorder.got == list(range(stored + 1, put + 1))
    assert len(rows) == put - stored


@pytest.mark.clause("ALCOA+ contemporaneous", "IEC 62443-4-2 CR 2.10")
def test_the_line_is_held_by_too_many_rows_or_by_an_old_one() -> None:
    rows = Rows(Recorder().take)
    for _ in range(HOLD_ROWS - 1):
        rows.put(ROW, 0)
    assert not rows.overdue(HOLD_NS)
    assert rows.overdue(HOLD_NS + 1)
    rows.put(ROW, 0)
    assert rows.overdue(0)
    rows.stored(HOLD_ROWS)
    assert not rows.overdue(10 * HOLD_NS)
