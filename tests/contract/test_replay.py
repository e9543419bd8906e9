"""`linewarden replay` of what the real vision process judged and kept: bit for bit, and every change is named."""

import argparse
import json
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemon import config
from daemon.evidence_file import image_file
from daemon.ledger_file import LEDGER
from daemon.line.rows import unit_row
from daemon.line.unit import Finish
from daemon.messages import Arm, Bound, Judged, Release, UnitRow
from daemon.recorder.ledger import Ledger
from daemon.recorder.rows import Received
from daemon.records import BatchOpened, EvidenceRow
from daemon.units import Outcome, Reason, Stages, Verdict
from daemon.vision.plan import folders_of, open_plan
from provisioning import cli_replay
from provisioning.replay_rows import ReplayRefused
from provisioning.trace import UnknownToLedger
from tests.contract.vision_bench import SIDE, Bench, unit
from tests.unit.ledger_rows import NOW
from tests.vectors import bundle_1

PATCH = "height = 24\npatch = { x = 16, y = 8, width = 8, height = 8, low = 5.0, high = 250.0 }"
LEVELS = (60, 120, 240, 253, 30)
EXPECTED = (Verdict.ACCEPT, Verdict.UNDECIDED, Verdict.REJECT, Verdict.UNDECIDED, Verdict.ACCEPT)
Change = Callable[[UnitRow], UnitRow]


@dataclass(frozen=True)
class Judging:
    """What one life of vision said: verdicts and images, in a folder with its documents."""

    root: Path
    judged: tuple[Judged, ...]
    kept: tuple[EvidenceRow, ...]
    bundle: str
    recipe: str


@pytest.fixture(scope="module")
def judging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judging]:
    bench = Bench(tmp_path_factory.mktemp("replay"))
    try:
        bench.write_recipe(evidence_share=1.0)
        station = bench.root / "station.toml"
        station.write_text(station.read_text().replace("height = 24", PATCH))
        bench.connect()
        judged = []
        for number, level in enumerate(LEVELS, 1):
            key, _ = bench.camera.shoot(level)
            bench.camera.hear(Release)
            bench.line.say(Bound(unit(number), SIDE, key, bench.recipe))
            judged.append(bench.line.hear(Judged))
        kept = tuple(bench.recorder.hear(EvidenceRow) for _ in LEVELS)
        assert bench.process is not None
        bench.process.send_signal(signal.SIGTERM)
        assert bench.finish()[0] == 0
    finally:
        bench.close()
    yield Judging(bench.root, tuple(judged), kept, bench.bundle, bench.recipe)


class Kept:
    """A copy of the device's folder, with the ledger that line and recorder would have made of the verdicts."""

    def __init__(self, judging: Judging, root: Path, change: Change = lambda row: row, plan: str = "") -> None:
        """`plan`: of another computer than this one."""
        shutil.copytree(judging.root, root, ignore=shutil.ignore_patterns("run"))
        self.root, self.state = root, root / "state"
        self.judging = judging
        documents = (config.digest(root / "station.toml"), judging.bundle, judging.recipe)
        pins = (*documents, "m" * 64, config.release(), plan or _plan_here(root / "station.toml"))
        arm = Arm("B-1", judging.bundle, judging.recipe, config.configuration_digest(*pins))
        rows: list[UnitRow | EvidenceRow] = [change(_row(judged, arm)) for judged in judging.judged]
        station, bundle, recipe, register_map, release, judged_by = pins
        opened = BatchOpened(
            seq=0,
            id="B-1",
            station=station,
            bundle=bundle,
            recipe=recipe,
            bundle_name="tiny",
            recipe_name="tiny",
            register_map=register_map,
            release=release,
            configuration=arm.configuration,
            actor="a.person",
            role="operator",
            reason="test",
            plan=judged_by,
        )
        with closing(Ledger(self.state / LEDGER)) as ledger:
            ledger.open_batch(opened, NOW)
            numbered = [msgspec.structs.replace(row, seq=seq) for seq, row in enumerate((*rows, *judging.kept), 1)]
            assert ledger.store([Received(1, row, "B-1") for row in numbered], {}, NOW) == []

    def image(self, number: int) -> Path:
        return image_file(self.state, self.judging.judged[number - 1].views[0].digest)


def _plan_here(path: Path) -> str:
    station = config.load(path)
    with closing(open_plan(station, folders_of(path, station))) as plan:
        return plan.loaded.plan


def _row(judged: Judged, arm: Arm) -> UnitRow:
    outcome = {Verdict.ACCEPT: Outcome.ACCEPTED, Verdict.REJECT: Outcome.REJECTED}.get(
        judged.verdict, Outcome.UNDECIDED
    )
    finish = Finish(judged.unit, outcome, judged.verdict, judged.reason, "line", judged, 9, 1, Stages())
    return unit_row(finish, arm)


def replay(state: Path, what: str, *arguments: str) -> int:
    parser = argparse.ArgumentParser()
    cli_replay.add(parser.add_subparsers())
    parsed = parser.parse_args(["replay", what, "--state", str(state), *arguments])
    return int(parsed.run(parsed))


def outcome(capsys: pytest.CaptureFixture[str], state: Path, what: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    status = replay(state, what, "--json", *arguments)
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return status, document


@pytest.mark.clause("ALCOA+ original", "ALCOA+ accurate", "Annex 11 §17")
def test_a_whole_batch_is_identical(judging: Judging, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tuple(judged.verdict for judged in judging.judged) == EXPECTED
    assert judging.judged[3].reason is Reason.LIGHT
    device = Kept(judging, tmp_path / "device")
    status, document = outcome(capsys, device.state, "B-1")
    assert (status, document["good"], document["counts"]["identical"]) == (0, True, 5)
    assert (document["frames"], document["inferences"]) == (5, 4)  # in bad light no model runs
    assert document["engines"]["side"]["backend"] == "onnxruntime"
    assert replay(device.state, "B-1") == 0
    said = capsys.readouterr().out
    assert "5 units, 5 replayed" in said and "the same release" in said


@pytest.mark.parametrize("name", ["2", "3.0.2"])
def test_one_unit(judging: Judging, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    status, document = outcome(capsys, Kept(judging, tmp_path / "device").state, name)
    assert (status, document["units"], document["counts"]["identical"]) == (0, 1, 1)


def _nudged(row: UnitRow, by: float) -> UnitRow:
    view = row.views[0]
    if row.unit.number != 2:
        return row
    scores = {**view.scores, "grey": view.scores["grey"] + by}
    return msgspec.structs.replace(row, views=[msgspec.structs.replace(view, scores=scores)])


@pytest.mark.clause("ALCOA+ accurate")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda row: _nudged(row, 2.0**-52), "side grey"),
        (lambda row: msgspec.structs.replace(row, verdict=Verdict.ACCEPT), "verdict accept, now"),
        (lambda row: msgspec.structs.replace(row, reason=Reason.DEFECT), "reason defect, now"),
        (lambda row: msgspec.structs.replace(row, defect="other"), "defect other, now"),
    ],
)
def test_a_changed_row_differs_and_says_where(
    judging: Judging, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Change, said: str
) -> None:
    device = Kept(judging, tmp_path / "device", lambda row: change(row) if row.unit.number == 2 else row)
    status, document = outcome(capsys, device.state, "B-1")
    assert (status, document["good"]) == (1, False)
    assert (document["counts"]["differs"], document["counts"]["identical"]) == (1, 4)
    assert [one["unit"] for one in document["named"]] == ["3.0.2"]
    assert said in document["named"][0]["text"]


def test_a_declared_tolerance_is_applied_and_said(
    judging: Judging, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def nudged(row: UnitRow) -> UnitRow:
        return _nudged(row, 1e-5)

    here = Kept(judging, tmp_path / "here", nudged)
    assert outcome(capsys, here.state, "B-1", "--tolerance", "1e-4")[0] == 1, "the same plan: identical bytes"
    device = Kept(judging, tmp_path / "device", nudged, plan="0" * 64)
    assert outcome(capsys, device.state, "B-1", "--tolerance", "1e-6")[0] == 1
    status, document = outcome(capsys, device.state, "B-1", "--tolerance", "1e-4")
    assert (status, document["counts"]["within tolerance"], document["tolerance"]) == (0, 1, 1e-4)
    assert document["largest_difference"] == pytest.approx(1e-5)


@pytest.mark.clause("ALCOA+ accurate")
def test_a_tolerance_never_excuses_a_verdict(
    judging: Judging, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(row: UnitRow) -> UnitRow:
        return msgspec.structs.replace(row, verdict=Verdict.ACCEPT) if row.unit.number == 3 else row

    assert (
        outcome(capsys, Kept(judging, tmp_path / "device", change, plan="0" * 64).state, "B-1", "--tolerance", "0.9")[0]
        == 1
    )


@pytest.mark.clause("ALCOA+ complete")
def test_an_image_that_is_not_kept_is_counted_apart(
    judging: Judging, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device = Kept(judging, tmp_path / "device")
    device.image(1).unlink()
    status, document = outcome(capsys, device.state, "B-1")
    assert (status, document["counts"]["image not kept"], document["counts"]["identical"]) == (0, 1, 4)
    assert document["named"][0]["text"] == "image of side not kept"
    assert outcome(capsys, device.state, "1")[0] == 1, "nothing was replayed"


@pytest.mark.clause("21 CFR 11.10(a)", "ALCOA+ accurate")
def test_an_altered_image_differs(judging: Judging, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    device = Kept(judging, tmp_path / "device")
    bundle_1.flip(device.image(3))
    status, document = outcome(capsys, device.state, "B-1")
    assert (status, document["counts"]["differs"]) == (1, 1)
    assert "altered" in document["named"][0]["text"]


def test_scores_that_the_engine_did_not_give_then_are_counted_apart(
    judging: Judging, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def failed(row: UnitRow) -> UnitRow:
        if row.unit.number != 1:
            return row
        views = [msgspec.structs.replace(view, scores={}) for view in row.views]
        verdict, reason = Verdict.UNDECIDED, Reason.ENGINE_FAULT
        return msgspec.structs.replace(row, views=views, verdict=verdict, reason=reason, outcome=Outcome.UNDECIDED)

    status, document = outcome(capsys, Kept(judging, tmp_path / "device", failed).state, "B-1")
    assert (status, document["counts"]["engine failed then"]) == (0, 1)


class TestRefused:
    """Other documents than the batch pins are refused in one line that names them."""

    def test_another_recipe(self, judging: Judging, tmp_path: Path) -> None:
        device = Kept(judging, tmp_path / "device")
        bundle_1.make_recipe(tmp_path / "other", judging.bundle, version="9.9.9")
        with pytest.raises(ReplayRefused, match="was judged by .* --recipe"):
            replay(device.state, "B-1", "--recipe", str(tmp_path / "other"))

    def test_another_bundle(self, judging: Judging, tmp_path: Path) -> None:
        device = Kept(judging, tmp_path / "device")
        digest = bundle_1.make_bundle(tmp_path / "other", version="9.9.9")
        bundle_1.make_recipe(tmp_path / "recipe", digest)
        with pytest.raises(ReplayRefused, match="was judged by .* --bundle"):
            other, recipe = str(tmp_path / "other"), str(tmp_path / "recipe")
            replay(device.state, "B-1", "--bundle", other, "--recipe", recipe)

    def test_another_station(self, judging: Judging, tmp_path: Path) -> None:
        device = Kept(judging, tmp_path / "device")
        station = device.root / "station.toml"
        station.write_text(station.read_text().replace("high = 250.0", "high = 255.0"))
        with pytest.raises(ReplayRefused, match="is not the station file of batch B-1"):
            replay(device.state, "B-1")

    def test_a_flipped_document(self, judging: Judging, tmp_path: Path) -> None:
        device = Kept(judging, tmp_path / "device")
        bundle_1.flip(device.root / "bundle" / "tiny.onnx")
        with pytest.raises(ReplayRefused, match="sha256"):
            replay(device.state, "B-1")

    @pytest.mark.parametrize(("name", "error"), [("B-2", ReplayRefused), ("77", UnknownToLedger)])
    def test_what_is_not_on_record(self, judging: Judging, tmp_path: Path, name: str, error: type[Exception]) -> None:
        with pytest.raises(error):
            replay(Kept(judging, tmp_path / "device").state, name)
