"""What collection leaves in the store, and why. Pure."""

from collections.abc import Mapping

from msgspec import structs

from signing.index import Kind
from signing.store_state import StoreState

NEWEST = 2


def kept(state: StoreState, needed: Mapping[str, str]) -> dict[str, str]:
    """Return every digest that stays and the first reason why.

    Args:
        needed: digest -> reason, of what batches on record still need.
    """
    why: dict[str, str] = {}
    for name, number in (("active", state.active), ("staged", state.staged), ("previous", state.previous)):
        if number:
            one = state.generations[number]
            for digest in (one.bundle, one.recipe):
                why.setdefault(digest, f"generation {number} is {name}")
    for digest, pin in state.pins.items():
        why.setdefault(digest, f"pinned by {pin.who}: {pin.why}")
    for digest, reason in needed.items():
        if digest in state.installed:
            why.setdefault(digest, reason)
    for kind in Kind:
        of_kind = [digest for digest, one in state.installed.items() if one.kind is kind]
        for digest in sorted(of_kind, key=lambda digest: state.installed[digest].order)[-NEWEST:]:
            why.setdefault(digest, f"one of the {NEWEST} newest {kind}s")
    for recipe in [digest for digest in why if state.installed[digest].bundle in state.installed]:
        why.setdefault(state.installed[recipe].bundle, f"recipe {recipe[:12]} is for it")
    return why


def without_others(state: StoreState, keep: Mapping[str, str]) -> StoreState:
    """Return the state with nothing in it but what is kept; the files of the rest are garbage then."""
    generations = {
        number: one for number, one in state.generations.items() if one.bundle in keep and one.recipe in keep
    }
    installed = {digest: one for digest, one in state.installed.items() if digest in keep}
    return structs.replace(state, installed=installed, generations=generations)


def blobs_of(state: StoreState) -> set[str]:
    """Return the digests of all files of what is installed."""
    return {sha256 for one in state.installed.values() for sha256 in one.files.values()}


def trusts_of(state: StoreState) -> set[str]:
    """Return the trust documents that something was verified against, and the current one."""
    used = {one.trust for one in state.installed.values()} | {one.trust for one in state.generations.values()}
    return used | {state.trust}
