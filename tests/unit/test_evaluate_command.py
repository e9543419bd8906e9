"""`linewarden model evaluate` end to end: a signed bundle over images on disk, its figures, report and refusals."""

import hashlib
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluate_world import BRIGHT, DOUBTFUL, GOOD, GREY, evaluate, make_anomaly_pair, make_pair, picture, put

from daemon.units import Channel, ViewKey
from daemon.vision.judging import Limit, Rules, judge
from engines.rates import auroc, clopper_pearson, lower_bound
from provisioning import report_folder
from provisioning.errors import CommandFailed
from provisioning.evaluate_images import find_units
from provisioning.evaluate_run import log_odds, run
from provisioning.evaluate_subject import open_subject
from signing.errors import SigningError
from tests.vectors.bundle_1 import flip, make_bundle, make_recipe, tiny_model

FRAMES = {
    "good": [picture(GOOD + k) for k in range(8)] + [picture(BRIGHT)],
    "bright": [picture(BRIGHT), picture(DOUBTFUL), picture(GOOD), picture(BRIGHT, 60)],
    "grey": [picture(GREY, GREY), picture(BRIGHT, GREY)],
    "chip": [picture(GOOD, 90)],
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair that two people signed, and FRAMES in folders."""
    folder = tmp_path_factory.mktemp("evaluate")
    make_pair(folder)
    for truth, frames in FRAMES.items():
        for number, frame in enumerate(frames):
            put(folder / "images" / truth / f"{number}.png", frame)
    return folder


@pytest.fixture(scope="module")
def document(world: Path) -> dict[str, Any]:
    where = world / "figures.json"
    assert evaluate(world, world / "images", "--json", str(where)) == 0
    found: dict[str, Any] = json.loads(where.read_text())
    return found


def test_every_unit_is_judged_as_the_line_judges_it(document: dict[str, Any]) -> None:
    """The rows, computed again from their own scores."""
    limits = {"bright": Limit(0.4, 0.6), "grey": Limit(0.4, 0.6)}
    rules = Rules({ViewKey("side"): limits}, {"bright": Channel.CRITICAL, "grey": Channel.COSMETIC})
    truths = ("good", *sorted(FRAMES.keys() - {"good"}))
    every = [(truth, str(number)) for truth in truths for number in range(len(FRAMES[truth]))]
    assert [(row["class"], row["unit"]) for row in document["units"]] == every
    for row in document["units"]:
        scores = row["scores"]["side"]
        frame = FRAMES[row["class"]][int(row["unit"])]
        seen = frame[4:20, 8:24]
        assert scores == pytest.approx({"bright": seen.max() / 255, "grey": seen.mean() / 255}, abs=2e-3)
        said = judge(rules, {ViewKey("side"): scores})
        assert (row["verdict"], row["reason"], row["defect"]) == (said.verdict, said.reason, said.defect)
        assert (row["margin"] >= 0.0) == (row["verdict"] != "accept")


def test_the_figures_are_those_of_the_rows(document: dict[str, Any]) -> None:
    rows = document["units"]
    classes = {found["class"]: found for found in document["classes"]}
    assert list(classes) == ["bright", "chip", "grey"]
    for name, found in classes.items():
        verdicts = [row["verdict"] for row in rows if row["class"] == name]
        missed, n = verdicts.count("accept"), len(verdicts)
        assert (found["n"], found["detected"]["count"]) == (n, n - missed)
        bounds = (found["detected"]["low95"], found["detected"]["high95"])
        assert bounds == pytest.approx(clopper_pearson(n - missed, n), abs=1e-6)
        assert found["at_least95"] == pytest.approx(lower_bound(n - missed, n), abs=1e-6)
    assert classes["bright"]["named"] == {"accepted": 1, "bright": 2, "undecided": 1}
    assert classes["grey"]["named"] == {"bright": 2}, "critical before cosmetic, whatever the score"
    assert {name for name, found in classes.items() if not found["known"]} == {"chip"}
    assert document["not_shown"] == []
    refused = sum(row["verdict"] != "accept" for row in rows if row["class"] == "good")
    assert (document["false_reject"]["count"], document["false_reject"]["n"]) == (refused, len(FRAMES["good"]))
    bad = np.array([row["class"] != "good" for row in rows])
    area = auroc(np.array([row["margin"] for row in rows]), bad)
    assert document["auroc"]["area"] == pytest.approx(area, abs=1e-6)
    assert document["auroc"]["low95"] < area < document["auroc"]["high95"]


def test_the_document_says_what_was_evaluated(world: Path, document: dict[str, Any]) -> None:
    bundle, recipe = (hashlib.sha256((world / k / f"{k}.json").read_bytes()).hexdigest() for k in ("bundle", "recipe"))
    assert document["document"] == "evaluation"
    assert document["bundle"] == {"name": "tiny", "version": "1.0.0", "digest": bundle}
    assert document["recipe"] == {"name": "tiny-recipe", "version": "1.0.0", "digest": recipe}
    assert document["development_keys"] is True
    lines = hashlib.sha256()
    for row in document["units"]:
        raw = (world / "images" / row["class"] / f"{row['unit']}.png").read_bytes()
        lines.update(f"{row['class']}\t{row['unit']}\tside\t{hashlib.sha256(raw).hexdigest()}\n".encode())
    assert document["images"] == lines.hexdigest()
    assert document["copies"] == 2
    timing = document["models"]["side"]
    assert timing["n"] == len(document["units"])
    assert 0.0 < timing["p50_ms"] <= timing["p99_ms"]


def test_without_a_recipe_there_is_an_area_and_no_threshold(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(world / "bundle", tmp_path / "bundle")
    shutil.copytree(world / "trust", tmp_path / "trust")
    assert evaluate(tmp_path, world / "images", "--json", "-") == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert (found["recipe"], found["false_reject"], found["detected"]) == (None, None, None)
    assert {row["verdict"] for row in found["units"]} == {""}
    assert all(one["detected"] is None and one["auroc"] for one in found["classes"])
    for row in found["units"]:
        assert row["margin"] == pytest.approx(max(map(log_odds, row["scores"]["side"].values())), abs=1e-5)
    assert "no threshold was applied" in printed.err
    assert evaluate(tmp_path, world / "images", "--recipe", str(world / "recipe")) == 0
    assert "POD at least" in capsys.readouterr().out


def test_the_terminal_says_it_in_a_table_and_a_line(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(world, world / "images") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    assert max(map(len, lines[: lines.index("signed with development keys") - 3])) <= 80
    assert re.search(r"^ ?bright +4 +3 +75\.0 % +19\.4-99\.4 % +24\.8 %", printed.out, re.MULTILINE)
    assert "chip *" in printed.out
    assert "2 image files are copies of others" in printed.out
    assert lines[-1].startswith("tiny 1.0.0; 5 of 7 defective units found, POD at least")


def test_two_views_make_one_unit(tmp_path: Path) -> None:
    make_pair(tmp_path, ("body", "crimp"))
    for unit, (body, crimp) in enumerate([(GOOD, BRIGHT), (BRIGHT, GOOD), (GOOD, GOOD)]):
        put(tmp_path / "images" / "bright" / f"{unit}-body.png", picture(body))
        put(tmp_path / "images" / "bright" / f"{unit}-crimp.png", picture(crimp))
    assert evaluate(tmp_path, tmp_path / "images", "--json", str(tmp_path / "found.json")) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["detected"]["count"], found["detected"]["n"]) == (2, 3)
    assert [set(row["scores"]) for row in found["units"]] == [{"body", "crimp"}] * 3
    assert {name: model["n"] for name, model in found["models"].items()} == {"body": 3, "crimp": 3}
    assert (found["auroc"], found["false_reject"], found["good"]) == (None, None, 0)


def test_the_report_is_one_page_that_needs_nothing_else(world: Path, tmp_path: Path) -> None:
    where = tmp_path / "report"
    assert evaluate(world, world / "images", "--report", str(where)) == 0
    assert sorted(path.name for path in where.iterdir()) == ["evaluation.html", "evaluation.json"]
    page = (where / "evaluation.html").read_text()
    assert "<script" not in page
    assert "http" not in re.sub(r'base64,[^"]*|http-equiv', "", page)
    assert page.count("data:image/svg+xml;base64,") == 3
    assert page.count("data:image/png;base64,") == sum(map(len, FRAMES.values()))
    first = page.index("Defective units nearest to acceptance")
    misses = re.findall(r"<figcaption>(.*?)</figcaption>", page[first:])
    assert misses[0].startswith(("bright/2: accepted", "chip/0: accepted"))
    assert json.loads((where / "evaluation.json").read_text())["document"] == "evaluation"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report"]


def test_names_of_folders_and_files_are_text_in_the_report(world: Path, tmp_path: Path) -> None:
    put(tmp_path / "images" / "<b>&amp;" / "<i>'\".png", picture(BRIGHT))
    assert evaluate(world, tmp_path / "images", "--report", str(tmp_path / "report")) == 0
    page = (tmp_path / "report" / "evaluation.html").read_text()
    assert "<b>" not in page
    assert "<i>" not in page
    assert "&lt;b&gt;&amp;amp;/&lt;i&gt;&#x27;&quot;: rejected" in page


def test_an_interrupted_report_leaves_nothing(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(file: Path, content: bytes) -> None:
        file.write_bytes(content[:10])
        raise KeyboardInterrupt

    monkeypatch.setattr(report_folder, "write_durably", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(world, world / "images", "--report", str(tmp_path / "report"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--report", "{}"), "is there already; name a new folder"),
        (("--report", "{}/absent/report"), "absent: no such folder"),
        (("--json", "{}/absent/file.json"), "file.json: its folder is missing"),
    ],
)
def test_a_place_that_will_not_do_is_refused_before_the_work(world: Path, words: tuple[str, str], told: str) -> None:
    with pytest.raises(CommandFailed, match=re.escape(told)):
        evaluate(world, world / "no images at all", words[0], words[1].format(world))


def test_a_bundle_that_was_changed_is_not_loaded(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world, tmp_path / "world")
    flip(tmp_path / "world" / "bundle" / "tiny.onnx")
    with pytest.raises(SigningError, match=r"tiny\.onnx"):
        evaluate(tmp_path / "world", world / "images")
    with pytest.raises(SigningError, match="development"):
        evaluate(world, world / "images", "--production")


def test_a_recipe_for_another_bundle_is_refused(world: Path, tmp_path: Path) -> None:
    make_recipe(tmp_path / "recipe", make_bundle(tmp_path / "other", version="2.0.0"))
    with pytest.raises(CommandFailed, match=r"it is for bundle .* or name another with --recipe"):
        evaluate(world, world / "images", "--recipe", str(tmp_path / "recipe"))


def test_an_image_that_the_model_does_not_take_is_named(world: Path, tmp_path: Path) -> None:
    put(tmp_path / "good" / "0.png", picture()[:12])
    with pytest.raises(CommandFailed, match=r"0\.png: frame is 32 x 12"):
        evaluate(world, tmp_path)


def test_a_model_that_gives_no_number_is_not_evaluated(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "trust", tmp_path / "trust")
    graph = tiny_model()
    graph.graph.initializer[0].float_data[0] = math.nan
    make_bundle(tmp_path / "bundle", graph.SerializeToString(deterministic=True))
    with pytest.raises(CommandFailed, match=r"0\.png: model 'side' gave a score that is not a number"):
        evaluate(tmp_path, world / "images")


def test_progress_counts_units(world: Path) -> None:
    subject = open_subject(world / "bundle", None, world / "trust", production=False)
    units = find_units(world / "images", list(subject.views))
    steps: list[tuple[int, int]] = []
    run(subject, units, lambda done, total: steps.append((done, total)))
    assert steps == [(done, len(units)) for done in range(len(units) + 1)]


def test_log_odds_are_finite_and_rise() -> None:
    odds = [log_odds(score) for score in (0.0, 1e-9, 0.2, 0.5, 0.8, 1 - 1e-9, 1.0)]
    assert np.isfinite(odds).all()
    assert odds == sorted(odds)
    assert odds[3] == 0.0


def test_for_a_bundle_that_knows_anomalies_alone_every_folder_but_good_is_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_anomaly_pair(tmp_path)
    put(tmp_path / "images" / "good" / "0.png", picture(GOOD))
    for name in ("crack", "fibre"):
        put(tmp_path / "images" / name / "0.png", picture(BRIGHT))
    assert evaluate(tmp_path, tmp_path / "images", "--json", str(tmp_path / "found.json")) == 0
    printed = capsys.readouterr().out
    assert "no unit shows" not in printed
    assert "*" not in printed
    assert "taken for" not in printed
    found = json.loads((tmp_path / "found.json").read_text())
    assert [(one["class"], one["known"], one["named"]) for one in found["classes"]] == [
        ("crack", False, {"anomaly": 1}),
        ("fibre", False, {"anomaly": 1}),
    ]
    shutil.rmtree(tmp_path / "images" / "crack")
    shutil.rmtree(tmp_path / "images" / "fibre")
    assert evaluate(tmp_path, tmp_path / "images") == 0
    assert "no unit shows: anomaly" in capsys.readouterr().out
