"""The demo documents as `make setup` builds them: signed, admitted together, loadable, and the same again next time."""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from daemon.recipe import RecipeRefused, admit, read_recipe
from daemon.units import ViewKey
from demo.build_bundle import UNSCORED, build
from engines.engine import allocate
from engines.golden import check_golden
from engines.heads import decode
from engines.load import load
from signing.errors import DevelopmentKeyRefused
from signing.keyring import load_trust
from signing.sealed import open_directory
from signing.verify import VerifiedBundle, VerifiedRecipe, verify, verify_recipe

CAMERAS = {"body": (1024, 1280), "crimp": (480, 640)}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo")
    build(out, UNSCORED)
    return out


def pair(demo: Path, suffix: str = "") -> tuple[VerifiedBundle, VerifiedRecipe]:
    trust = load_trust(demo / "trust", production=False)
    with open_directory(demo / f"bundle{suffix}") as bundle, open_directory(demo / f"recipe{suffix}") as recipe:
        return verify(bundle, trust), verify_recipe(recipe, trust)


@pytest.mark.parametrize("suffix", ["", "-other"])
def test_bundle_and_recipe_fit_each_other_and_run(demo: Path, suffix: str) -> None:
    bundle, verified = pair(demo, suffix)
    recipe = read_recipe(verified)
    admit(recipe, bundle, [ViewKey(name) for name in CAMERAS])
    assert {view.camera for view in recipe.views} == set(CAMERAS)
    for view in recipe.views:
        engine = load(bundle, view.model)
        out = allocate(engine.outputs)
        engine.infer(np.full(CAMERAS[view.camera], 128, np.uint8), out)
        engine.close()
        scores = decode(bundle.manifest.models[view.model], out)
        assert set(scores) == set(view.limits)
        assert all(0.0 <= score <= 1.0 for score in scores.values())


def digests(demo: Path) -> list[str]:
    return [signed.digest for suffix in ("", "-other") for signed in pair(demo, suffix)]


def test_the_golden_set_holds_here_and_covers_every_model(demo: Path) -> None:
    bundle, _ = pair(demo)
    assert check_golden(bundle) == []
    cases = bundle.manifest.golden.cases
    assert {case.model for case in cases} == set(bundle.manifest.models)
    assert any(score > 0.5 for case in cases for score in case.scores.values())


def test_the_sbom_names_what_is_installed(demo: Path) -> None:
    bundle, _ = pair(demo)
    sbom = json.loads(bundle.files[bundle.manifest.sbom].bytes())
    listed = {part["name"]: part["version"] for part in sbom["components"]}
    assert {name: listed[name] for name in ("onnx", "onnxruntime")} == {
        name: version(name) for name in ("onnx", "onnxruntime")
    }
    assert list(listed) == sorted(listed)


def test_the_two_people_are_named(demo: Path) -> None:
    for signed in pair(demo):
        assert [approval.printed_name for approval in signed.approvals] == ["Anna Berg", "Jonas Weber"]


def test_the_pairs_do_not_mix(demo: Path) -> None:
    with pytest.raises(RecipeRefused, match="it is for bundle"):
        admit(read_recipe(pair(demo)[1]), pair(demo, "-other")[0], [ViewKey(name) for name in CAMERAS])


def test_a_second_build_keeps_keys_and_digests(demo: Path) -> None:
    before, keys = digests(demo), (demo / "trust" / "trust.json").read_bytes()
    build(demo, UNSCORED)
    assert (digests(demo), (demo / "trust" / "trust.json").read_bytes()) == (before, keys)
    assert sorted(path.name for path in demo.iterdir()) == ["bundle", "bundle-other", "recipe", "recipe-other", "trust"]


def test_production_refuses_the_demo_keys(demo: Path) -> None:
    with pytest.raises(DevelopmentKeyRefused):
        load_trust(demo / "trust", production=True)
