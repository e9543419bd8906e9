"""What the device keeps of the reject board: events in order, lives told apart, permits in order and in time."""

from dataclasses import replace

from drivers.board_mirror import Mirror, Outbox
from drivers.registers import load_map
from drivers.serial_frames import BoardEvent, Permit, Revoke, Ring, Status, Totals

MAP = load_map()
STATUS = Status(1, 5, 1, 9, 9, 1, 47, 2001, 1001, 3, 77, 2, 0, 0, 0, 1, 0xFFFF, 0, 0, 0, 0, 0, (Totals(4, 5, 9, 1, 2),))
PERMIT = Permit(1001, 3, 8, 0, 8, 1, 5)


def event(seq: int, ring: Ring = Ring.CLOSED, index: int = 0) -> BoardEvent:
    return BoardEvent(ring, index, seq, 3, 100 + seq, 6, 1, 11, 12)


def begun() -> Mirror:
    mirror = Mirror(MAP)
    assert mirror.status(STATUS, 0, 0)
    return mirror


def closed(mirror: Mirror, seq: int) -> int:
    return MAP.closed.read(mirror.bank.words, MAP.closed.ring_at(0, seq))["number"]


def test_nothing_is_taken_before_the_board_was_heard_of() -> None:
    mirror = Mirror(MAP)
    assert not mirror.event(1, event(1)) and not any(mirror.bank.words)


def test_events_are_taken_in_order_once_and_a_gap_is_told() -> None:
    mirror = begun()
    assert mirror.event(2, event(2))
    assert (mirror.received, closed(mirror, 2)) == (0, 0)
    assert not mirror.event(1, event(1)) and not mirror.event(1, event(9)) and not mirror.event(2, event(2))
    assert (mirror.received, closed(mirror, 1), closed(mirror, 2)) == (2, 101, 102)
    assert mirror.missing(3) and not mirror.missing(2)


def test_sequence_numbers_wrap() -> None:
    mirror = Mirror(MAP)
    assert mirror.status(replace(STATUS, tail=0xFFFFFFFF), 1, 0)
    for sequence, seq in ((0xFFFFFFFF, 1), (0, 2), (1, 3)):
        assert not mirror.event(sequence, event(seq))
    assert mirror.received == 1 and not mirror.missing(1)


def test_an_entry_for_a_lane_or_station_that_is_not_in_the_map_is_dropped() -> None:
    mirror = begun()
    for sequence, (ring, index) in enumerate(((Ring.UNIT, 4), (Ring.EDGE, 8), (Ring.CLOSED, 255)), start=1):
        mirror.event(sequence, event(1, ring, index))
    assert not any(mirror.bank.words)


def test_another_life_empties_what_the_board_said_and_keeps_what_the_device_says() -> None:
    restarted = (
        (replace(STATUS, starts=2), 1, 77),
        (replace(STATUS, nonce=0), 1, 77),
        (replace(STATUS, epoch=9), 1, 77),
        (STATUS, 0, 77),
    )
    for status, head, asked in restarted:
        mirror = begun()
        mirror.bank.write(MAP.registers["device_heartbeat"].offset, [44])
        mirror.event(1, event(1))
        assert mirror.status(status, head, asked)
        assert closed(mirror, 1) == 0 and mirror.bank.get("device_heartbeat") == 44


def test_an_epoch_that_was_asked_for_is_the_same_life() -> None:
    mirror = begun()
    mirror.event(1, event(1))
    assert not mirror.status(replace(STATUS, nonce=78, epoch=4), 1, 78)
    assert closed(mirror, 1) == 101


def test_what_was_overwritten_is_passed_over_and_the_heads_tell_it() -> None:
    mirror = begun()
    assert not mirror.status(replace(STATUS, tail=50), 60, 0)
    assert mirror.received == 49
    assert not mirror.event(50, event(30))
    head = MAP.lane.at(0) + MAP.lane.fields["closed_seq"].offset
    assert mirror.bank.words[head + 1] == 30


def test_a_status_becomes_registers() -> None:
    mirror = begun()
    mirror.apply(STATUS)
    get = mirror.bank.get
    assert (get("map_version"), get("plc_identity"), get("epoch"), get("epoch_nonce_granted")) == (1, 2001, 3, 77)
    assert (get("stray_pass"), get("stray_chute"), get("inputs"), get("plc_heartbeat")) == (1, 2, 0xFFFF, 5)
    assert MAP.lane.read(mirror.bank.words, MAP.lane.at(0))["diverted"] == 5
    assert MAP.stray.read(mirror.bank.words, MAP.stray.at(0)) == {"stray_pass": 1, "stray_chute": 2}


def test_permits_are_numbered_repeated_in_order_and_forgotten_when_acknowledged() -> None:
    outbox = Outbox()
    first, second = outbox.add(PERMIT, 10, 100), outbox.add(Revoke(1001, 3, 8, 0), 20, 100)
    assert (first.sequence, second.sequence, outbox.waiting) == (1, 2, 2)
    assert [frame.sequence for frame in outbox.again(30, 6)] == [1, 2]
    outbox.acknowledged(1)
    assert [(frame.sequence, frame.said) for frame in outbox.again(30, 6)] == [(2, second.said)]
    outbox.clear()
    assert outbox.waiting == 0 and outbox.add(PERMIT, 50, 90).sequence == 1


def test_a_repeated_permit_has_a_fresh_stamp_and_one_too_old_goes_as_its_revocation() -> None:
    outbox = Outbox()
    outbox.add(PERMIT, 10, 100)
    assert [frame.said for frame in outbox.again(100, 6)] == [replace(PERMIT, echo=6)]
    assert [frame.said for frame in outbox.again(101, 7)] == [Revoke(1001, 3, 8, 0)]


def test_a_permit_that_waits_is_not_offered_again_once_it_is_taken_back() -> None:
    outbox = Outbox()
    outbox.add(PERMIT, 0, 100)
    outbox.add(Revoke(1001, 3, 8, 0), 0, 100)
    assert [(f.sequence, type(f.said)) for f in outbox.again(50, 6)] == [(1, Revoke), (2, Revoke)]
