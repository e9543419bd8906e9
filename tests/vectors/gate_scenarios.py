"""Scenarios of the gate: each does things to a line with two lanes; its name says which. Tapes are made of them."""

from collections.abc import Callable

from drivers.gate.plc_io import Key, Latch
from drivers.registers import permit_check, split
from tests.vectors.gate_line import ABORT, BEAT_SCANS, DEVICE, FOREIGN, HOLD, RESET, RUN, STEP_US, SYNC, Line
from tests.vectors.gate_positions import POSITIONS
from tests.vectors.gate_tape import MAP


def accept(line: Line) -> None:
    line.agree().unit()
    line.unit(lane=1)
    line.through()


def no_permit(line: Line) -> None:
    line.agree().body()
    line.through()


def stale_heartbeat(line: Line) -> None:
    line.agree().pace = 100
    line.unit()
    line.beating = False
    line.through()


def stale_for_a_whole_turn_of_the_clock(line: Line) -> None:
    """2**32 us later an old heartbeat must not look fresh."""
    line.agree().unit()
    line.beating = False
    line.scan(20)
    line.unit()
    line.now_us += 2**32 - 20 * STEP_US
    line.through()


def heartbeat_pauses(line: Line) -> None:
    """What was permitted before the pause, or during it, is void when the heartbeat is back."""
    line.agree().pace = 60
    line.unit()
    line.beating = False
    number = line.unit()
    line.scan(20)
    line.permit(number)
    line.channel(number, 3)
    line.beating = True
    line.through()


def old_epoch(line: Line) -> None:
    line.agree().agree(8)
    line.unit(epoch=line.epoch - 1)
    line.through()


def epoch_changes(line: Line) -> None:
    number = line.agree().unit()
    line.agree(8, proposal=500)
    line.permit(number)
    line.through()


def bad_check(line: Line) -> None:
    line.agree()
    for change in ({"spoil": 1}, {"spoil": 0x8000}, {"device": FOREIGN}, {"named_lane": 1}):
        line.unit(**change)
        line.scan(3)
    line.through()


def shifted_slot(line: Line) -> None:
    line.agree()
    number = line.body()
    line.scan(4)
    line.body()
    line.scan()
    line.permit(number, slot=(number + 1) % 64)
    line.permit(number + 64, slot=(number + 2) % 64)
    line.through()


def foreign_device(line: Line) -> None:
    number = line.agree().unit()
    line.identity = FOREIGN
    line.scan(5)
    line.permit(number)
    line.permit(number + 1, device=FOREIGN)
    line.body()
    line.through()
    line.identity = 0
    line.unit()
    line.through()


def torn_write(line: Line) -> None:
    number = line.agree().body()
    line.scan()
    words = [*split(number), line.epoch & 0xFFFF, permit_check(number, line.epoch, 0, number % 64, DEVICE)]
    line.bank.write(MAP.permit.at(0, number % 64), words[:2])
    line.scan(3)
    line.bank.write(MAP.permit.at(0, number % 64) + 2, words[2:3])
    line.through()


def torn_then_whole(line: Line) -> None:
    number = line.agree().body()
    line.scan()
    line.bank.write(MAP.permit.at(0, number % 64), split(number))
    line.scan(2)
    line.permit(number)
    line.through()


def repeated_permit(line: Line) -> None:
    number = line.agree().unit()
    line.scan(12)
    line.permit(number)
    line.permit(number + 64)
    line.through()


def wrapped_numbers(line: Line) -> None:
    line.tape.preset(0, 0xFFFFFFFE)
    line.tape.preset(1, 0xFFFFFFFF)
    line.agree()
    for _ in range(3):
        line.unit()
        line.unit(lane=1)
        line.scan(2)
    line.through()


def wrapped_encoder_and_clock(line: Line) -> None:
    line.agree()
    for _ in range(4):
        line.unit()
        line.scan(3)
    line.through()


def wrapped_epoch(line: Line) -> None:
    """The last epoch there is stays for ever."""
    line.agree(8, proposal=0xFFFFFFFE).agree(9)
    line.unit()
    line.agree(10, proposal=3)
    line.unit()
    line.through()
    line.restart(True)
    line.agree(11)


def two_units_in_one_scan(line: Line) -> None:
    line.agree().pace = 1200
    numbers = []
    for _ in range(2):
        numbers.append(line.body())
        line.encoder += 500
    line.scan()
    line.permit(numbers[1])
    line.through()


def restart_with_memory(line: Line) -> None:
    line.agree().unit()
    line.scan(3)
    number = line.unit()
    line.restart(True)
    line.scan(2)
    line.agree(9)
    line.permit(number)
    line.unit()
    line.through()


def restart_without_memory(line: Line) -> None:
    line.agree().unit()
    line.scan(9)
    line.body()
    line.restart(False)
    line.agree(9, proposal=40)
    line.unit()
    line.through()


def authority(line: Line) -> None:
    line.agree()
    for key in Key:
        for legacy in (False, True):
            line.inputs.authority, line.inputs.legacy_accept = key, legacy
            line.unit()
            line.scan(2)
            line.body()
            line.through()


def unknown_authority(line: Line) -> None:
    line.agree()
    line.inputs.authority, line.inputs.legacy_accept = 3, True
    line.unit()
    line.through()


def line_mode(line: Line) -> None:
    line.agree()
    for mode in (0, 1, 2, 3):
        line.mode = mode
        line.scan(BEAT_SCANS)
        line.unit()
        line.through()


def too_close(line: Line) -> None:
    line.agree().body()
    line.scan()
    line.unit()
    line.scan(2)
    line.unit()
    line.through()


def abort_and_reset(line: Line) -> None:
    line.agree().unit()
    line.scan(11)
    for command in (RUN | ABORT, RUN, RUN | ABORT | RESET, RUN | RESET, RUN, RUN | RESET, RUN | HOLD, 0, RUN):
        line.command = command
        line.scan(BEAT_SCANS)
    line.beating = False
    line.scan(20)
    line.bank.set("command", ABORT)
    line.scan()


def abort_with_the_gate_open(line: Line) -> None:
    line.agree().unit()
    line.scan(10)
    line.pace = 30
    line.unit(lane=1)
    line.scan(4)
    line.command = RUN | ABORT
    line.scan(BEAT_SCANS + 1)
    line.command = RUN | RESET
    line.scan(BEAT_SCANS)
    line.pace = 240
    line.through()


def exact_distances(line: Line) -> None:
    """Gate, release, clearance and phantom distance to the count."""
    line.agree().pace = 20
    line.body()
    line.scan(17)
    line.unit()
    line.scan(19)
    line.body(real=False)
    line.pace = 100
    line.through()


def sync_shots(line: Line) -> None:
    line.agree().command = RUN | SYNC
    line.scan(90)
    line.command = RUN
    line.scan(BEAT_SCANS)
    line.body()
    line.command = RUN | SYNC
    line.scan(BEAT_SCANS + 1)
    line.command = RUN
    line.through()
    line.command = RUN | SYNC
    line.scan(BEAT_SCANS)


def rings_overrun(line: Line) -> None:
    line.agree().pace = 500
    for _ in range(132):
        line.body()
        line.scan()
    line.through()


def phantoms_and_strays(line: Line) -> None:
    line.agree().unit()
    line.body(real=False)
    line.scan(5)
    line.body(real=False)
    line.scan(2)
    line.inputs.passed.append(Latch(line.now_us, (line.encoder + 99) & 0xFFFFFFFF, 1))
    line.inputs.chute.append(Latch(line.now_us, (line.encoder - 9999) & 0xFFFFFFFF))
    line.through()


def reject_channels(line: Line) -> None:
    line.agree()
    for channel, spoil in ((0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (3, 1)):
        number = line.body()
        line.scan()
        line.channel(number, channel, spoil)
        line.scan(3)
    number = line.unit()
    line.channel(number, 2)
    line.through()


def switches(line: Line) -> None:
    line.agree()
    for word in (0xFFFE, 0x7FFF, 0, 0xFFFF):
        line.inputs.switches = word
        line.scan(2)


SCENARIOS: tuple[Callable[[Line], None], ...] = (
    accept,
    no_permit,
    stale_heartbeat,
    stale_for_a_whole_turn_of_the_clock,
    heartbeat_pauses,
    old_epoch,
    epoch_changes,
    bad_check,
    shifted_slot,
    foreign_device,
    torn_write,
    torn_then_whole,
    repeated_permit,
    wrapped_numbers,
    wrapped_encoder_and_clock,
    wrapped_epoch,
    two_units_in_one_scan,
    restart_with_memory,
    restart_without_memory,
    authority,
    unknown_authority,
    line_mode,
    too_close,
    abort_and_reset,
    abort_with_the_gate_open,
    exact_distances,
    sync_shots,
    rings_overrun,
    phantoms_and_strays,
    reject_channels,
    switches,
    *POSITIONS,
)
