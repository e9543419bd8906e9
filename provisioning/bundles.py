"""What `linewarden bundle verify DIR` does: the same checks as `vision` before it loads, without loading."""

from pathlib import Path

from daemon.recipe import RecipeRefused, read_recipe
from signing.errors import DocumentInvalid, SigningError
from signing.keyring import load_trust
from signing.manifest import BUNDLE_DOCUMENT
from signing.sealed import open_directory
from signing.trust import Trust
from signing.verify import RECIPE_DOCUMENT, verify, verify_recipe


class BundleRefused(Exception):
    """The directory is not a bundle or recipe this device would load; the text is the one line to show."""


def verify_directory(directory: Path, trust_store: Path, *, production: bool) -> str:
    """Check the signed bundle or recipe in `directory` and return one line that says what it is.

    Raises:
        BundleRefused: whatever is wrong with it or with the trust store.
    """
    try:
        trust = load_trust(trust_store, production=production)
        found = _describe_recipe if (directory / RECIPE_DOCUMENT).is_file() else _describe_bundle
        return f"{found(directory, trust)}{' (development keys)' if trust.development else ''}"
    except (SigningError, RecipeRefused) as error:
        raise BundleRefused(str(error)) from error


def _describe_bundle(directory: Path, trust: Trust) -> str:
    with open_directory(directory) as fd:
        bundle = verify(fd, trust)
    manifest = bundle.manifest
    models = ", ".join(f"{name} ({len(model.classes)} classes)" for name, model in manifest.models.items())
    return (
        f"bundle {manifest.name} {manifest.version}: signed by qa and release, whole; models {models}; {bundle.digest}"
    )


def _describe_recipe(directory: Path, trust: Trust) -> str:
    with open_directory(directory) as fd:
        verified = verify_recipe(fd, trust)
    try:
        recipe = read_recipe(verified)
    except DocumentInvalid as error:
        raise BundleRefused(f"{directory}: {error}") from error
    return (
        f"recipe {recipe.name} {recipe.version} for {recipe.product}: signed by qa and release; "
        f"{BUNDLE_DOCUMENT} {recipe.bundle[:16]}...; {verified.digest}"
    )
