"""`linewarden sim --shadow DIR`: the station file that it writes, and what it says of a DIR that is no pair."""

from pathlib import Path

import pytest

from daemon.config import load
from provisioning import cli
from provisioning.simstation import Documents, Layout, prepare, station_text
from tests.vectors import bundle_1


def _documents(root: Path, candidate: tuple[Path, Path] | None) -> Documents:
    return Documents(*(root / name for name in ("bundle", "recipe", "trust", "other", "other-recipe")), candidate)


def test_the_station_file_names_a_candidate_only_where_there_is_one(tmp_path: Path) -> None:
    for candidate in (False, True):
        path = tmp_path / f"{candidate}.toml"
        path.write_text(station_text(1502, tmp_path, 600.0, Layout(), candidate=candidate))
        vision = load(path).vision
        assert (vision.candidate_bundle, vision.candidate_recipe) == (
            ("candidate-bundle", "candidate-recipe") if candidate else ("", "")
        )


def test_the_run_folder_links_the_candidate(tmp_path: Path) -> None:
    digest = bundle_1.make_bundle(tmp_path / "new")
    bundle_1.make_recipe(tmp_path / "new-recipe", digest)
    run = prepare(_documents(tmp_path, (tmp_path / "new", tmp_path / "new-recipe")), tmp_path / "run", 600.0, Layout())
    try:
        vision = load(run.station).vision
        assert (run.folder / vision.candidate_bundle / "bundle.json").is_file()
        assert (run.folder / vision.candidate_recipe / "recipe.json").is_file()
    finally:
        (run.folder / "run").unlink()
        for path in sorted(run.runtime.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        run.runtime.rmdir()


def test_a_folder_that_is_no_pair_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sim", "--units", "10", "--shadow", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "bundle.json is missing" in line
