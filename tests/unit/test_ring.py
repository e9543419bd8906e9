"""The frame ring: credits, seals, and what a reader can and cannot do."""

import fcntl
import mmap
import os
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.camera.ring import Ring
from daemon.messages import Ring as RingMessage
from daemon.vision.ring_map import RingMap

FRAME = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)


@pytest.fixture
def ring() -> Iterator[Ring]:
    made = Ring(3, FRAME.size)
    yield made
    made.close()


def reader_of(ring: Ring) -> RingMap:
    return RingMap(RingMessage("body", 7, ring.slots, ring.slot_bytes), ring.fd)


def test_a_reader_sees_the_stored_frame(ring: Ring) -> None:
    slot = ring.store(FRAME)
    assert np.array_equal(reader_of(ring).image(slot, 64, 48), FRAME)


def test_slots_are_whole_pages(ring: Ring) -> None:
    assert ring.slot_bytes == mmap.PAGESIZE
    assert Ring(1, mmap.PAGESIZE + 1).slot_bytes == 2 * mmap.PAGESIZE


def test_a_full_ring_gives_no_slot_until_one_is_released(ring: Ring) -> None:
    slots = [ring.store(FRAME) for _ in range(3)]
    assert sorted(slots) == [0, 1, 2]
    assert ring.store(FRAME) is None
    assert ring.release(1)
    assert ring.store(FRAME) == 1


def test_the_slot_that_is_free_for_longest_comes_first(ring: Ring) -> None:
    first = ring.store(FRAME)
    ring.release(first)
    assert ring.store(FRAME) != first


@pytest.mark.parametrize("slot", [0, 2, -1, 3, 1 << 40])
def test_a_slot_that_is_not_lent_cannot_be_released(ring: Ring, slot: int) -> None:
    assert ring.store(FRAME) == 0
    assert ring.release(0)
    assert not ring.release(slot)
    assert ring.free == 3


def test_a_lent_slot_keeps_its_pixels(ring: Ring) -> None:
    kept = ring.store(FRAME)
    view = reader_of(ring).image(kept, 64, 48)
    for value in range(20):
        slot = ring.store(np.full_like(FRAME, value))
        if slot is not None:
            ring.release(slot)
    assert np.array_equal(view, FRAME)


def test_too_large_a_frame_is_refused(ring: Ring) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        ring.store(np.zeros((ring.slot_bytes + 1, 1), np.uint8))
    assert ring.free == 3


@pytest.mark.clause("ALCOA+ original")
def test_nobody_else_can_write_or_resize(ring: Ring) -> None:
    with pytest.raises(PermissionError):
        mmap.mmap(ring.fd, ring.slot_bytes)
    with pytest.raises(PermissionError):
        os.write(ring.fd, b"x")
    for size in (0, ring.slots * ring.slot_bytes * 2):
        with pytest.raises(PermissionError):
            os.ftruncate(ring.fd, size)
    with pytest.raises(PermissionError):
        fcntl.fcntl(ring.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


def test_a_reader_keeps_its_memory_after_close() -> None:
    ring = Ring(1, FRAME.size)
    view = reader_of(ring).image(ring.store(FRAME), 64, 48)
    ring.close()
    ring.close()
    assert np.array_equal(view, FRAME)
    with pytest.raises(ValueError, match="do not fit"):
        ring.store(FRAME)


@pytest.mark.parametrize(("slots", "frame_bytes"), [(0, 10), (4, 0), (-1, 10)])
def test_no_ring_without_slots(slots: int, frame_bytes: int) -> None:
    with pytest.raises(ValueError, match="is none"):
        Ring(slots, frame_bytes)


@given(st.lists(st.one_of(st.none(), st.integers(-1, 5)), max_size=60))
def test_no_slot_is_lent_twice(steps: list[int | None]) -> None:
    """None stores a frame, a number releases that slot; the model is the set of lent slots."""
    ring, lent = Ring(4, 16), set[int]()
    try:
        for step in steps:
            if step is None:
                slot = ring.store(np.zeros((1, 16), np.uint8))
                assert (slot is None) == (len(lent) == 4)
                assert slot not in lent
                lent |= {slot} - {None}
            else:
                assert ring.release(step) == (step in lent)
                lent -= {step}
            assert ring.free == 4 - len(lent)
    finally:
        ring.close()
