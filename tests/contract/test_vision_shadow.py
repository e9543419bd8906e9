"""The vision process with a candidate in shadow: it sees what was judged, and nothing it does changes a verdict."""

import fcntl
import os
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.evidence_file import read_image
from daemon.messages import Bound, Judged, Loaded, Release, VisionFault
from daemon.shadow_file import (
    SHADOW,
    Phase,
    Round,
    Standing,
    folder_of,
    frame_file,
    read_counts,
    read_disagreements,
    read_standing,
)
from daemon.units import Verdict
from daemon.vision.shadow_main import LULL_S
from tests.contract.vision_bench import SIDE, Bench, unit
from tests.vectors import bundle_1

DARK, BRIGHT = 60, 240
LOWEST, HIGHEST = 0.001, 0.999
PATIENCE_S = 90.0  # what runs under SCHED_IDLE comes when it comes
LEVELS = (DARK, BRIGHT, DARK, 120)


class Watched(Bench):
    """A bench whose station names a candidate, with limits of its own."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.candidate = ""

    def name_candidate(self, accept_below: float, reject_from: float, **changes: object) -> None:
        view = bundle_1.recipe_description(self.bundle)["views"][0]
        limits = {"accept_below": accept_below, "reject_from": reject_from}
        strict = {name: limit | limits for name, limit in view["limits"].items()}
        self.candidate = bundle_1.make_recipe(
            self.root / "candidate-recipe", self.bundle, views=[view | {"limits": strict}], **changes
        )
        text = (self.root / "station.toml").read_text()
        (self.root / "station.toml").write_text(
            f'{text}candidate_bundle = "bundle"\ncandidate_recipe = "candidate-recipe"\n'
        )

    @property
    def folder(self) -> Path:
        return folder_of(self.state, self.bundle, self.candidate)

    def standing(self, phase: Phase) -> Standing:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            found = read_standing(self.state)
            if found and found.phase is phase:
                return found
            time.sleep(0.01)
        raise AssertionError(f"the candidate never was {phase}, only {read_standing(self.state)}")

    def judge(self, number: int, level: int) -> Judged:
        key, _ = self.camera.shoot(level)
        self.camera.hear(Release)
        self.line.say(Bound(unit(number), SIDE, key, self.recipe))
        return self.line.hear(Judged, lambda judged: judged.unit == unit(number))

    def counted(self, units: int) -> Round:
        """Wait until so many units were compared with the active pair, and return their round."""
        end = time.monotonic() + PATIENCE_S
        found = None
        while time.monotonic() < end:
            rounds = read_counts(self.folder).rounds
            found = rounds[-1] if rounds else None
            if found and sum(found.pairs.values()) >= units:
                return found
            time.sleep(0.02)
        raise AssertionError(f"never {units} units: {found}")

    def child(self) -> int:
        """The process id of the candidate, once it has one."""
        assert self.process is not None
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
            found = [int(child) for task in tasks for child in (task / "children").read_text().split()]
            if found:
                return found[0]
            time.sleep(0.01)
        raise AssertionError("the candidate has no process")

    def ends(self) -> str:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        status, errors = self.finish()
        assert status == 0, errors
        return errors


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Watched]:
    bench = Watched(tmp_path)
    yield bench
    bench.close()


def _goes(process: int) -> None:
    """Wait until a process has ended; who reaps it is not our business."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.01)
    raise AssertionError(f"process {process} is still there")


def _comes_to(process: int, folder: Path) -> None:
    """Wait until a process has opened a folder."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        opened = [os.readlink(fd) for fd in Path(f"/proc/{process}/fd").iterdir() if fd.is_symlink()]
        if str(folder) in opened:
            return
        time.sleep(0.01)
    raise AssertionError(f"process {process} never opened {folder}")


def _told(bench: Watched) -> list[tuple[Any, ...]]:
    """What line is told of LEVELS, without times and frame counts."""
    judged = [bench.judge(number, level) for number, level in enumerate(LEVELS, 1)]
    return [(one.unit, one.verdict, one.reason, one.channel, one.defect, one.recipe, one.views) for one in judged]


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, ...]]:
    """What line is told where no candidate is named."""
    alone = Watched(tmp_path_factory.mktemp("alone"))
    try:
        alone.connect()
        told = _told(alone)
        alone.ends()
        return told
    finally:
        alone.close()


@pytest.mark.clause("21 CFR 11.10(a)", "Annex 11 §10")
def test_a_candidate_that_rejects_everything_changes_no_verdict_and_has_no_socket(
    bench: Watched, without: list[tuple[Any, ...]]
) -> None:
    """Its disagreements are stored with their frames, and outlive a kill -9 of vision; it does not."""
    bench.name_candidate(LOWEST, LOWEST)
    bench.connect()
    assert "SCHED_IDLE" in bench.standing(Phase.LOOKING).text
    assert _told(bench) == without
    assert bench.counted(4).pairs == {"accept reject": 2, "reject reject": 1, "undecided reject": 1}
    child = bench.child()
    assert os.sched_getscheduler(child) == os.SCHED_IDLE
    assert Path(f"/proc/{child}/oom_score_adj").read_text().strip() == "1000"
    opened = [Path(f"/proc/{child}/fd/{fd}").stat().st_mode for fd in os.listdir(f"/proc/{child}/fd")]
    assert len(opened) >= 4 and not any(stat.S_ISSOCK(mode) for mode in opened)
    assert bench.process is not None
    bench.process.kill()
    bench.finish()
    _goes(child)
    rows = read_disagreements(bench.folder)
    assert [(row.unit, row.active.verdict, row.candidate.verdict) for row in rows] == [
        (unit(1), Verdict.ACCEPT, Verdict.REJECT),
        (unit(3), Verdict.ACCEPT, Verdict.REJECT),
    ]
    assert (rows[0].bundle, rows[0].recipe, rows[0].kept) == (bench.bundle, bench.recipe, True)
    (sight,) = rows[0].sights
    assert (sight.active, sight.digest) == (without[0][-1][0].scores, without[0][-1][0].digest)
    assert sight.active == sight.candidate
    assert read_image(frame_file(bench.folder, sight.digest)).width == 32


@pytest.mark.clause("21 CFR 11.10(a)", "Annex 11 §10")
def test_a_candidate_that_accepts_everything_changes_no_verdict(bench: Watched, without: list[tuple[Any, ...]]) -> None:
    """It begins when a candidate of an earlier life, played by the lock, has let go of the records."""
    bench.name_candidate(HIGHEST, HIGHEST)
    (bench.state / SHADOW).mkdir()
    earlier = os.open(bench.state / SHADOW, os.O_RDONLY)
    fcntl.flock(earlier, fcntl.LOCK_EX)
    bench.connect()
    bench.standing(Phase.LOADING)
    try:
        _comes_to(bench.child(), bench.state / SHADOW)
        time.sleep(2 * LULL_S)
        assert bench.standing(Phase.LOADING)
    finally:
        os.close(earlier)
    bench.standing(Phase.LOOKING)
    assert _told(bench) == without
    assert bench.counted(len(LEVELS)).pairs == {"accept accept": 2, "reject accept": 1, "undecided accept": 1}
    bench.ends()
    bench.standing(Phase.STOPPED)
    assert [row.unit for row in read_disagreements(bench.folder)] == [unit(2), unit(4)]


@pytest.mark.clause("21 CFR 11.10(a)", "IEC 62443-4-2 CR 3.4")
def test_a_candidate_that_does_not_verify_is_refused_and_inspection_goes_on(bench: Watched) -> None:
    bench.name_candidate(LOWEST, LOWEST)
    bundle_1.flip(bench.root / "candidate-recipe" / "recipe.json")
    bench.connect()
    text = bench.standing(Phase.REFUSED).text
    assert "recipe.json" in text and "\n" not in text
    assert bench.line.hear(Loaded).bundle == bench.bundle
    assert bench.judge(1, DARK).verdict is Verdict.ACCEPT
    assert not any(isinstance(message, VisionFault) for message in bench.line.heard)
    assert "candidate refused" in bench.ends()


def test_a_candidate_that_is_killed_or_stands_still_only_drops(bench: Watched) -> None:
    bench.name_candidate(LOWEST, LOWEST)
    bench.connect()
    bench.standing(Phase.LOOKING)
    os.kill(bench.child(), signal.SIGSTOP)
    for number in range(1, 9):
        assert bench.judge(number, DARK).verdict is Verdict.ACCEPT
    os.kill(bench.child(), signal.SIGCONT)
    found = bench.counted(1)
    end = time.monotonic() + PATIENCE_S
    while sum(found.pairs.values()) + found.dropped < 8 and time.monotonic() < end:
        time.sleep(0.02)
        found = bench.counted(1)
    assert sum(found.pairs.values()) + found.dropped == 8
    assert found.dropped in (3, 4)
    os.kill(bench.child(), signal.SIGKILL)
    assert "status -9" in bench.standing(Phase.ENDED).text
    assert bench.judge(9, DARK).verdict is Verdict.ACCEPT
    assert not any(isinstance(message, VisionFault) for message in bench.line.heard)
    bench.ends()
