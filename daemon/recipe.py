"""The recipe: what a product's units must look like, format 1 (docs/interfaces/recipe-format-1.md).

A recipe is read from a `VerifiedRecipe` only, and used only after `admit` found that it fits bundle and station.
"""

from collections.abc import Collection
from typing import Annotated, Literal

from msgspec import Meta, Struct

from daemon.units import Channel, StopRules, ViewKey
from signing.manifest import (
    RECIPE_DOCUMENT,
    BundleManifest,
    Name,
    Sentence,
    Sha256Hex,
    Share,
    Version,
    Word,
    strict_json,
)
from signing.verify import VerifiedBundle, VerifiedRecipe

LATEST_MS = 120.0

Threshold = Annotated[float, Meta(gt=0.0, lt=1.0)]
Mm = Annotated[float, Meta(gt=0.0, le=10_000.0)]


class RecipeRefused(Exception):
    """The recipe is signed and still cannot be used here; the text says why and what to do."""


class Evidence(Struct, frozen=True, forbid_unknown_fields=True):
    """What two limits rest on: the set of units, how many of the class were in it, what was shown, who answers for it.

    `bound` is the upper 95 % confidence bound of the share of defective units that would be accepted, 0 to 1.
    """

    set_id: Sentence
    n: Annotated[int, Meta(ge=1)]
    bound: Share
    owner: Sentence


class Limit(Struct, frozen=True, forbid_unknown_fields=True):
    """Scores of one class in one view: below `accept_below` good, from `reject_from` on a defect, between doubtful."""

    accept_below: Threshold
    reject_from: Threshold
    evidence: Evidence


class RecipeView(Struct, frozen=True, forbid_unknown_fields=True):
    """One look every unit must have had: whose frame, which model judges it, a limit per class of the model."""

    camera: Word
    model: Word
    limits: Annotated[dict[Word, Limit], Meta(min_length=1)]
    region: Annotated[int, Meta(ge=0, le=63)] = 0
    shot: Annotated[int, Meta(ge=0, le=63)] = 0

    @property
    def key(self) -> ViewKey:
        return ViewKey(self.camera, self.region, self.shot)


class Recipe(Struct, frozen=True, forbid_unknown_fields=True, tag_field="document", tag="recipe"):
    """The content of `recipe.json`.

    `container` is what the product is filled into: "2R vial". `bundle` is the sha256 (hex) of the bundle.json it was
    validated with. `window_ms` is W of the binding rule. Of accepted units every `sampling_every`-th is taken as a
    sample (0 = none) and the images of a share `evidence_share` are kept; images of units that are not accepted are
    always kept. `stops`: rows of equal results at which the line stops.
    """

    format: Literal[1]
    name: Name
    version: Version
    product: Sentence
    container: Sentence
    bundle: Sha256Hex
    views: Annotated[tuple[RecipeView, ...], Meta(min_length=1, max_length=64)]
    channels: dict[Word, Literal["critical", "cosmetic"]]
    max_latency_ms: Annotated[float, Meta(gt=0.0, le=LATEST_MS)]
    window_ms: Annotated[float, Meta(gt=0.0, le=100.0)]
    min_gap_mm: Mm
    max_gap_mm: Mm
    sampling_every: Annotated[int, Meta(ge=0, le=1_000_000)]
    evidence_share: Share
    stops: StopRules = StopRules()

    def channel_of(self, defect: str) -> Channel:
        return Channel(self.channels[defect])


def read_recipe(verified: VerifiedRecipe) -> Recipe:
    """Parse a recipe whose signatures hold.

    Raises:
        DocumentInvalid: not acceptable in format 1.
        RecipeRefused: its numbers contradict each other.
    """
    recipe = strict_json(verified.raw, Recipe, RECIPE_DOCUMENT)
    keys = [view.key for view in recipe.views]
    if len(set(keys)) != len(keys):
        raise _refusal(recipe, "one view is listed twice")
    if recipe.min_gap_mm >= recipe.max_gap_mm:
        raise _refusal(recipe, f"min_gap_mm {recipe.min_gap_mm} is not below max_gap_mm {recipe.max_gap_mm}")
    for view in recipe.views:
        for defect, limit in view.limits.items():
            if limit.accept_below > limit.reject_from:
                raise _refusal(recipe, f"view {view.camera}, class {defect}: accept_below is above reject_from")
    return recipe


def admit(recipe: Recipe, bundle: VerifiedBundle, taken: Collection[ViewKey]) -> None:
    """Refuse a recipe that does not fit the bundle it is loaded with or the views that are `taken` of a unit.

    Called by: `vision` at start, before any engine is loaded.

    Raises:
        RecipeRefused: naming the first thing that does not fit.
    """
    if recipe.bundle != bundle.digest:
        raise _refusal(recipe, f"it is for bundle {recipe.bundle[:16]}..., this is {bundle.digest[:16]}...")
    models: dict[str, str] = {}
    for view in recipe.views:
        if view.region:
            raise _refusal(recipe, f"view {view.camera}: region {view.region}; this release judges whole frames only")
        if models.setdefault(view.camera, view.model) != view.model:
            raise _refusal(recipe, f"camera '{view.camera}' has two models; this release loads one for each camera")
        if view.camera not in {key.camera for key in taken}:
            raise _refusal(recipe, f"camera '{view.camera}' is not in the station file")
        _admit_view(recipe, view, bundle.manifest)
    for key in sorted({view.key for view in recipe.views} ^ set(taken)):
        has = "does not ask for" if key in taken else "asks for and the station does not take"
        raise _refusal(recipe, f"shot {key.shot} of camera '{key.camera}' is one that the recipe {has}")


def _admit_view(recipe: Recipe, view: RecipeView, manifest: BundleManifest) -> None:
    model = manifest.models.get(view.model)
    if model is None:
        raise _refusal(recipe, f"bundle {manifest.name} holds no model '{view.model}'")
    if set(view.limits) != set(model.classes):
        odd = ", ".join(sorted(set(view.limits) ^ set(model.classes)))
        raise _refusal(recipe, f"view {view.camera}: limits and the model's classes differ in {odd}")
    for defect in model.classes:
        if defect not in recipe.channels:
            raise _refusal(recipe, f"class '{defect}' has no channel")
        if manifest.defects[defect].gravity == "critical" and recipe.channel_of(defect) is not Channel.CRITICAL:
            raise _refusal(recipe, f"class '{defect}' is critical in the bundle and has another channel here")


def _refusal(recipe: Recipe, text: str) -> RecipeRefused:
    return RecipeRefused(f"recipe {recipe.name} {recipe.version}: {text}; correct the recipe and sign it again")
