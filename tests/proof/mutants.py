"""Planted mistakes: each is a patch of the product's source, and something here must find it.

`strikes` are the faults of the campaign that should; the exhaustive search is asked first. A patch that no longer fits
its file is an error: the mutant must be written anew.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """`edits` are (old, new) pieces of the module's text, each there exactly once."""

    name: str
    module: str
    edits: tuple[tuple[str, str], ...]
    strikes: tuple[str, ...] = ()


TRACKING, BINDING, CONTROL = "daemon.line.tracking", "daemon.line.binding", "daemon.line.control"
PERMITS, LANE, LOGIC = "drivers.gate.plc_permits", "drivers.gate.plc_lane", "drivers.gate.plc_logic"
LINK, ROWS, ARMING, FUSION = "drivers.plc_link", "daemon.line.rows", "daemon.line.arming", "daemon.vision.fusion"

MUTANTS = (
    Mutant(
        "first reason forgotten",
        TRACKING,
        (("        if entry.reason:\n            return entry.reason\n", ""),),
        ("frame-twice",),
    ),
    Mutant(
        "bundle not compared",
        TRACKING,
        (("if not ours or any(", "if any("),),
        ("verdict-other-bundle",),
    ),
    Mutant(
        "frame keys not compared",
        TRACKING,
        (("any(entry.views.get(v) != key for v, key in used.items())", "False"),),
        ("verdict-wrong-keys", "verdict-other-unit"),
    ),
    Mutant(
        "verdict not looked at",
        TRACKING,
        (("if judged.verdict is not Verdict.ACCEPT:", "if False:"),),
        ("verdict-for-reject",),
    ),
    Mutant(
        "missing view allowed",
        TRACKING,
        (
            (
                "if {view.role for view in used} != self._settings.views or entry.edges != self._settings.views:",
                "if False:",
            ),
        ),
        ("verdict-half",),
    ),
    Mutant(
        "late verdict allowed",
        TRACKING,
        (
            ("return Reason.LATE if self._is_late(entry, now_ns) else None", "return None"),
            ("if entry.reason or entry.permit is not Permit.NONE or not self._overdue(entry, now_ns):", "if True:"),
        ),
        ("verdict-late",),
    ),
    Mutant(
        "second verdict counts", TRACKING, (("if not entry or entry.judged:", "if not entry:"),), ("verdict-twice",)
    ),
    Mutant(
        "void_all does nothing",
        TRACKING,
        (("for entry in open_units for command", "for entry in open_units[:0] for command"),),
        ("plc-restart", "line-hang", "link-cut"),
    ),
    Mutant(
        "distrust does nothing",
        TRACKING,
        (("any(key.camera == camera for key in entry.views.values())", "False"),),
        ("camera-lost",),
    ),
    Mutant(
        "revocation not sent",
        TRACKING,
        (
            (
                "            entry.permit = Permit.REVOKED\n            commands.append(Revoke(entry.id))\n",
                "            entry.permit = Permit.REVOKED\n",
            ),
        ),
        ("camera-session", "edge-lost", "infeed-crowd"),
    ),
    Mutant(
        "closed unit kept",
        TRACKING,
        (("known = self._units.pop(seen.unit, None)", "known = self._units.get(seen.unit, None)"),),
        ("line-hang", "belt-stop"),
    ),
    Mutant(
        "orphans count as accepted",
        TRACKING,
        (
            (
                "self._finish_orphan(entry, Outcome.REJECTED, at_ns)",
                "self._finish_orphan(entry, Outcome.ACCEPTED, at_ns)",
            ),
        ),
        ("plc-power",),
    ),
    Mutant(
        "unknown unit accepted without a durable permit",
        TRACKING,
        (("outcome = Outcome.ACCEPTED if permitted else Outcome.QUARANTINED", "outcome = Outcome.ACCEPTED"),),
        ("disk-then-supply",),
    ),
    Mutant(
        "binding by count only",
        BINDING,
        (
            ("if abs(apart_ns) > self._settings.window_ns:", "if False:"),
            ("        if not self._time_agrees(evidence, entry.edge):\n", "        if False:\n"),
            (
                "        if not self._alone(evidence, entry.edge):\n            return self._lose_sync",
                "        if False:\n            return self._lose_sync",
            ),
        ),
        ("edge-lost", "edge-extra", "counter-jump"),
    ),
    Mutant(
        "binding by time only",
        BINDING,
        (
            (
                "        k = self._count_says(evidence)\n",
                "        near = {abs(o.edge.at_ns - evidence.exposed_ns): n for n, o in self._edges.items()}\n"
                "        k = near[min(near)] if near else 0\n",
            ),
        ),
        ("clock-step", "clock-jitter", "counter-jump", "clock-and-count"),
    ),
    Mutant(
        "no arrival witness",
        BINDING,
        (
            ("arrived = -edge.uncertainty_ns <= age <= 3 * window", "arrived = True"),
            ("if evidence.exposed_ns - evidence.uncertainty_ns > evidence.received_ns:", "if False:"),
        ),
        ("clock-and-count",),
    ),
    Mutant(
        "frame used twice",
        BINDING,
        (
            ('        if evidence.key in self._used:\n            return "frame id seen before"\n', ""),
            ("if entry.missed or not entry.waiting:", "if entry.missed:"),
        ),
        ("frame-twice",),
    ),
    Mutant("stale buffer taken", BINDING, (("if not evidence.consistent:", "if False:"),), ("frame-stale",)),
    Mutant(
        "synchronised for ever",
        BINDING,
        (
            (
                "        self._offset, self._streak = None, []\n        for key in self._frames:",
                "        self._streak = []\n        for key in self._frames:",
            ),
        ),
        ("camera-session", "counter-jump", "edge-lost"),
    ),
    Mutant(
        "those who wait are not told of lost step",
        BINDING,
        (
            (
                "            if entry.waiting:\n"
                "                decisions += self._miss(entry, Reason.UNSYNCED, cause)\n",
                "            pass\n",
            ),
            (
                "        self._offset, self._streak = None, []\n        for key in self._frames:",
                "        self._offset, self._streak = self._offset, []\n        for key in self._frames:",
            ),
        ),
        ("counter-jump", "edge-lost", "edge-extra"),
    ),
    Mutant(
        "permit check not compared",
        PERMITS,
        (
            (
                "if words[at + 3] != permit_check(unit.number, self.epoch, unit.lane, unit.slot, self._expected):",
                "if False:",
            ),
        ),
        ("permit-torn",),
    ),
    Mutant(
        "half a permit accepted",
        PERMITS,
        (
            (
                "if words[at + 3] != permit_check(unit.number, self.epoch, unit.lane, unit.slot, self._expected):",
                "if False:",
            ),
            ("if words[at + 2] != self.epoch & 0xFFFF:", "if False:"),
        ),
        ("permit-torn",),
    ),
    Mutant(
        "any permit for any unit",
        PERMITS,
        (
            ("if u32(words, at) != unit.number:", "if False:"),
            (
                "if words[at + 3] != permit_check(unit.number, self.epoch, unit.lane, unit.slot, self._expected):",
                "if False:",
            ),
        ),
        ("permit-shifted", "permit-replayed"),
    ),
    Mutant(
        "epoch of the unit not compared",
        PERMITS,
        (("if unit.epoch != self.epoch or not self.nonce or self.epoch == MAX_U32:", "if False:"),),
        ("plc-restart",),
    ),
    Mutant(
        "heartbeat age ignored",
        PERMITS,
        (("now_us - self._fresh_us <= HEARTBEAT_TIMEOUT_US", "True"),),
        ("line-kill", "heartbeat-stopped", "link-cut"),
    ),
    Mutant(
        "heartbeat timeout five times as long",
        PERMITS,
        (("HEARTBEAT_TIMEOUT_US = 80_000", "HEARTBEAT_TIMEOUT_US = 400_000"),),
        ("line-kill", "heartbeat-stopped", "link-cut"),
    ),
    Mutant(
        "foreign identity taken",
        PERMITS,
        (("known = identity == self._expected", "known = True"),),
        ("foreign-device",),
    ),
    Mutant(
        "permits survive a silent device", PERMITS, (("if not alive or not self.alive:", "if False:"),), ("line-hang",)
    ),
    Mutant(
        "permits survive a new epoch",
        PERMITS,
        (("        self.clear()\n        return True", "        return True"),),
        ("line-kill",),
    ),
    Mutant(
        "key switch ignored",
        PERMITS,
        (
            (
                "(key != Key.LINEWARDEN and not (key == Key.BOTH and legacy_accept), Cause.AUTHORITY),",
                "(False, Cause.AUTHORITY),",
            ),
        ),
        ("key-turned",),
    ),
    Mutant(
        "line mode ignored",
        PERMITS,
        (("(self._bank.words[self._mode_at] != AUTOMATIC, Cause.MODE),", "(False, Cause.MODE),"),),
        ("mode-overwritten",),
    ),
    Mutant(
        "slot not cleared at creation",
        LANE,
        (
            (
                "        self._ahead.append(unit)\n        self._device.consume(unit)\n",
                "        self._ahead.append(unit)\n",
            ),
        ),
        ("permit-early",),
    ),
    Mutant(
        "slot not cleared at the gate",
        LANE,
        (
            (
                "        channel = self._device.channel(unit)\n        self._device.consume(unit)\n",
                "        channel = self._device.channel(unit)\n",
            ),
        ),
        ("permit-replayed",),
    ),
    Mutant(
        "gate never falls",
        LANE,
        (("if self._open_for and self._open_for.travelled(encoder) >= self._spec.release:", "if False:"),),
        ("infeed-missing", "vial-put"),
    ),
    Mutant(
        "no permit needed",
        LANE,
        (
            (
                "unit.cause = barred or self._device.cause(unit, inputs.authority, inputs.legacy_accept)",
                "unit.cause = Cause.NONE",
            ),
        ),
    ),
    Mutant(
        "memory loss not noticed",
        LINK,
        (("elif self._starts is not None and (", "elif False and ("),),
        ("plc-restart", "plc-power"),
    ),
    Mutant(
        "law 4 forgotten",
        ROWS,
        (
            (
                "        return len(self._waiting) >= HOLD_ROWS or now_ns - self._waiting[0][1] > HOLD_NS",
                "        return False",
            ),
        ),
        ("recorder-full",),
    ),
    Mutant(
        "permits without a recorder",
        CONTROL,
        (("if not self._post.recorder_up or self._rows.overdue(now):", "if False:"),),
        ("recorder-kill",),
    ),
    Mutant(
        "rows are not sent again",
        ROWS,
        (
            (
                'said Hello: everything that waits is sent again."""\n        self._sent = 0\n',
                'said Hello: everything that waits is sent again."""\n',
            ),
        ),
        ("recorder-kill",),
    ),
    Mutant(
        "a verdict of another pair counts",
        ARMING,
        (("(judged.bundle, judged.recipe) == (arm.bundle, arm.recipe) and ", ""),),
        ("verdict-other-bundle",),
    ),
    Mutant(
        "every unit concerns the line",
        ARMING,
        (
            (
                "return bool(self.batch) and unit not in self._recorded and unit.epoch >= since",
                "return bool(self.batch)",
            ),
        ),
        ("line-kill",),
    ),
)
