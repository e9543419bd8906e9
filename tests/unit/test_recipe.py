"""Recipes: strict to read, and admitted only beside the bundle and the cameras they were made for."""

from pathlib import Path
from typing import Any

import pytest

from daemon.recipe import Recipe, RecipeRefused, admit, read_recipe
from daemon.units import Channel, ViewKey
from daemon.vision.judging import Limit
from daemon.vision.pipeline import rules_of
from signing.errors import DocumentInvalid
from signing.keyring import load_trust
from signing.sealed import open_directory
from signing.trust import Trust
from signing.verify import VerifiedBundle, verify, verify_recipe
from tests.vectors import bundle_1

EVIDENCE = {"set_id": "V-1", "n": 100, "bound": 0.03, "owner": "Anna Berg"}


@pytest.fixture(scope="module")
def trust() -> Trust:
    return load_trust(bundle_1.ROOT / "trust", production=False)


@pytest.fixture(scope="module")
def bundle(trust: Trust) -> VerifiedBundle:
    with open_directory(bundle_1.ROOT / "bundle") as fd:
        return verify(fd, trust)


def recipe(tmp_path: Path, trust: Trust, bundle: VerifiedBundle, /, **changes: Any) -> Recipe:
    bundle_1.make_recipe(tmp_path / "recipe", bundle.digest, **changes)
    with open_directory(tmp_path / "recipe") as fd:
        return read_recipe(verify_recipe(fd, trust))


def view(**changes: Any) -> dict[str, Any]:
    return {**bundle_1.recipe_description("")["views"][0], **changes}


def limits(low: float, high: float, *names: str) -> dict[str, Any]:
    return {name: {"accept_below": low, "reject_from": high, "evidence": EVIDENCE} for name in names}


def without(key: str) -> dict[str, Any]:
    less = {name: value for name, value in EVIDENCE.items() if name != key}
    return limits(0.5, 0.5, "bright", "grey") | {"grey": {"accept_below": 0.5, "reject_from": 0.5, "evidence": less}}


def test_a_fitting_recipe_is_admitted(tmp_path: Path, trust: Trust, bundle: VerifiedBundle) -> None:
    read = recipe(tmp_path, trust, bundle)
    admit(read, bundle, [ViewKey("side")])
    rules = rules_of(read)
    assert rules.limits == {ViewKey("side"): {name: Limit(0.4, 0.6) for name in bundle_1.CLASSES}}
    assert rules.channels == {"bright": Channel.CRITICAL, "grey": Channel.COSMETIC}


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"surprise": 1}, "unknown field `surprise`"),
        ({"max_latency_ms": 121.0}, "max_latency_ms"),
        ({"max_latency_ms": 0.0}, "max_latency_ms"),
        ({"evidence_share": 1.5}, "evidence_share"),
        ({"views": []}, "$.views"),
        ({"channels": {"bright": "none"}}, "channels"),
        ({"views": [view(limits=limits(0.0, 0.5, "bright", "grey"))]}, "accept_below"),
        ({"views": [view(limits=limits(0.5, 1.0, "bright", "grey"))]}, "reject_from"),
        ({"views": [view(limits=limits(0.5, 0.5, "bright", "grey") | {"grey": {"accept_below": 0.5}})]}, "missing"),
        ({"views": [view(limits=without("set_id"))]}, "missing required field `set_id`"),
        ({"views": [view(limits=without("n"))]}, "missing required field `n`"),
        ({"views": [view(limits=without("bound"))]}, "missing required field `bound`"),
        ({"views": [view(limits=without("owner"))]}, "missing required field `owner`"),
        ({"container": ""}, "$.container"),
        ({"format": 0}, "format 0 is no longer accepted"),
        ({"format": 2}, "format"),
    ],
)
def test_what_format_1_does_not_know_is_refused(
    tmp_path: Path, trust: Trust, bundle: VerifiedBundle, changes: dict[str, Any], shown: str
) -> None:
    with pytest.raises(DocumentInvalid) as caught:
        recipe(tmp_path, trust, bundle, **changes)
    assert shown in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"views": [view(), view()]}, "one view is listed twice"),
        ({"min_gap_mm": 50.0, "max_gap_mm": 50.0}, "min_gap_mm 50.0 is not below"),
        ({"views": [view(limits=limits(0.6, 0.5, "bright", "grey"))]}, "accept_below is above reject_from"),
        ({"bundle": "f" * 64}, "it is for bundle ffffffffffffffff"),
        ({"views": [view(camera="top")]}, "camera 'top' is not in the station file"),
        ({"views": [view(model="top")]}, "holds no model 'top'"),
        ({"views": [view(limits=limits(0.5, 0.5, "bright"))]}, "differ in grey"),
        ({"views": [view(limits=limits(0.5, 0.5, "bright", "grey", "more"))]}, "differ in more"),
        ({"channels": {"bright": "critical"}}, "class 'grey' has no channel"),
        ({"channels": {"bright": "cosmetic", "grey": "cosmetic"}}, "class 'bright' is critical in the bundle"),
        ({"views": [view(region=1)]}, "region 1"),
        ({"views": [view(), view(shot=1, model="other")]}, "two models"),
        ({"views": [view(), view(shot=1)]}, "shot 1 of camera 'side' is one that the recipe asks for"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, trust: Trust, bundle: VerifiedBundle, changes: dict[str, Any], shown: str
) -> None:
    with pytest.raises(RecipeRefused) as caught:
        admit(recipe(tmp_path, trust, bundle, **changes), bundle, [ViewKey("side")])
    assert shown in str(caught.value)
    assert "recipe tiny-recipe 1.0.0" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_shot_that_the_recipe_does_not_ask_for_is_refused(
    tmp_path: Path, trust: Trust, bundle: VerifiedBundle
) -> None:
    """A view more than the recipe's would keep every unit from being complete."""
    taken = [ViewKey("side"), ViewKey("side", 0, 1)]
    (tmp_path / "two").mkdir()
    admit(recipe(tmp_path / "two", trust, bundle, views=[view(), view(shot=1)]), bundle, taken)
    with pytest.raises(RecipeRefused, match="shot 1 of camera 'side' is one that the recipe does not ask for"):
        admit(recipe(tmp_path, trust, bundle), bundle, taken)
