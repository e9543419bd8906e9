"""What vision keeps and reports over its real sockets, whatever becomes of the recorder or of itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.evidence_file import image_file
from daemon.messages import Arm, Bound, Judged, Release, Stored, Unbound, VisionFault
from daemon.records import EvidenceRow, Kept
from daemon.units import Verdict
from daemon.vision.choice import drawn
from tests.contract.vision_bench import SIDE, Bench, unit


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


@pytest.mark.clause("ALCOA+ complete")
def test_rows_about_images_are_sent_again_until_they_are_stored(bench: Bench) -> None:
    """Over a reconnect as they were, over a kill -9 of vision with new numbers."""
    bench.connect()
    for number in (1, 2):
        key, _ = bench.camera.shoot(level=240)
        bench.line.say(Bound(unit(number), SIDE, key, bench.recipe))
    rows = [bench.recorder.hear(EvidenceRow) for _ in range(2)]
    assert [(row.seq, row.unit) for row in rows] == [(1, unit(1)), (2, unit(2))]
    bench.recorder.say(Stored(1))
    bench.recorder.hang_up()
    bench.recorder.accept()
    assert bench.recorder.hear(EvidenceRow) == rows[1]
    assert bench.process is not None
    bench.process.kill()
    bench.finish()
    bench.recorder.forget()
    bench.start()
    bench.recorder.accept()
    again = [bench.recorder.hear(EvidenceRow) for _ in range(2)]
    assert [(row.seq, row.unit, row.digest) for row in again] == [
        (1, unit(1), rows[0].digest),
        (2, unit(2), rows[1].digest),
    ]


@pytest.mark.clause("ALCOA+ original", "ALCOA+ complete")
def test_the_frames_of_a_unit_that_is_never_judged_are_kept(bench: Bench) -> None:
    """Its view is bound, its unit given up: the image is evidence. A frame of no unit is nobody's."""
    bench.write_recipe(shots=2)
    bench.connect()
    stray, _ = bench.camera.shoot(level=10)
    key, digest = bench.camera.shoot(level=20)
    bench.line.say(Bound(unit(1), SIDE, key, bench.recipe))
    bench.line.say(Unbound(stray))
    bench.line.say(Unbound(key, 0))
    row = bench.recorder.hear(EvidenceRow)
    assert (row.unit, row.key, row.digest, row.state, row.why) == (unit(1), key, digest, Kept.RETAINED, "not judged")
    assert image_file(bench.state, digest).exists()
    assert len(list(bench.state.rglob("*.pgm"))) == 1


def test_a_share_of_accepted_units_is_kept_and_can_be_told_again(bench: Bench) -> None:
    bench.write_recipe(evidence_share=0.5)
    bench.connect()
    bench.recorder.say(Arm("batch", "0" * 64, bench.recipe, "c"))
    assert bench.line.hear(VisionFault).code == "VISION_FAULT"
    keys = []
    for number in range(1, 17):
        key, _ = bench.camera.shoot(level=10)
        bench.camera.hear(Release)
        bench.line.say(Bound(unit(number), SIDE, key, bench.recipe))
        keys.append(key)
    bad, _ = bench.camera.shoot(level=240)
    bench.line.say(Bound(unit(99), SIDE, bad, bench.recipe))
    heard = []
    while not heard or heard[-1].unit != unit(99):
        heard.append(bench.recorder.hear(EvidenceRow))
    wanted = [key for key in keys if drawn("batch", [key], 0.5)]
    assert 0 < len(wanted) < 16
    assert [row.key for row in heard] == [*wanted, bad]


@pytest.mark.clause("IEC 62443-4-2 CR 2.10", "Annex 11 §13")
def test_a_store_that_cannot_be_written_is_an_alarm_and_no_verdict_waits(bench: Bench) -> None:
    (bench.state / "evidence").write_text("a file where the folder should be")
    bench.connect()
    for number in range(1, 4):
        key, _ = bench.camera.shoot(level=240)
        bench.line.say(Bound(unit(number), SIDE, key, bench.recipe))
        assert bench.line.hear(Judged).verdict is Verdict.REJECT
        assert bench.recorder.hear(EvidenceRow).state is Kept.DROPPED
    fault = bench.line.hear(VisionFault)
    assert (fault.code, fault.subject) == ("EVIDENCE_DROPPED", "")
