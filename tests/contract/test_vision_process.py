"""The vision process over its real sockets: what it says of frames, units and documents."""

import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.evidence_file import image_file, read_image
from daemon.messages import Arm, Bound, Judged, Loaded, Release, Ring, Stored, Unbound, VisionFault
from daemon.records import EvidenceRow, Kept
from daemon.units import Channel, FrameKey, Reason, Verdict
from tests.contract.vision_bench import COLUMNS, ROWS, SIDE, SLOTS, Bench, unit
from tests.vectors import bundle_1


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def test_one_life(bench: Bench) -> None:
    """Loaded, good unit, bad unit, frame before and after its binding, evidence on disk, clean stop."""
    bench.connect()
    loaded = bench.line.hear(Loaded)
    assert (loaded.bundle, loaded.recipe, loaded.views) == (bench.bundle, bench.recipe, [SIDE])
    assert bench.recorder.hear(Loaded) == loaded

    good, good_digest = bench.camera.shoot(level=60)
    bench.camera.hear(Release)
    bench.line.say(Bound(unit(1), SIDE, good, bench.recipe))
    judged = bench.line.hear(Judged)
    assert (judged.unit, judged.verdict, judged.bundle) == (unit(1), Verdict.ACCEPT, bench.bundle)
    assert [(view.key, view.digest, view.device_ts) for view in judged.views] == [(good, good_digest, 77)]
    assert judged.views[0].scores == pytest.approx({"bright": 60 / 255, "grey": 60 / 255})
    assert judged.frame_ns < judged.inferred_ns <= judged.judged_ns

    bad = FrameKey("side", 5, 2)
    bench.line.say(Bound(unit(2), SIDE, bad, bench.recipe))
    shot, bad_digest = bench.camera.shoot(level=240)
    assert shot == bad
    judged = bench.line.hear(Judged)
    assert (judged.verdict, judged.reason, judged.channel) == (Verdict.REJECT, Reason.DEFECT, Channel.CRITICAL)
    assert bench.camera.hear(Release).slot == 2

    row = bench.recorder.hear(EvidenceRow)
    assert (row.seq, row.unit, row.view, row.key) == (1, unit(2), SIDE, bad)
    assert (row.digest, row.state, row.why) == (bad_digest, Kept.RETAINED, "")
    path = image_file(bench.state, bad_digest)
    assert path.read_bytes().startswith(b"P5\n32 24\n255\n") and path.stat().st_size == row.bytes
    assert hashlib.sha256(read_image(path).pixels).hexdigest() == bad_digest
    bench.recorder.say(Stored(1))

    assert bench.process is not None
    bench.process.send_signal(signal.SIGTERM)
    status, errors = bench.finish()
    assert status == 0, errors
    assert not bench.recorder.hears_more(EvidenceRow)


def test_the_ring_never_runs_dry_while_units_wait(bench: Bench) -> None:
    """Three times as many frames as slots, none of them bound yet; then all are judged from their own pixels."""
    bench.connect()
    shots = []
    for number in range(3 * SLOTS):
        shots.append(bench.camera.shoot(level=10 * number))
        bench.camera.hear(Release, lambda release, slot=(number + 1) % SLOTS: release.slot == slot)
    for number, (key, _) in enumerate(shots):
        bench.line.say(Bound(unit(number), SIDE, key, bench.recipe))
    for number, (_, digest) in enumerate(shots):
        judged = bench.line.hear(Judged)
        assert (judged.unit, judged.views[0].digest) == (unit(number), digest)
        assert judged.verdict is (Verdict.ACCEPT if number <= 10 else Verdict.UNDECIDED)


@pytest.mark.clause("21 CFR 11.10(h)")
def test_an_unbound_frame_and_a_foreign_session_are_never_judged(bench: Bench) -> None:
    bench.connect()
    foreign, _ = bench.camera.shoot(level=10, session=4)
    bench.line.say(Bound(unit(1), SIDE, foreign, bench.recipe))
    assert bench.camera.hear(Release).session == 4
    given_up, _ = bench.camera.shoot(level=10)
    bench.camera.hear(Release)
    bench.line.say(Unbound(given_up))
    bench.line.say(Bound(unit(2), SIDE, given_up, bench.recipe))
    marker, _ = bench.camera.shoot(level=10)
    bench.line.say(Bound(unit(3), SIDE, marker, bench.recipe))
    assert bench.line.hear(Judged).unit == unit(3)


def test_a_line_that_comes_back_is_told_what_is_loaded(bench: Bench) -> None:
    bench.connect()
    first = bench.line.hear(Loaded)
    bench.line.hang_up()
    bench.line.accept()
    assert bench.line.hear(Loaded) == first
    key, _ = bench.camera.shoot(level=10)
    bench.line.say(Bound(unit(1), SIDE, key, bench.recipe))
    assert bench.line.hear(Judged).unit == unit(1)


def test_a_ring_that_could_shrink_is_refused(bench: Bench) -> None:
    """Reading beyond its end would kill the process: the connection is dropped instead, and tried again."""
    bench.connect()
    with os.fdopen(os.memfd_create("bad", os.MFD_ALLOW_SEALING), "wb") as bad:
        os.ftruncate(bad.fileno(), SLOTS * ROWS * COLUMNS)
        bench.camera.say(Ring("side", 6, SLOTS, ROWS * COLUMNS), (bad.fileno(),))
    bench.camera.hang_up()
    bench.camera.accept()
    bench.camera.start(session=7)
    key, _ = bench.camera.shoot(level=10)
    bench.line.say(Bound(unit(1), SIDE, key, bench.recipe))
    assert bench.line.hear(Judged).views[0].key == key


@pytest.mark.clause("21 CFR 11.10(f)", "Annex 11 §10")
def test_a_batch_armed_for_another_bundle_is_a_fault(bench: Bench) -> None:
    bench.connect()
    bench.recorder.say(Arm("batch", bench.bundle, bench.recipe, "c"))
    bench.recorder.say(Arm("batch", "0" * 64, bench.recipe, "c"))
    assert "wrong digest" in bench.line.hear(VisionFault).text


@pytest.mark.clause("21 CFR 11.10(a)", "IEC 62443-4-2 CR 3.4")
@pytest.mark.parametrize(
    "file", ["bundle/bundle.json", "bundle/tiny.onnx", "recipe/recipe.json", "recipe/signatures/qa.sig"]
)
def test_a_flipped_byte_ends_the_process_before_it_connects(bench: Bench, file: str) -> None:
    bundle_1.flip(bench.root / file)
    bench.start()
    status, errors = bench.finish()
    assert status == os.EX_CONFIG
    assert len(errors.splitlines()) == 1
    assert Path(file).parts[0] in errors
    assert "Traceback" not in errors
    assert bench.line._listener.accept() is None


@pytest.mark.clause("IEC 62443-4-2 CR 3.4")
def test_development_keys_are_refused_in_production(bench: Bench) -> None:
    bench.write_station(production=True)
    bench.start()
    status, errors = bench.finish()
    assert status == os.EX_CONFIG
    assert "development keys are refused in production mode" in errors
