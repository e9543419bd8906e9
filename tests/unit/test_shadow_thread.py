"""Thread `shadow` outlives whatever its candidate turns out to be: it ends with `stop` and not before."""

import threading
from pathlib import Path

import pytest

from daemon.shadow_file import Phase, read_standing
from daemon.vision import shadow
from daemon.vision.shadow import QUEUED, Shadow
from daemon.vision.shadow_turn import lay_down, pick_up
from tests.unit.test_shadow_records import judged, picture

LIMIT_S = 60.0


def _becomes(state: Path, phase: Phase, poll: threading.Event) -> str:
    for _ in range(int(LIMIT_S / 0.02)):
        found = read_standing(state)
        if found and found.phase is phase:
            return found.text
        poll.wait(0.02)
    raise AssertionError(f"never {phase}, only {read_standing(state)}")


@pytest.mark.parametrize(
    ("module", "interpreter", "said"),
    [
        ("this", None, "cannot be served"),
        ("no.such.module", None, "ended with status 1"),
        ("daemon.vision.shadow_main", "/no/such/python", "cannot be served"),
    ],
)
def test_it_goes_on_doing_nothing_when_the_candidate_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, interpreter: str | None, said: str
) -> None:
    monkeypatch.setattr(shadow, "MODULE", module)
    if interpreter:
        monkeypatch.setattr(shadow.sys, "executable", interpreter)
    onlooker = Shadow(tmp_path / "station.toml", tmp_path)
    thread = threading.Thread(target=onlooker.run)
    thread.start()
    try:
        assert said in _becomes(tmp_path, Phase.ENDED, threading.Event())
        for number in range(2 * QUEUED):
            onlooker.offer(judged(number), [(judged(number).views[0], picture(number)[0])])
        assert thread.is_alive()
        assert onlooker.turns != onlooker.turns
    finally:
        onlooker.stop()
        thread.join(LIMIT_S)
    assert not thread.is_alive()


def test_pixels_come_out_of_the_memory_as_they_went_in(tmp_path: Path) -> None:
    images = [picture(number)[0] for number in (1, 2, 3)]
    with (tmp_path / "memory").open("w+b", buffering=0) as memory:
        pictures = lay_down(memory.fileno(), images)
        assert [pick_up(memory.fileno(), one) for one in pictures] == images
        again = lay_down(memory.fileno(), images[2:])
        assert pick_up(memory.fileno(), again[0]) == images[2]
