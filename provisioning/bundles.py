"""What `linewarden bundle verify DIR` does: the same checks as `vision` before it loads; with `golden` it loads too."""

from collections.abc import Sequence
from pathlib import Path

from daemon.recipe import RecipeRefused, read_recipe
from engines.errors import EngineError
from provisioning.errors import CommandFailed
from signing.approval import Approval
from signing.errors import DocumentInvalid, SigningError
from signing.keyring import load_trust
from signing.manifest import BUNDLE_DOCUMENT, RECIPE_DOCUMENT
from signing.sealed import open_directory
from signing.trust import Trust
from signing.verify import VerifiedBundle, verify, verify_recipe


class BundleRefused(CommandFailed):
    """The directory is not a bundle or recipe this device would load; the text is the one line to show."""


def verify_directory(directory: Path, trust_store: Path, *, production: bool, golden: bool = False) -> str:
    """Check the signed bundle or recipe in `directory` and return one line that says what it is and who signed it.

    `golden`: load the models of a bundle and run its golden set on this machine.

    Raises:
        BundleRefused: whatever is wrong with it or with the trust store.
    """
    try:
        trust = load_trust(trust_store, production=production)
        if (directory / RECIPE_DOCUMENT).is_file():
            found = _describe_recipe(directory, trust)
        else:
            found = _describe_bundle(directory, trust, golden=golden)
        return f"{found}{' (development keys)' if trust.development else ''}"
    except (SigningError, RecipeRefused, EngineError) as error:
        raise BundleRefused(str(error)) from error


def _describe_bundle(directory: Path, trust: Trust, *, golden: bool) -> str:
    with open_directory(directory) as fd:
        bundle = verify(fd, trust)
    manifest = bundle.manifest
    if golden:
        _require_golden(directory, bundle)
    models = ", ".join(f"{name} ({len(model.classes)} classes)" for name, model in manifest.models.items())
    ran = f"; {len(manifest.golden.cases)} golden cases hold here" if golden else ""
    return (
        f"bundle {manifest.name} {manifest.version}: signed by {_signers(bundle.approvals)}, whole; "
        f"models {models}{ran}; {bundle.digest}"
    )


def _require_golden(directory: Path, bundle: VerifiedBundle) -> None:
    from engines.golden import check_golden  # noqa: PLC0415 - loads the engine, which no other command needs

    if findings := check_golden(bundle):
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        raise BundleRefused(f"{directory}: golden set fails here: {findings[0]}{more}; do not use it on this machine")


def _signers(approvals: Sequence[Approval]) -> str:
    return " and ".join(f"{approval.printed_name} ({approval.role})" for approval in approvals)


def _describe_recipe(directory: Path, trust: Trust) -> str:
    with open_directory(directory) as fd:
        verified = verify_recipe(fd, trust)
    try:
        recipe = read_recipe(verified)
    except DocumentInvalid as error:
        raise BundleRefused(f"{directory}: {error}") from error
    return (
        f"recipe {recipe.name} {recipe.version} for {recipe.product}: signed by {_signers(verified.approvals)}; "
        f"{BUNDLE_DOCUMENT} {recipe.bundle[:16]}...; {verified.digest}"
    )
