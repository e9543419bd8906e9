"""Light out of its band rejects, whatever the model says; its drift is told before."""

import numpy as np
import pytest

from daemon.config import Patch
from daemon.units import Channel, Reason, Verdict, ViewKey
from daemon.vision.judging import Limit, Rules, judge
from daemon.vision.light import Light

PATCH = Patch(x=8, y=4, width=32, height=16, low=100.0, high=200.0)
BODY, CRIMP = ViewKey("body"), ViewKey("crimp")
RULES = Rules({view: {"crack": Limit(0.4, 0.6)} for view in (BODY, CRIMP)}, {"crack": Channel.CRITICAL})


def _frame(patch: int, rest: int = 0) -> "np.ndarray[tuple[int, int], np.dtype[np.uint8]]":
    image = np.full((64, 96), rest, np.uint8)
    image[4:20, 8:40] = patch
    return image


@pytest.mark.parametrize(
    ("grey", "lit"), [(0, False), (99, False), (100, True), (150, True), (200, True), (201, False)]
)
def test_only_the_patch_counts_and_its_band_is_closed(grey: int, lit: bool) -> None:
    for rest in (0, 255):
        reading = Light(PATCH).look(_frame(grey, rest))
        assert (reading.grey, reading.lit) == (grey, lit)


def test_the_trend_follows_slowly_and_warns_before_the_edge() -> None:
    light = Light(PATCH)
    assert not light.look(_frame(150)).near_edge
    readings = [light.look(_frame(104)) for _ in range(400)]
    assert all(reading.lit for reading in readings)
    assert not readings[10].near_edge and readings[-1].near_edge
    assert light.text(readings[-1]) == "patch 104.0, trend 104.1, band 100 to 200"


def test_one_dark_frame_does_not_move_the_trend_to_the_edge() -> None:
    light = Light(PATCH)
    light.look(_frame(150))
    reading = light.look(_frame(0))
    assert not reading.lit and not reading.near_edge


def test_a_unit_in_bad_light_is_undecided_for_that_reason() -> None:
    good = {BODY: {"crack": 0.1}, CRIMP: {"crack": 0.1}}
    assert judge(RULES, good).verdict is Verdict.ACCEPT
    for views in (good, {BODY: {}, CRIMP: {"crack": 0.1}}):
        judged = judge(RULES, views, dark=True)
        assert (judged.verdict, judged.reason, judged.channel) == (Verdict.UNDECIDED, Reason.LIGHT, Channel.GREY)


def test_a_defect_in_a_sound_view_stays_a_defect() -> None:
    judged = judge(RULES, {BODY: {}, CRIMP: {"crack": 0.9}}, dark=True)
    assert (judged.verdict, judged.reason, judged.defect) == (Verdict.REJECT, Reason.DEFECT, "crack")
