"""What is evaluated: a verified bundle, the recipe whose limits apply, and the views of a unit. Nothing is loaded."""

from dataclasses import dataclass
from pathlib import Path

from daemon.recipe import Recipe, RecipeRefused, admit, read_recipe
from daemon.units import ViewKey
from daemon.vision.judging import Rules
from daemon.vision.plan import rules_of
from provisioning.errors import CommandFailed
from provisioning.places import recipe_beside
from signing.keyring import load_trust
from signing.manifest import RECIPE_DOCUMENT
from signing.sealed import open_directory
from signing.trust import Trust
from signing.verify import VerifiedBundle, verify, verify_recipe


class SubjectRefused(CommandFailed):
    """The recipe cannot be applied to the bundle; the text says why."""


@dataclass(frozen=True, slots=True)
class View:
    """One image of a unit: the name it has in file names, its key on the line, and the model that judges it."""

    name: str
    key: ViewKey
    model: str


@dataclass(frozen=True, slots=True)
class Applied:
    """A verified recipe that names the bundle; `digest` is the sha256 (hex) of recipe.json."""

    recipe: Recipe
    digest: str

    @property
    def rules(self) -> Rules:
        return rules_of(self.recipe)


@dataclass(frozen=True, slots=True)
class Subject:
    """A bundle and, where thresholds are to be applied, its recipe. `development`: signed with development keys."""

    bundle: VerifiedBundle
    applied: Applied | None
    development: bool

    @property
    def views(self) -> dict[str, View]:
        """The views of a unit by name: those of the recipe, without one those of the bundle's models."""
        if self.applied is None:
            return {name: View(name, ViewKey(name), name) for name in self.bundle.manifest.models}
        shown = [View(_named(view.key), view.key, view.model) for view in self.applied.recipe.views]
        return {view.name: view for view in shown}


def open_subject(bundle: Path, recipe: Path | None, trust_store: Path, *, production: bool) -> Subject:
    """Verify the bundle and the recipe, the one beside the bundle if none is named.

    Raises:
        SigningError: bundle, recipe or trust store are not what two people signed.
        SubjectRefused: the recipe does not fit the bundle.
    """
    trust = load_trust(trust_store, production=production)
    with open_directory(bundle) as fd:
        verified = verify(fd, trust)
    beside = recipe_beside(bundle)
    chosen = recipe or (beside if (beside / RECIPE_DOCUMENT).is_file() else None)
    return Subject(verified, _apply(chosen, verified, trust) if chosen else None, trust.development)


def _apply(directory: Path, bundle: VerifiedBundle, trust: Trust) -> Applied:
    with open_directory(directory) as fd:
        verified = verify_recipe(fd, trust)
    try:
        recipe = read_recipe(verified)
        admit(recipe, bundle, {view.key for view in recipe.views})
    except RecipeRefused as error:
        raise SubjectRefused(f"{directory}: {error}, or name another with --recipe") from error
    return Applied(recipe, verified.digest)


def _named(key: ViewKey) -> str:
    return f"{key.camera}.{key.shot}" if key.shot else key.camera
