"""What `linewarden status` says about the store: what is active, what is staged, where the version floor is kept."""

from pathlib import Path
from typing import Any

from daemon.config import Station
from daemon.store_requests import STORE
from signing.errors import SigningError
from signing.store import read_state
from signing.store_state import StoreState

WEAKER = "file, weaker than a TPM"


def document(station: Station, state: Path) -> dict[str, Any]:
    """Return the standing of the store for --json; empty where this device has none that can be read."""
    try:
        found = read_state(state / STORE)
    except SigningError:
        return {}
    floor = "tpm" if station.updates is not None and station.updates.identity == "tpm" else "file"
    return {
        "active": _generation(found, found.active),
        "previous": _generation(found, found.previous),
        "staged": _generation(found, found.staged),
        "waiting": found.waiting is not None,
        "pins": sorted(found.pins),
        "owed": len(found.owed),
        "floor": floor,
        "metadata": list(found.listing.versions) if found.listing else [],
    }


def text(standing: dict[str, Any]) -> str:
    """Return it as one line, "" where there is no store."""
    if not standing:
        return ""
    active, staged = standing["active"], standing["staged"]
    parts = [_told("generation", active) if active else "no bundle is active: activate one"]
    if staged:
        parts.append(_told("staged", staged) + (", active after this batch" if standing["waiting"] else ""))
    parts += [f"pinned {digest[:12]}" for digest in standing["pins"]]
    if standing["owed"]:
        parts.append(f"{standing['owed']} rows are not on record yet")
    parts.append(f"floor: {'TPM' if standing['floor'] == 'tpm' else WEAKER}")
    return "; ".join(parts)


def _told(word: str, one: dict[str, Any]) -> str:
    health = "" if one["health"] == "good" else f" ({one['health']})"
    return f"{word} {one['number']}{health}: bundle {one['bundle_name']}, recipe {one['recipe_name']}"


def _generation(state: StoreState, number: int) -> dict[str, Any] | None:
    if not number:
        return None
    one = state.generations[number]
    names = {
        f"{kind}_name": f"{state.installed[digest].name} {state.installed[digest].version}"
        for kind, digest in (("bundle", one.bundle), ("recipe", one.recipe))
    }
    return {"number": number, "health": one.health.value, "bundle": one.bundle, "recipe": one.recipe, **names}
