"""Every fault of the campaign: how it strikes, how long it lasts, what must notice it, and when the line must be safe.

A fault strikes at a step of one vial's way plus a random delay. `expect` are alarm codes, reasons and causes of which
at least one must follow; empty where nothing is lost, repeated or reordered that could be noticed.
"""

from collections.abc import Callable
from dataclasses import replace

from proof_agenda import MS
from proof_fault import STEPS, Begin, Fault, Safe, Strike
from proof_peers import PAIRS
from proof_strangers import (
    belt_stop,
    crowd,
    double,
    early,
    foreign,
    missing,
    mode,
    phantom,
    put,
    replay,
    shifted_slot,
    take,
    torn,
)
from proof_world import World

from daemon.messages import Judged
from daemon.units import FrameKey, JudgedView, UnitId, Verdict
from drivers.gate.plc_io import Key

DISK_NS = 400 * MS


def _line_kill(world: World, _strike: Strike) -> Callable[[], None]:
    world.line.kill()
    world.vision.line_lost()
    return world.begin_line


def _line_hang(world: World, _strike: Strike) -> Callable[[], None]:
    world.line.hung = True
    return world.line.wake


def _vision_kill(world: World, _strike: Strike) -> Callable[[], None]:
    vision = world.vision
    vision.up = False
    world.gone("vision", "vision")

    def back() -> None:
        vision.begin()
        vision.up, vision.hung = True, False
        world.greet("vision")
        world.line.deliver(vision.staged)
        world.line.deliver(vision.loaded)

    return back


def _vision_hang(world: World, _strike: Strike) -> Callable[[], None]:
    world.vision.hung = True
    return world.vision.wake


def _spoil(change: Callable[[World, Judged], list[Judged]]) -> Begin:
    """The next verdict is changed on its way out of vision."""

    def begin(world: World, strike: Strike) -> None:
        def spoil(judged: Judged) -> list[Judged]:
            world.vision.spoil = None
            strike.took = True
            strike.vials.add(world.vial(judged.unit))
            return change(world, judged)

        world.vision.spoil = spoil

    return begin


def _late_verdict(world: World, judged: Judged) -> list[Judged]:
    world.agenda.after(world.chance.randrange(120 * MS, 900 * MS), lambda: world.line.deliver(judged))
    return []


def _wrong_keys(world: World, judged: Judged) -> list[Judged]:
    """One view is the neighbour's: its frame, its pixels."""
    shift = world.chance.choice((-1, 1))
    views = [_shifted(view, shift) if index == 0 else view for index, view in enumerate(judged.views)]
    return [_with(judged, views=views)]


def _shifted(view: JudgedView, shift: int) -> JudgedView:
    key = FrameKey(view.key.camera, view.key.session, view.key.frame_id + shift)
    shows = int(view.digest.removeprefix("vial ")) + shift
    return JudgedView(view.view, key, view.device_ts, f"vial {shows}", view.scores)


def _half(_world: World, judged: Judged) -> list[Judged]:
    """An accept over all views but the last."""
    return [_with(judged, views=judged.views[:-1])]


def _with(judged: Judged, **changes: object) -> Judged:
    return Judged(**{**{name: getattr(judged, name) for name in judged.__struct_fields__}, **changes})


def _other_pair(_world: World, judged: Judged) -> list[Judged]:
    """A pair that is warm too, and not this unit's."""
    recipe = next(recipe for recipe in PAIRS if recipe != judged.recipe)
    return [_with(judged, bundle=PAIRS[recipe][0], recipe=recipe)]


def _other_unit(world: World, judged: Judged) -> list[Judged]:
    unit = judged.unit
    return [_with(judged, unit=UnitId(unit.epoch, unit.lane, unit.number + world.chance.choice((-1, 1))))]


def _at_camera(what: str) -> Begin:
    """Strikes the next edge or exposure of one camera."""

    def begin(world: World, strike: Strike) -> None:
        camera = world.cameras[strike.camera]
        camera.plan[0] = what
        camera.struck = lambda _what, vial: _took(strike, world, vial)

    return begin


def _took(strike: Strike, world: World, vial: int) -> None:
    strike.took, strike.at_ns = True, world.agenda.now
    strike.vials.add(vial)


def _camera_lost(world: World, strike: Strike) -> Callable[[], None]:
    camera = world.cameras[strike.camera]
    camera.lose()
    return camera.start


def _camera_restart(world: World, strike: Strike) -> Callable[[], None]:
    camera = world.cameras[strike.camera]
    camera.lose()

    def back() -> None:
        camera.reboot()
        camera.start()

    return back


def _camera_session(world: World, strike: Strike) -> None:
    world.cameras[strike.camera].start()


def _clock_step(world: World, strike: Strike) -> None:
    gap_ns = 60_000 * MS // world.spec.rate
    size = world.chance.choice((gap_ns, world.chance.randrange(MS, 300 * MS)))
    world.cameras[strike.camera].step_ns += world.chance.choice((-1, 1)) * size


def _clock_and_count(world: World, strike: Strike) -> None:
    """The two witnesses of the binding slip by one gap together (docs/adr/0003)."""
    camera, way = world.cameras[strike.camera], world.chance.choice((-1, 1))
    camera.step_ns += way * (60_000 * MS // world.spec.rate)
    camera.count += way


def _clock_jitter(world: World, strike: Strike) -> Callable[[], None]:
    camera = world.cameras[strike.camera]
    camera.jitter_ns = world.chance.randrange(MS, 40 * MS)

    def calm() -> None:
        camera.jitter_ns = 2_000

    return calm


def _link_cut(world: World, _strike: Strike) -> Callable[[], None]:
    world.wire.cut = True
    world.wire.sever()
    return lambda: setattr(world.wire, "cut", False)


def _link_silent(world: World, _strike: Strike) -> Callable[[], None]:
    world.wire.cut = True
    return lambda: setattr(world.wire, "cut", False)


def _link_deaf(world: World, _strike: Strike) -> Callable[[], None]:
    world.wire.deaf = True
    return lambda: setattr(world.wire, "deaf", False)


def _link_slow(world: World, _strike: Strike) -> Callable[[], None]:
    world.wire.slow_ns = world.chance.randrange(5 * MS, 200 * MS)
    return lambda: setattr(world.wire, "slow_ns", 0)


def _beatless(world: World, _strike: Strike) -> Callable[[], None]:
    world.wire.beatless = True
    return lambda: setattr(world.wire, "beatless", False)


def _plc_restart(world: World, _strike: Strike) -> Callable[[], None]:
    world.plant.stop()
    return lambda: world.plant.start(True)


def _plc_power(world: World, _strike: Strike) -> Callable[[], None]:
    world.plant.stop()
    world.wire.cut = True
    world.wire.sever()

    def back() -> None:
        world.wire.cut = False
        world.plant.start(False)

    return back


def _full(world: World, _strike: Strike) -> Callable[[], None]:
    world.recorder.fill()
    return world.recorder.free


def _recorder_kill(world: World, _strike: Strike) -> Callable[[], None]:
    world.recorder.die()
    world.gone("recorder", "recorder")

    def back() -> None:
        world.recorder.up = True
        world.greet("recorder")
        world.line.deliver(world.recorder.resume())
        world.line.deliver(world.recorder.arm)

    return back


def _late_rows(world: World, _strike: Strike) -> Callable[[], None]:
    world.recorder.late_ns = world.chance.randrange(50 * MS, 400 * MS)
    return lambda: setattr(world.recorder, "late_ns", 0)


def _swap(world: World, _strike: Strike) -> Callable[[], None]:
    """QA has another pair take over inside the batch, and the old one again."""

    def arm() -> None:
        world.recorder.recipe = next(recipe for recipe in PAIRS if recipe != world.recorder.recipe)
        if world.recorder.up:
            world.line.deliver(world.recorder.arm)

    arm()
    return arm


def _key(world: World, _strike: Strike) -> Callable[[], None]:
    world.plant.authority = world.chance.choice((Key.LEGACY, Key.BOTH))
    world.plant.touch()

    def back() -> None:
        world.plant.authority = Key.LINEWARDEN
        world.plant.touch()

    return back


def _computer_off(world: World, strike: Strike) -> Callable[[], None]:
    """The device's supply fails: line, vision, recorder and cameras are gone at once, with all that was not durable."""
    for camera in world.cameras:
        camera.session = 0
    world.line.kill()
    world.vision.up = False
    world.vision.line_lost()
    world.recorder.die()

    def back() -> None:
        world.vision.begin()
        world.vision.up = world.recorder.up = True
        for camera in world.cameras:
            camera.start()
        world.begin_line()

    return back


def _disk_then_supply(world: World, strike: Strike) -> Callable[[], None]:
    """The disk takes nothing, and before law 4 holds the line the supply fails: permits without record."""
    world.recorder.fill()
    backs: list[Callable[[], None]] = []
    world.agenda.after(DISK_NS, lambda: backs.append(_computer_off(world, strike)))

    def back() -> None:
        world.recorder.full = False
        for each in backs:
            each()

    return back


def _fault(name: str, begin: Begin, expect: str = "", **more: object) -> Fault:
    return replace(Fault(name, begin, frozenset(expect.split())), **more)  # type: ignore[arg-type]


_UNSEEN = "no_image unsynced FRAME_LOST UNBOUND"
_COUNT = "unsynced CAMERA_UNSYNCED no_image STRAY_FRAME UNBOUND too_close"
FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        _fault("line-kill", _line_kill, "NEW_EPOCH", safe=Safe.GATE, shortest_ms=30, longest_ms=900),
        _fault("line-hang", _line_hang, safe=Safe.GATE, shortest_ms=2, longest_ms=1500),
        _fault("computer-off", _computer_off, "NEW_EPOCH", safe=Safe.GATE, shortest_ms=200, longest_ms=1500),
        _fault("disk-then-supply", _disk_then_supply, "NEW_EPOCH", shortest_ms=600, longest_ms=1500),
        _fault("vision-kill", _vision_kill, "PEER_LOST", safe=Safe.SOURCE, shortest_ms=50, longest_ms=1500),
        _fault("vision-hang", _vision_hang, safe=Safe.SOURCE, shortest_ms=5, longest_ms=1500),
        _fault("verdict-late", _spoil(_late_verdict), "late line_fault unsynced line_down no_image", own=True),
        _fault(
            "verdict-wrong-keys", _spoil(_wrong_keys), "mismatch late line_fault unsynced line_down no_image", own=True
        ),
        _fault(
            "verdict-other-unit", _spoil(_other_unit), "mismatch late line_fault unsynced line_down no_image", own=True
        ),
        _fault(
            "verdict-other-bundle",
            _spoil(lambda _w, j: [_with(j, bundle="other")]),
            "mismatch late line_fault",
            own=True,
        ),
        _fault(
            "verdict-other-pair",
            _spoil(_other_pair),
            "mismatch late line_fault",
            own=True,
        ),
        _fault("verdict-half", _spoil(_half), "no_image defect late line_fault unsynced line_down", own=True),
        _fault("verdict-for-reject", _spoil(lambda _w, j: [_with(j, verdict=Verdict.REJECT)]), own=True),
        _fault("verdict-twice", _spoil(lambda _w, j: [j, j]), "ONCE", own=True),
        _fault(
            "camera-lost", _camera_lost, "CAMERA_LOST CAMERA_UNSYNCED", safe=Safe.SOURCE, shortest_ms=20, longest_ms=900
        ),
        _fault(
            "camera-restart",
            _camera_restart,
            "CAMERA_LOST CAMERA_UNSYNCED",
            safe=Safe.SOURCE,
            shortest_ms=100,
            longest_ms=900,
        ),
        _fault("camera-session", _camera_session, "CAMERA_UNSYNCED unsynced"),
        _fault("edge-lost", _at_camera("edge-lost"), _COUNT, own=True),
        _fault("edge-extra", _at_camera("edge-extra"), _COUNT, own=True),
        _fault("edge-late", _at_camera("edge-late"), own=True),
        _fault("trigger-busy", _at_camera("busy"), _UNSEEN, own=True),
        _fault("frame-lost", _at_camera("frame-lost"), _UNSEEN, own=True),
        _fault("frame-twice", _at_camera("frame-dup"), "UNBOUND STRAY_FRAME", own=True),
        _fault("frame-reorder", _at_camera("frame-reorder"), "IN_ORDER " + _UNSEEN + " late", own=True),
        _fault("frame-late", _at_camera("frame-late"), _UNSEEN + " late", own=True),
        _fault("frame-incomplete", _at_camera("incomplete"), _UNSEEN, own=True),
        _fault("frame-stale", _at_camera("stale"), _UNSEEN, own=True),
        _fault("counter-jump", _at_camera("counter-jump"), _COUNT, own=True),
        _fault("clock-step", _clock_step),
        _fault("clock-and-count", _clock_and_count),
        _fault("clock-jitter", _clock_jitter, shortest_ms=50, longest_ms=600),
        _fault("link-cut", _link_cut, "PLC_LINK", safe=Safe.GATE, shortest_ms=5, longest_ms=900),
        _fault("link-silent", _link_silent, safe=Safe.GATE, shortest_ms=5, longest_ms=900),
        _fault("link-half-open", _link_deaf, safe=Safe.NONE, shortest_ms=5, longest_ms=900),
        _fault("link-slow", _link_slow, shortest_ms=50, longest_ms=900),
        _fault("heartbeat-stopped", _beatless, safe=Safe.GATE, shortest_ms=20, longest_ms=900),
        _fault("plc-restart", _plc_restart, "PLC_RESTARTED PLC_MEMORY", safe=Safe.GATE, shortest_ms=10, longest_ms=600),
        _fault(
            "plc-power", _plc_power, "PLC_MEMORY PLC_RESTARTED PLC_LINK", safe=Safe.GATE, shortest_ms=50, longest_ms=900
        ),
        _fault("permit-torn", torn),
        _fault("permit-replayed", replay),
        _fault("permit-shifted", shifted_slot),
        _fault("permit-early", early),
        _fault("foreign-device", foreign, safe=Safe.GATE, shortest_ms=1, longest_ms=500),
        _fault("mode-overwritten", mode, safe=Safe.GATE, shortest_ms=1, longest_ms=300),
        _fault("infeed-double", double, "too_close phantom TOO_CLOSE unsynced no_image", own=True),
        _fault("infeed-missing", missing, "STRAY_BODY ESCAPED", own=True),
        _fault("infeed-phantom", phantom, "phantom too_close line_fault unsynced no_image escaped", own=True),
        _fault("infeed-crowd", crowd),
        _fault(
            "vial-taken", take, "ESCAPED escaped phantom line_down line_fault quarantined", own=True, steps=STEPS[:6]
        ),
        _fault("vial-put", put, "STRAY_BODY ESCAPED", own=True),
        _fault("belt-stop", belt_stop, shortest_ms=40, longest_ms=900),
        _fault("recorder-full", _full, safe=Safe.RECORD, shortest_ms=50, longest_ms=1500),
        _fault("recorder-kill", _recorder_kill, "PEER_LOST", safe=Safe.SOURCE, shortest_ms=50, longest_ms=900),
        _fault("rows-late", _late_rows, safe=Safe.NONE, shortest_ms=100, longest_ms=900),
        _fault("pair-swapped", _swap, shortest_ms=1, longest_ms=600),
        _fault("key-turned", _key, "AUTHORITY CAUSE_6", safe=Safe.GATE, shortest_ms=100, longest_ms=900),
    )
}
