"""`linewarden recipe admit` and `linewarden station check`: the arithmetic of a recipe on this machine."""

from dataclasses import dataclass
from pathlib import Path

from daemon.config import Station, load, resolve
from daemon.line.admission import Demands, Line, arithmetic
from daemon.recipe import Recipe, RecipeRefused, read_recipe
from provisioning.bundles import BundleRefused
from signing.errors import SigningError
from signing.keyring import load_trust
from signing.sealed import open_directory
from signing.verify import verify_recipe


@dataclass(frozen=True, slots=True)
class Checked:
    """What was compared: one recipe with one station."""

    station: Station
    recipe: Recipe
    lines: list[Line]

    @property
    def fits(self) -> bool:
        return all(line.fits for line in self.lines)


def check(station_path: Path, recipe: Path | None, trust: Path | None, worst_ms: float | None) -> Checked:
    """Compare a recipe with a station; what is not named is what the station document names.

    Raises:
        ConfigError: the station document cannot be used.
        BundleRefused: the recipe is not one this device would load.
    """
    station = load(station_path)
    directory = recipe or resolve(station_path, station.vision.recipe)
    found = _recipe(directory, trust or resolve(station_path, station.vision.trust), station.production)
    worst = station.worst_latency_ms if worst_ms is None else worst_ms
    return Checked(station, found, arithmetic(station, Demands(found.max_latency_ms, found.min_gap_mm, worst)))


def text(checked: Checked) -> str:
    """Return the arithmetic as a person reads it."""
    verdict = "fits" if checked.fits else "does not fit"
    head = f"recipe {checked.recipe.name} {checked.recipe.version} {verdict} station {checked.station.name}"
    return "\n".join([head, *(f"  {'ok ' if line.fits else 'NO '} {line.text}" for line in checked.lines)])


def _recipe(directory: Path, trust_store: Path, production: bool) -> Recipe:
    try:
        with open_directory(directory) as fd:
            return read_recipe(verify_recipe(fd, load_trust(trust_store, production=production)))
    except (SigningError, RecipeRefused) as error:
        raise BundleRefused(str(error)) from error
