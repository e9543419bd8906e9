"""What a serial line costs: characters and silences of Modbus RTU (MODBUS over Serial Line V1.02, 2.5.1.1). Pure."""

from dataclasses import dataclass

CHARACTER_BITS = 11
FIXED_GAP_NS = 1_750_000
FIXED_ABOVE_BAUD = 19_200
STANDARD_BAUDS = (9_600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 921_600, 1_000_000, 2_000_000, 4_000_000)
READ_REQUEST, READ_ANSWER, WRITE_REQUEST, WRITE_ANSWER = 8, 5, 9, 8
CYCLE_GAPS = 4
SHARE = 3


def characters_ns(count: int, baud: int) -> int:
    """Return how long `count` characters take: start, 8 data, parity or second stop, stop = 11 bits each."""
    return count * CHARACTER_BITS * 1_000_000_000 // baud


def gap_ns(baud: int) -> int:
    """Return t3.5, the silence between two frames: 3.5 characters, fixed at 1.75 ms above 19,200 baud."""
    return FIXED_GAP_NS if baud > FIXED_ABOVE_BAUD else characters_ns(7, baud) // 2


@dataclass(frozen=True, slots=True)
class Cycle:
    """One status read and one heartbeat write: what the line carries at the least, again and again."""

    status_words: int
    heartbeat_words: int

    @property
    def characters(self) -> int:
        """Characters both ways."""
        words = 2 * (self.status_words + self.heartbeat_words)
        return READ_REQUEST + READ_ANSWER + WRITE_REQUEST + WRITE_ANSWER + words

    def duration_ns(self, baud: int) -> int:
        """Return how long it takes, with a silence before each of its four frames."""
        return characters_ns(self.characters, baud) + CYCLE_GAPS * gap_ns(baud)

    def refusal(self, baud: int, timeout_ns: int) -> str:
        """Return why this baud rate is too slow for this timeout, with the arithmetic; empty if it is not."""
        needed = self.duration_ns(baud)
        if SHARE * needed <= timeout_ns:
            return ""
        faster = next((b for b in STANDARD_BAUDS if SHARE * self.duration_ns(b) <= timeout_ns), None)
        remedy = f"set baud to {faster} or more, or" if faster else "set"
        return (
            f"at {baud} baud one status read and one heartbeat take {needed / 1e6:.1f} ms "
            f"({self.characters} characters of {CHARACTER_BITS} bits = {characters_ns(self.characters, baud) / 1e6:.1f}"
            f" ms, {CYCLE_GAPS} silences of {gap_ns(baud) / 1e6:.2f} ms = {CYCLE_GAPS * gap_ns(baud) / 1e6:.1f} ms), "
            f"more than a third of timeout_ms = {timeout_ns / 1e6:g}: "
            f"{remedy} timeout_ms to {-(-SHARE * needed // 1_000_000)} or more"
        )
