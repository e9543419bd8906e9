"""Where things lie: this checkout or the installed release, the running device, the run folders of the simulator."""

import shutil
import sys
from pathlib import Path

from provisioning.errors import CommandFailed
from signing.manifest import BUNDLE_DOCUMENT, RECIPE_DOCUMENT

CHECKOUT = Path(__file__).resolve().parent.parent
INSTALLED_STATION = Path("/etc/linewarden/station.toml")
INSTALLED_RUNTIME = Path("/run/linewarden")
INSTALLED_STATE = Path("/var/lib/linewarden")
STATE, LEDGER = "state", "ledger.sqlite"
KEPT_RUNS = 6


class PlaceError(CommandFailed):
    """Something that should be there is not; the text names it and the command that makes it."""


def in_checkout() -> bool:
    """True where this code runs from a source checkout, which alone can simulate."""
    return (CHECKOUT / "setup.cfg").exists() and (CHECKOUT / "Makefile").exists()


def unit_files() -> Path:
    """Return the folder of the shipped systemd unit files."""
    return CHECKOUT / "systemd" if in_checkout() else _share("systemd")


def working() -> Path:
    """Return the git-ignored folder for everything that running leaves behind.

    Raises:
        PlaceError: not a checkout.
    """
    if not in_checkout():
        raise PlaceError("simulation needs a source checkout with its set-up done: clone it and run `make setup`")
    return CHECKOUT / "var"


def current_runtime() -> Path:
    """Return the link that a running simulation leaves for `status` and `why`."""
    return CHECKOUT / "var" / "run" / "current"


def recipe_beside(bundle: Path) -> Path:
    """Return where the recipe of a bundle lies that has one of its own name beside it; it need not be there."""
    whole = bundle.absolute()
    return whole.with_name(whole.name.replace("bundle", "recipe"))


def pair_at(folder: Path) -> tuple[Path, Path]:
    """Return the folders of a bundle and of the recipe beside it.

    `folder` is the bundle, with a recipe of the same name but for that word beside it, or holds `bundle` and `recipe`.

    Raises:
        PlaceError: there is no such pair.
    """
    bundle = folder / "bundle" if (folder / "bundle").is_dir() else folder
    recipe = recipe_beside(bundle)
    for path, document in ((bundle, BUNDLE_DOCUMENT), (recipe, RECIPE_DOCUMENT)):
        if not (path / document).is_file():
            raise PlaceError(f"{path / document} is missing: name a bundle with its recipe beside it")
    return bundle.resolve(), recipe.resolve()


def find_runtime(named: Path | None) -> Path:
    """Return the runtime folder of the device that runs here.

    The path is resolved: a socket's path must stay short, a link to it may be long.

    Raises:
        PlaceError: nothing runs here.
    """
    candidates = [named] if named else [current_runtime(), INSTALLED_RUNTIME]
    for candidate in candidates:
        if (candidate / "line.sock").exists():
            return candidate.resolve()
    where = " or ".join(str(candidate) for candidate in candidates)
    raise PlaceError(f"no running line under {where}: start the device, `linewarden sim`, or name it with --runtime")


def find_station(named: Path | None) -> Path:
    """Return the station file to read: the named one, the running simulation's, the installed one.

    Raises:
        PlaceError: none of them exists.
    """
    candidates = [named] if named else [current_runtime() / "station.toml", INSTALLED_STATION]
    for candidate in candidates:
        if candidate.exists():
            return candidate.resolve()
    where = " or ".join(str(candidate) for candidate in candidates)
    raise PlaceError(f"no station file at {where}: name one with --station")


def find_state(named: Path | None) -> Path:
    """Return the state folder whose ledger is to be read: the named one (a run folder will do), that of the running
    simulation or device, that of the newest kept simulation, the installed one.

    Raises:
        PlaceError: no ledger in any of them.
    """
    candidates = [named, named / STATE] if named else _known_states()
    for candidate in candidates:
        if (candidate / LEDGER).exists():
            return candidate.resolve()
    where = f" under {named}" if named else ", no simulation was run here and nothing is installed"
    raise PlaceError(f"no ledger{where}: run `linewarden sim`, or name a state folder with --state")


def station_of(state: Path) -> Path | None:
    """Return the station file of the device whose state folder this is, None where there is none."""
    candidates = (state.parent / "station.toml", *((INSTALLED_STATION,) if state == INSTALLED_STATE else ()))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def interfaces() -> Path:
    """Return the folder of the published interfaces and of the verifier."""
    return CHECKOUT / "docs" / "interfaces" if in_checkout() else _share("interfaces")


def _known_states() -> list[Path]:
    running = current_runtime() / "station.toml"
    found = [running.resolve().parent / STATE] if running.exists() else []
    if (INSTALLED_RUNTIME / "line.sock").exists():
        found.append(INSTALLED_STATE)
    runs = CHECKOUT / "var" / "sim"
    kept = [path for path in runs.iterdir() if path.name.isdecimal()] if runs.is_dir() else []
    found += [path / STATE for path in sorted(kept, key=lambda path: int(path.name), reverse=True)]
    return [*found, *(() if INSTALLED_STATE in found else (INSTALLED_STATE,))]


def new_run(keep: Path | None) -> Path:
    """Create and return an empty run folder; old ones of ours are removed, a kept one never is.

    Raises:
        PlaceError: `keep` exists and is not empty.
    """
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise PlaceError(f"{keep} is not empty: name a new folder with --keep")
        return keep.resolve()
    runs = working() / "sim"
    runs.mkdir(parents=True, exist_ok=True)
    numbers = sorted(int(path.name) for path in runs.iterdir() if path.name.isdecimal())
    for number in numbers[:-KEPT_RUNS]:
        shutil.rmtree(runs / str(number), ignore_errors=True)
    return _next_free(runs, numbers[-1] + 1 if numbers else 1)


def _next_free(runs: Path, number: int) -> Path:
    while True:
        path = runs / str(number)
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path


def _share(name: str) -> Path:
    return Path(sys.prefix) / "share" / "linewarden" / name
