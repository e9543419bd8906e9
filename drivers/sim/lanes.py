"""The lanes of the line in a box: one belt each, all on one drive and one encoder. Pure: the caller brings the time.

Vials are numbered over all lanes in the order in which they enter, so a vial's number is its place in `vials`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from drivers.sim.belt import Belt, BeltSpec, End, EyeEdge, Scene, Vial
from drivers.sim.drive import Drive


@dataclass(frozen=True, slots=True)
class Lanes:
    """Owned by the box's loop through Machine. Calls must not go back in time. `belts` by lane."""

    belts: tuple[Belt, ...]
    vials: list[Vial]

    @classmethod
    def build(cls, specs: Sequence[BeltSpec], start_ns: int) -> Self:
        """Put the lanes on one drive; their specs differ in lane, cameras and lead-in only."""
        first = specs[0]
        drive = Drive(first.speed_mm_s, first.drive_delay_ns, start_ns)
        vials: list[Vial] = []
        return cls(tuple(Belt(spec, start_ns, drive, vials) for spec in specs), vials)

    @classmethod
    def single(cls, belt: Belt) -> Self:
        """A line of one lane."""
        return cls((belt,), belt.vials)

    @property
    def on_belt(self) -> int:
        return sum(belt.on_belt for belt in self.belts)

    @property
    def ended(self) -> tuple[int, int]:
        """Vials that passed the gates and vials that were diverted."""
        return sum(belt.ended[0] for belt in self.belts), sum(belt.ended[1] for belt in self.belts)

    @property
    def exhausted(self) -> bool:
        """True when no vial will enter any more."""
        return self.belts[0].exhausted

    def run(self, running: bool, now_ns: int) -> None:
        """Order the drive; repeated orders change nothing."""
        for belt in self.belts:
            belt.run(running, now_ns)

    def open_infeed(self, opened: bool, now_ns: int) -> None:
        """Let vials into every lane, or hold them."""
        for belt in self.belts:
            belt.open_infeed(opened, now_ns)

    def set_gates(self, passing: Sequence[bool], now_ns: int) -> None:
        """Energise (pass) or release (divert) the gates, by lane."""
        for belt, state in zip(self.belts, passing, strict=True):
            belt.set_gate(state, now_ns)

    def set_channels(self, channels: Sequence[int], now_ns: int) -> None:
        """Turn the chutes, by lane; a program that knows one channel only names none."""
        for belt, channel in zip(self.belts, channels, strict=False):
            belt.set_channel(channel, now_ns)

    def bounce(self, ordinal: int, after_mm: float) -> None:
        """The infeed eye of its lane sees vial `ordinal` a second time `after_mm` later."""
        self.belts[self.vials[ordinal - 1].lane].bounce(ordinal, after_mm)

    def blind(self, ordinal: int) -> None:
        """The infeed eye of every lane misses vial `ordinal`, which may not have entered yet."""
        for belt in self.belts:
            belt.blind(ordinal)

    def pick(self, ordinal: int) -> None:
        """A hand takes a vial off its belt."""
        self.belts[self.vials[ordinal - 1].lane].pick(ordinal)

    def take_out(self, behind: int) -> int:
        """A person takes every body out of the machine, and the newest `behind` that passed; return how many."""
        inside = [vial.ordinal for belt in self.belts for vial in belt.inside]
        for ordinal in inside:
            self.pick(ordinal)
        passed = sorted((v for v in self.vials if v.end is End.PASS and not v.taken), key=lambda v: v.gate_ns)
        newest = passed[len(passed) - min(behind, len(passed)) :]
        for vial in newest:
            vial.taken = True
        return len(inside) + len(newest)

    def advance(self, now_ns: int) -> list[EyeEdge]:
        """Return the eye edges up to now that were not returned yet, in order of time within each lane."""
        return [edge for belt in self.belts for edge in belt.advance(now_ns)]

    def scenes(self, now_ns: int, until_ns: int) -> list[Scene]:
        """Return what begins before the lenses until `until_ns`."""
        return [scene for belt in self.belts for scene in belt.scenes(now_ns, until_ns)]

    def before_lens(self, camera: int, at_ns: int) -> int:
        """Return the ordinal of the vial before the lens at a time of the last second, 0 if none."""
        belt = next(belt for belt in self.belts if camera in belt.spec.looks)
        return belt.before_lens(camera, at_ns)

    def carrier(self, at_ns: int) -> int:
        """Return where a rotary machine's carrier stands, in counts of its turn; 0 on a belt."""
        return self.belts[0].carrier(at_ns)

    def encoder(self, at_ns: int) -> int:
        """Return the encoder in counts (u32, wraps)."""
        return self.belts[0].encoder(at_ns)

    def time_of(self, encoder: int, near_ns: int) -> int | None:
        """Return when the encoder shows (showed) a count; None: not planned."""
        return self.belts[0].time_of(encoder, near_ns)
