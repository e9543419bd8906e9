"""The mail of wiring modbus-server, both ends: a PLC that only polls the queue is as safe as one that reads slots."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from drivers.gate.plc_bank import Bank
from drivers.gate.plc_mailbox import MOST_AGE_MS, Mailbox
from drivers.handshake import MAX_U16, PERMIT, Handshake, MailFlag, Nak, ResultReason
from drivers.registers import load_map, permit_check, u32

MAP = load_map()
DEVICE, EPOCH, MS = 77, 5, 1_000_000
DEPTH = MAP.result.length


def fresh(epoch: int = EPOCH) -> Handshake:
    """A handshake with a PLC whose first order is taken."""
    mail = Handshake(MAP, 1)
    mail.connected()
    mail.order(order(0, 0, 0), 0)
    mail.begin(epoch)
    mail.ready = True
    return mail


def order(toggle: int, trigger: int, number: int, *, lane: int = 0, epoch: int = EPOCH, ack: int = 0) -> list[int]:
    fields = {"toggle": toggle, "trigger": trigger, "lane": lane, "number": number, "epoch": epoch}
    return MAP.order.write(fields | {"result_ack": ack})


def fields(mail: Handshake) -> dict[str, int]:
    return MAP.mail.read(mail.words(1, 0))


def answer(mail: Handshake, now_ns: int = 0) -> list[int]:
    """What a PLC reads from mail.turn to the end of the queue."""
    gap = [0] * (MAP.result.base - MAP.mail.base - MAP.mail.entry)
    return [*mail.words(1, 0), *gap, *mail.results(now_ns)]


def entries(mail: Handshake, now_ns: int = 0) -> dict[int, dict[str, int]]:
    """The queue by sequence number."""
    words = mail.results(now_ns)
    found = [MAP.result.read(words, at) for at in range(0, len(words), MAP.result.entry)]
    return {entry["seq"]: entry for entry in found if entry["number"]}


def give(mail: Handshake, number: int, now_ns: int = 0, epoch: int = EPOCH) -> bool:
    return mail.permit(0, number, permit_check(number, epoch, 0, number % 64, DEVICE), now_ns)


def test_a_permit_is_queued_with_unit_epoch_check_and_age() -> None:
    mail = fresh()
    assert give(mail, 9, 1_000 * MS)
    entry = entries(mail, 1_012 * MS)[1]
    assert (entry["number"], entry["epoch"], entry["verdict"], entry["lane"]) == (9, EPOCH, PERMIT, 0)
    assert entry["check"] == permit_check(9, EPOCH, 0, 9, DEVICE)
    assert entry["age_ms"] == 12
    assert fields(mail)["result_head"] == 1
    assert MailFlag.RESULT_VALID in MailFlag(fields(mail)["flags"])


def test_an_age_never_wraps() -> None:
    mail = fresh()
    give(mail, 9)
    assert entries(mail, 10**15)[1]["age_ms"] == MAX_U16
    assert entries(mail, -5)[1]["age_ms"] == 0


def test_a_withdrawal_voids_the_entry_and_is_told_anew() -> None:
    mail = fresh()
    give(mail, 9)
    mail.withdraw(0, 9, MS)
    assert [(e["number"], e["verdict"], e["check"]) for e in entries(mail).values()] == [(9, 0, 0), (9, 0, 0)]
    assert entries(mail)[2]["reason"] == ResultReason.WITHDRAWN


def test_what_was_never_given_is_not_taken_back() -> None:
    mail = fresh()
    give(mail, 9)
    mail.withdraw(0, 73, 0)
    mail.begin(EPOCH + 1)
    mail.withdraw(0, 9, 0)
    assert entries(mail) == {} and mail.waiting == 0


def test_a_late_withdrawal_of_the_slots_last_unit_leaves_the_new_ones_permit_withdrawable() -> None:
    mail = fresh()
    give(mail, 9)
    give(mail, 73)
    mail.withdraw(0, 9, 0)
    mail.withdraw(0, 73, 0)
    assert [(e["number"], e["verdict"]) for e in entries(mail).values()] == [(9, 1), (73, 0), (73, 0)]


def test_a_reject_channel_is_told_and_permits_nothing() -> None:
    mail = fresh()
    mail.reject(0, 9, 2, 0xBEEF, 0)
    entry = entries(mail)[1]
    assert (entry["verdict"], entry["reason"], entry["channel"], entry["check"]) == (0, 3, 2, 0xBEEF)


def test_overrun_is_set_when_unread_results_are_overwritten_and_falls_when_all_are_acknowledged() -> None:
    mail = fresh()
    for number in range(1, DEPTH + 1):
        give(mail, number)
    assert MailFlag.OVERRUN not in MailFlag(fields(mail)["flags"])
    give(mail, 99)
    assert MailFlag.OVERRUN in MailFlag(fields(mail)["flags"])
    assert set(entries(mail)) == set(range(2, DEPTH + 2))
    mail.order(order(0, 0, 0, ack=5), 0)
    assert MailFlag.OVERRUN in MailFlag(fields(mail)["flags"])
    mail.order(order(0, 0, 0, ack=DEPTH + 1), 0)
    flags = MailFlag(fields(mail)["flags"])
    assert MailFlag.OVERRUN not in flags and MailFlag.RESULT_VALID not in flags


@pytest.mark.parametrize("ack", [3, 9, 40_000, MAX_U16])
def test_an_acknowledgement_of_what_was_never_given_says_nothing(ack: int) -> None:
    mail = fresh()
    give(mail, 1)
    give(mail, 2)
    mail.order(order(0, 0, 0, ack=ack), 0)
    assert mail.waiting == 2


def test_a_trigger_is_acknowledged_once() -> None:
    mail = fresh()
    for _ in range(3):
        assert mail.order(order(1, 1, 10), 0) is None
    found = fields(mail)
    assert (found["ack"], found["nak_cause"]) == (1, Nak.NONE)
    assert MailFlag.ACK_TOGGLE in MailFlag(found["flags"]) and not entries(mail)
    assert give(mail, 10)


@pytest.mark.parametrize(
    ("words", "ready", "full", "cause"),
    [
        (order(1, 1, 10), False, False, Nak.NOT_READY),
        (order(1, 1, 10, epoch=EPOCH - 1), True, False, Nak.WRONG_EPOCH),
        (order(1, 1, 10), True, True, Nak.QUEUE_FULL),
        (order(1, 2, 10), True, False, Nak.SEQUENCE),
        (order(0, 1, 10), True, False, Nak.SEQUENCE),
        (order(7, 1, 10), True, False, Nak.SEQUENCE),
        (order(1, 0, 10), True, False, Nak.SEQUENCE),
    ],
)
def test_a_nak_names_its_cause_and_bars_the_unit(words: Sequence[int], ready: bool, full: bool, cause: Nak) -> None:
    mail = fresh()
    mail.ready = ready
    for number in range(100, 100 + DEPTH * full):
        give(mail, number)
    assert mail.order(words, 0) == (0, 10)
    found = fields(mail)
    assert (found["nak_cause"], found["nak"], found["ack"]) == (cause, words[1], 0)
    assert MailFlag.NAK in MailFlag(found["flags"])
    assert not give(mail, 10)
    assert all(entry["verdict"] != PERMIT for entry in entries(mail).values() if entry["number"] == 10)
    assert give(mail, 11)


def test_a_lane_that_is_not_there_is_refused() -> None:
    mail = fresh()
    assert mail.order(order(1, 1, 10, lane=1), 0) is None
    assert fields(mail)["nak_cause"] == Nak.BAD_LANE


def test_the_first_order_of_a_connection_is_where_triggers_begin() -> None:
    mail = Handshake(MAP, 1)
    mail.connected()
    mail.begin(EPOCH)
    mail.ready = True
    assert mail.order(order(1, 4711, 10), 0) is None
    assert fields(mail)["nak_cause"] == Nak.NONE and MailFlag.ACK_TOGGLE in MailFlag(fields(mail)["flags"])
    mail.order(order(0, 4712, 11), 0)
    assert fields(mail)["ack"] == 4712


def test_a_new_epoch_leaves_nothing_of_the_old_one() -> None:
    mail = fresh()
    give(mail, 1)
    mail.begin(EPOCH + 1)
    assert entries(mail) == {} and mail.waiting == 0
    assert fields(mail)["result_head"] == 1 + DEPTH + 1


def test_without_an_epoch_nothing_is_permitted() -> None:
    mail = fresh(0)
    assert not give(mail, 1)
    assert entries(mail) == {}


def test_sequence_numbers_wrap() -> None:
    mail, bank = fresh(), Bank(MAP)
    bank.set("epoch", EPOCH)
    for number in range(1, MAX_U16 - 20):
        mail.permit(0, number, 1, 0)
    box = Mailbox(bank, 1)
    box.take(answer(mail))
    mail.order(order(0, 0, 0, ack=box.order()[-1]), 0)
    for number in range(1, 50):
        mail.permit(0, number, 1, 0)
        if number % 5 == 0:
            box.take(answer(mail))
            mail.order(order(0, 0, 0, ack=box.order()[-1]), 0)
            assert [u32(bank.words, MAP.permit.at(0, n)) for n in range(number - 4, number)] == list(
                range(number - 4, number)
            )
    assert box.lost == 0 and MailFlag.OVERRUN not in MailFlag(fields(mail)["flags"])


def connected() -> tuple[Handshake, Bank, Mailbox]:
    """Return a mailbox that has taken its first answer."""
    mail, bank = fresh(), Bank(MAP)
    bank.set("epoch", EPOCH)
    box = Mailbox(bank, 1)
    box.take(answer(mail))
    return mail, bank, box


def test_a_lost_result_empties_every_slot() -> None:
    mail, bank, box = connected()
    give(mail, 1)
    box.take(answer(mail))
    mail.withdraw(0, 1, 0)
    for number in range(2, 2 + DEPTH):
        give(mail, number)
    box.take(answer(mail))
    assert box.lost == 1
    assert [u32(bank.words, MAP.permit.at(0, n)) for n in range(1, 4)] == [0, 2, 3]


def test_a_mailbox_takes_nothing_from_before_its_connection() -> None:
    mail, bank = fresh(), Bank(MAP)
    bank.set("epoch", EPOCH)
    give(mail, 1)
    box = Mailbox(bank, 1)
    box.take(answer(mail))
    box.take(answer(mail))
    assert u32(bank.words, MAP.permit.at(0, 1)) == 0


def test_an_entry_with_another_sequence_number_is_not_taken() -> None:
    mail, bank, box = connected()
    give(mail, 1)
    words = answer(mail)
    words[MAP.result.at(0, 1) - MAP.mail.base] += DEPTH
    box.take(words)
    assert u32(bank.words, MAP.permit.at(0, 1)) == 0


def test_a_result_is_copied_once() -> None:
    mail, bank, box = connected()
    give(mail, 1)
    box.take(answer(mail))
    bank.zero(MAP.permit.at(0, 1), 4)
    box.take(answer(mail))
    assert u32(bank.words, MAP.permit.at(0, 1)) == 0


@pytest.mark.parametrize(
    ("age_ms", "taken"), [(0, True), (MOST_AGE_MS, True), (MOST_AGE_MS + 1, False), (70_000, False)]
)
def test_an_old_permit_is_none(age_ms: int, taken: bool) -> None:
    mail, bank, box = connected()
    give(mail, 1)
    box.take(answer(mail, age_ms * MS))
    assert (u32(bank.words, MAP.permit.at(0, 1)) == 1) is taken


@settings(max_examples=50)
@given(st.lists(st.integers(0, MAX_U16), min_size=120, max_size=120), st.integers(0, 60))
def test_any_words_leave_the_mailbox_standing(words: list[int], start: int) -> None:
    bank = Bank(MAP)
    bank.set("epoch", EPOCH)
    box = Mailbox(bank, 1)
    for turn in range(3):
        box.take(words[start * turn % 120 :] + words[: start * turn % 120])
    assert len(box.order()) == MAP.order.entry


@given(st.lists(st.lists(st.integers(0, MAX_U16), min_size=8, max_size=8), max_size=30))
def test_any_orders_leave_the_handshake_standing(orders: list[list[int]]) -> None:
    mail = fresh()
    for words in orders:
        mail.order(words, 0)
        give(mail, 1 + len(words))
    assert mail.waiting <= DEPTH


class QueueOnly(RuleBasedStateMachine):
    """Device, queue and a PLC that only polls the queue, slow or not, over epochs, NAKs, withdrawals and reconnections.

    Whatever order things come in, a permit stands in the PLC's slots only for a unit that the device permitted in the
    PLC's epoch and whose withdrawal or NAK, if there was one, came after the last poll.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.epoch = EPOCH
        self.mail = fresh()
        self.bank = Bank(MAP)
        self.bank.set("epoch", EPOCH)
        self.box = Mailbox(self.bank, 1)
        self.box.take(answer(self.mail))
        self.permitted: set[tuple[int, int]] = set()
        self.gone: set[int] = set()
        self.told: set[int] = set()
        self.number = 0
        self.trigger = 0

    @rule(count=st.integers(1, 12))
    def permit(self, count: int) -> None:
        for _ in range(count):
            self.number += 1
            if self.mail.permit(0, self.number, self.check(self.number), self.now):
                self.permitted.add((self.epoch, self.number))
                self.gone.discard(self.number)
                self.told.discard(self.number)

    def check(self, number: int) -> int:
        return (number * 31 + self.epoch) & MAX_U16 or 1

    @rule(back=st.integers(0, 10))
    def withdraw(self, back: int) -> None:
        number = max(1, self.number - back)
        self.mail.withdraw(0, number, self.now)
        if (self.epoch, number) in self.permitted:
            self.gone.add(number)

    @rule(ahead=st.integers(-3, 3), ready=st.booleans(), toggle=st.integers(0, 1), of=st.integers(-1, 0))
    def announce(self, ahead: int, ready: bool, toggle: int, of: int) -> None:
        self.mail.ready = ready
        self.trigger += 1
        number, epoch = max(1, self.number + ahead), self.epoch + of
        words = order(toggle, self.trigger, number, epoch=epoch, ack=self.box.order()[-1])
        if self.mail.order(words, self.now):
            self.gone.add(number)

    @rule(age_ms=st.integers(0, 120))
    def poll(self, age_ms: int) -> None:
        self.now += age_ms * MS
        self.box.take(answer(self.mail, self.now))
        self.told = set(self.gone)

    @rule(both=st.booleans())
    def new_epoch(self, both: bool) -> None:
        """Device and PLC move on; the PLC's own move may come later, or never be seen."""
        self.epoch += 1
        self.mail.begin(self.epoch)
        if both:
            self.bank.set("epoch", self.epoch)
            self.bank.zero(MAP.permit.base, MAP.permit.length * MAP.permit.entry)
        self.number += 100

    @rule()
    def reconnect(self) -> None:
        self.box.connected()
        self.box.take(answer(self.mail, self.now))
        self.told = set(self.gone)

    @invariant()
    def only_what_was_permitted_stands(self) -> None:
        epoch = self.bank.get("epoch")
        words = self.bank.words[MAP.permit.base : MAP.permit.base + MAP.permit.length * MAP.permit.entry]
        for at in range(0, len(words), MAP.permit.entry):
            number = u32(words, at)
            if number:
                assert (epoch, number) in self.permitted
                assert number not in self.told
                assert words[at + 2] == epoch & MAX_U16


TestQueueOnly = QueueOnly.TestCase
TestQueueOnly.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
