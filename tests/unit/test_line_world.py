"""The line's real parts together: lanes, several shots, channels, samples, re-sync eyes, a carrier."""

from typing import Any

import pytest
from line_world import LineWorld, camera, station

from daemon.units import Channel, Outcome, Reason, UnitId

LANES = [
    camera(f"{look}{lane}", 2 * lane + k, at, view=look, lane=lane)
    for lane in range(4)
    for k, (look, at) in enumerate((("body", 150.0), ("crimp", 240.0)))
]


def outcomes(world: LineWorld) -> dict[int, Outcome]:
    return {vial: row.outcome for vial, row in sorted(world.by_vial().items())}


def test_four_lanes_end_to_end() -> None:
    world = LineWorld(station(LANES, lanes=4), vials=40, rate=1200.0)
    world.bad = {5: "critical", 9: "cosmetic", 10: "critical"}
    world.play()
    assert world.misbound() == []
    expected = {n: Outcome.REJECTED if n in world.bad else Outcome.ACCEPTED for n in range(1, 41)}
    assert outcomes(world) == expected
    assert {unit.lane for unit in world.rows} == {0, 1, 2, 3}
    for vial, row in world.by_vial().items():
        assert world.machine.belt.vials[vial - 1].lane == row.unit.lane
        assert all(view.key.camera.endswith(str(row.unit.lane)) for view in row.views)
    assert [world.machine.belt.vials[n - 1].channel for n in (5, 9, 10)] == [0, 1, 0]


def test_a_frame_lost_in_one_lane_costs_that_unit_only() -> None:
    world = LineWorld(station(LANES, lanes=4), vials=32, rate=1200.0)
    world.lost = {("body2", vial) for vial in range(9, 17)}
    world.play()
    lanes = {vial: world.machine.belt.vials[vial - 1].lane for vial in range(1, 33)}
    lost = {vial for vial in range(9, 17) if lanes[vial] == 2}
    assert lost and {vial for vial, end in outcomes(world).items() if end is Outcome.REJECTED} == lost
    assert {world.by_vial()[vial].reason for vial in lost} == {Reason.NO_IMAGE}
    assert {world.by_vial()[vial].channel for vial in lost} == {Channel.GREY} and world.misbound() == []


def shots(**more: Any) -> LineWorld:
    cameras = [camera("body", 0, 150.0, shots=3, shot_pitch_mm=8.0), camera("crimp", 1, 240.0)]
    return LineWorld(station(cameras), vials=20, **more)


def test_several_shots_of_a_unit_are_views_of_their_own() -> None:
    world = shots()
    world.bad = {7: "critical"}
    world.play()
    assert outcomes(world) == {n: Outcome.REJECTED if n == 7 else Outcome.ACCEPTED for n in range(1, 21)}
    for row in world.rows.values():
        assert [(v.view.camera, v.view.shot) for v in row.views] == [
            ("body", 0),
            ("body", 1),
            ("body", 2),
            ("crimp", 0),
        ]
        assert len({view.key for view in row.views}) == 4
    assert world.misbound() == []


def test_a_unit_that_lacks_one_shot_is_not_accepted() -> None:
    world = shots()
    world.lost = {("body", 6)}
    world.play()
    assert {vial for vial, end in outcomes(world).items() if end is not Outcome.ACCEPTED} == {6}
    assert world.by_vial()[6].reason is Reason.NO_IMAGE


def test_samples_land_in_their_channel_and_are_no_accepted_units() -> None:
    cameras = [camera("body", 0, 150.0)]
    world = LineWorld(station(cameras), vials=20, sampling_every=5)
    world.bad = {3: "cosmetic"}
    world.play()
    sampled = [vial for vial, end in outcomes(world).items() if end is Outcome.SAMPLED]
    assert sampled == [6, 11, 16], "every fifth good one"
    for vial in sampled:
        row = world.by_vial()[vial]
        assert (row.channel, row.reason) == (Channel.SAMPLE, Reason.NONE)
        assert world.machine.belt.vials[vial - 1].channel == 3
    assert outcomes(world)[3] is Outcome.REJECTED and len(world.rows) == 20


def test_a_slipping_belt_with_resync_eyes() -> None:
    eyes = [{"position_mm": 130.0, "window_mm": 10.0}, {"position_mm": 400.0, "window_mm": 12.0}]
    world = LineWorld(station([camera("body", 0, 170.0)], geometry={"eyes": eyes}), vials=20)
    world.until(lambda: bool(world.driver.epoch))
    world.machine.belt.blind(8)
    world.play()
    assert world.misbound() == [] and 8 not in world.by_vial()
    assert {vial for vial, end in outcomes(world).items() if end is not Outcome.ACCEPTED} == {7, 9}
    assert any(code == "OFF_TRACK" for _, code, _ in world.control.status(world.now).alarms)


@pytest.mark.parametrize("bounce_mm", [8.0, 25.0])
def test_a_carrier_with_empty_pockets_and_a_second_look(bounce_mm: float) -> None:
    geometry = {"carrier": {"pockets": 24, "pitch_mm": 60.0}}
    world = LineWorld(station([camera("body", 0, 150.0)], geometry=geometry), vials=30)
    world.start()
    world.until(lambda: len(world.machine.belt.vials) == 12)
    world.machine.belt.bounce(12, bounce_mm)
    world.play()
    assert world.misbound() == []
    rejected = {vial for vial, end in outcomes(world).items() if end is not Outcome.ACCEPTED}
    assert 12 in rejected and rejected <= {12, 13}
    phantoms = [row for row in world.rows.values() if not world.vials[row.unit]]
    assert [row.outcome for row in phantoms] == [Outcome.REJECTED]


def test_numbers_and_lanes_never_mix() -> None:
    """Equal numbers run in every lane; a verdict for one lane's unit is none for another's."""
    world = LineWorld(station(LANES, lanes=4), vials=24, rate=1200.0)
    world.bad = {vial: "critical" for vial in range(1, 25, 2)}
    world.play()
    numbers = {lane: sorted(u.number for u in world.rows if u.lane == lane) for lane in range(4)}
    assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())
    assert world.misbound() == [] and UnitId(world.driver.epoch, 3, 1) in world.rows
    assert {vial for vial, end in outcomes(world).items() if end is Outcome.REJECTED} == set(world.bad)


ROTARY = {"carrier": {"pockets": 24, "pitch_mm": 60.0}}


def grid(pockets: int, **more: Any) -> dict[str, Any]:
    """A camera whose frame shows that many pockets of each lane side by side."""
    lanes = more.pop("lanes", 1)
    regions = [
        {"x": 160 * behind, "y": 100 * lane, "width": 160, "height": 100, "lane": lane, "behind": behind}
        for lane in range(lanes)
        for behind in range(pockets)
    ]
    return camera("body", 0, 250.0, regions=regions, **more)


def test_one_frame_shows_three_pockets_and_is_credited_to_three_units() -> None:
    world = LineWorld(station([grid(3), camera("crimp", 1, 400.0)], geometry=ROTARY), vials=40)
    world.bad = {7: "critical", 20: "cosmetic"}
    world.play()
    assert world.misbound() == []
    assert outcomes(world) == {n: Outcome.REJECTED if n in world.bad else Outcome.ACCEPTED for n in range(1, 41)}
    shared: dict[Any, set[int]] = {}
    for row in world.rows.values():
        body = next(view for view in row.views if view.view.camera == "body")
        shared.setdefault(body.key, set()).add(body.view.region)
    pockets = [round(vial.entry_at / 60.0) for vial in world.machine.belt.vials]
    assert max(b - a for a, b in zip(pockets, pockets[1:], strict=False)) > 1, "some pockets are empty"
    assert len(shared) == len({pocket // 3 for pocket in pockets}), "one frame for each group that has a unit"
    assert {region for regions in shared.values() for region in regions} == {0, 1, 2}


def test_a_lost_frame_costs_all_its_units_and_no_other() -> None:
    world = LineWorld(station([grid(3)], geometry=ROTARY), vials=30)
    world.lost = {("body", vial) for vial in range(10, 13)}
    world.play()
    pockets = {vial.ordinal: round(vial.entry_at / 60.0) // 3 for vial in world.machine.belt.vials}
    fired = {min(v for v, other in pockets.items() if other == group) for group in set(pockets.values())}
    groups = {pockets[vial] for vial in fired & {10, 11, 12}}
    expected = {vial for vial, group in pockets.items() if group in groups}
    assert expected and {vial for vial, end in outcomes(world).items() if end is not Outcome.ACCEPTED} == expected
    assert {world.by_vial()[vial].reason for vial in expected} == {Reason.NO_IMAGE}


def test_a_frame_over_two_lanes() -> None:
    world = LineWorld(station([grid(2, lanes=2)], lanes=2, geometry=ROTARY), vials=40)
    world.bad = {vial: "critical" for vial in (4, 9, 21)}
    world.play()
    assert world.misbound() == []
    assert {vial for vial, end in outcomes(world).items() if end is Outcome.REJECTED} == {4, 9, 21}
    assert {unit.lane for unit in world.rows} == {0, 1}


def test_a_second_look_inside_a_frame_rejects_its_own_pocket_only() -> None:
    world = LineWorld(station([grid(3)], geometry=ROTARY), vials=30)
    world.start()
    world.until(lambda: len(world.machine.belt.vials) == 12)
    world.machine.belt.bounce(12, 8.0)
    world.play()
    assert world.misbound() == []
    rejected = {vial for vial, end in outcomes(world).items() if end is not Outcome.ACCEPTED}
    assert 12 in rejected and rejected <= {12, 13}
