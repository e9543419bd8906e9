"""The belt of the line in a box, with what the proof needs: when something is next, and hands that reach in."""

from drivers.sim.belt import Belt, End, Vial, _Mark

BODY_MM = 16.0
LOOK_BACK = 24


class ProofBelt(Belt):
    """Belt physics unchanged; hands may take a vial off or put one on, and a body may stay unseen by the infeed eye."""

    def due(self) -> int | None:
        """When the next mark is reached or the next vial enters, on the present plan of the drive."""
        marks = [self._marks[0][0]] if self._marks else []
        if self._infeed_open and not self.exhausted:
            marks.append(self._next_entry)
        return self._drive.when(min(marks)) if marks else None

    def where(self, vial: Vial, at_ns: int) -> float:
        """Belt travel since the vial was at the infeed eye, mm."""
        return self._drive.at(at_ns) - vial.entry_at

    def shown(self, camera: int, at_ns: int) -> int:
        """Return the ordinal of the vial whose body a frame taken then shows, 0 if none."""
        travel, half = self._drive.at(at_ns), self.spec.window_mm
        near = [(abs(v.lens_at[camera] - travel), v.ordinal) for v in self.vials[-LOOK_BACK:]]
        distance, ordinal = min(near, default=(half + 1, 0))
        return ordinal if distance <= half else 0

    def take(self, vial: Vial) -> bool:
        """A hand takes the vial off the belt; False if it is not there any more."""
        if vial.end is not End.BELT:
            return False
        self._marks = [item for item in self._marks if item[3] is not vial]
        self._marks.sort()
        vial.lens_at = tuple(float("inf") for _ in vial.lens_at)
        self.on_belt -= 1
        return True

    def put(self, place_mm: float, now_ns: int) -> Vial | None:
        """A hand puts a vial `place_mm` behind the infeed eye; None where a body stands already."""
        entry = self._drive.at(now_ns) - place_mm
        if any(abs(v.entry_at - entry) < BODY_MM for v in self.vials[-LOOK_BACK:] if v.end is End.BELT):
            return None
        places = self._places(entry)
        vial = Vial(
            ordinal=len(self.vials) + 1,
            picture=0,
            entered_ns=now_ns,
            entry_at=entry,
            lens_at=tuple(places(position) for position in self.spec.cameras),
            gate_at=places(self.spec.gate_mm),
            chute_at=places(self.spec.chute_eye_mm),
            pass_at=places(self.spec.pass_eye_mm),
        )
        self.vials.append(vial)
        self.on_belt += 1
        self._mark(vial.gate_at, _Mark.GATE, vial)
        return vial

    def crowd(self, gap_mm: float, now_ns: int) -> None:
        """The next vial enters that close behind the last one."""
        if self.vials:
            self._next_entry = max(self.vials[-1].entry_at + max(gap_mm, BODY_MM), self._drive.at(now_ns) + 0.1)
