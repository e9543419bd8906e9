"""What a bundle or recipe is, as people read it: the chain from signature to training run, and what differs in two.

Everything shown was verified first, against the trust document it was installed with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from daemon import revocations
from daemon.flat import flatten
from daemon.recipe import RecipeRefused, read_recipe
from daemon.revocations import RevocationsUnreadable
from provisioning.bundles import BundleRefused
from signing.approval import Approval
from signing.errors import SigningError
from signing.index import Kind
from signing.keyring import load_trust
from signing.manifest import RECIPE_DOCUMENT
from signing.sealed import open_directory
from signing.store import TRUST, TRUSTS, place_of, read_state
from signing.store_state import StoreState, entry_of, named
from signing.trust import Trust
from signing.verify import VerifiedBundle, verify, verify_recipe

SEEN = ("digest", "document", "format")


@dataclass(frozen=True, slots=True)
class Shown:
    """One verified bundle or recipe. `content` is what its document says, `story` how it came here."""

    kind: Kind
    digest: str
    content: Mapping[str, Any]
    people: Sequence[Mapping[str, str]]
    files: Mapping[str, str]
    story: Mapping[str, Any]

    def document(self) -> dict[str, Any]:
        """Return everything, for --json."""
        head = {"kind": self.kind.value, "digest": self.digest, "people": list(self.people)}
        return head | {"files": dict(self.files), "content": dict(self.content), "device": dict(self.story)}


def find(store: Path, subject: str, trust: Path | None) -> Shown:
    """Verify and describe what `subject` names: a folder, or something installed by digest or name.

    Raises:
        BundleRefused: it does not hold.
        SigningError: there is no store, or nothing of that name in it.
    """
    if Path(subject).is_dir():
        kind = Kind.RECIPE if (Path(subject) / RECIPE_DOCUMENT).is_file() else Kind.BUNDLE
        return _shown(Path(subject), kind, load_trust(trust or _current(store), production=False), {})
    state = read_state(store)
    digest = named(state, subject)
    entry = entry_of(state, digest)
    against = load_trust(trust or store / TRUSTS / entry.trust / TRUST, production=False)
    return _shown(place_of(store, entry.kind, digest), entry.kind, against, story(state, digest, revoked_of(store)))


def revoked_of(store: Path) -> dict[str, str]:
    """Return why, by digest, of what is revoked on this device.

    Raises:
        BundleRefused: it cannot be known.
    """
    try:
        return revocations.read(store.parent).by_digest()
    except RevocationsUnreadable as error:
        raise BundleRefused(str(error)) from error


def story(state: StoreState, digest: str, revoked: Mapping[str, str]) -> dict[str, Any]:
    """Return how something came into the store and what it is there."""
    entry = state.installed[digest]
    names = {"active": state.active, "staged": state.staged, "previous": state.previous}
    roles = [
        name
        for name, number in names.items()
        if number and digest in (state.generations[number].bundle, state.generations[number].recipe)
    ]
    generations = {
        str(number): f"{one.health}{f': {one.text}' if one.text else ''}"
        for number, one in state.generations.items()
        if digest in (one.bundle, one.recipe)
    }
    pin = state.pins.get(digest)
    return {
        "name": entry.name,
        "version": entry.version,
        "installed": entry.utc,
        "from": entry.source,
        "metadata": list(entry.versions),
        "trust": entry.trust,
        "is": roles,
        "generations": generations,
        "revoked": revoked.get(digest, ""),
        "pinned": f"{pin.who}, {pin.utc}: {pin.why}" if pin else "",
    }


def text(shown: Shown) -> str:
    """Return the chain as a person reads it, from who signed back to the training run."""
    content = shown.content
    lines = [f"{shown.kind} {content['name']} {content['version']}", f"  digest    {shown.digest}"]
    for one in shown.people:
        lines.append(f"  {one['role']:<9} {one['printed_name']}, {one['utc']}: {one['meaning']}; {one['reason']}")
        lines.append(f"            key {one['key_id'][:16]}, over {shown.kind}.json and {len(shown.files)} files")
    if shown.kind is Kind.BUNDLE:
        lines += _training(content)
    else:
        lines += [f"  product   {content['product']}, {content['container']}", f"  bundle    {content['bundle']}"]
    for key, value in shown.story.items():
        if value and key not in ("name", "version"):
            lines.append(f"  {key:<9} {_plain(value)}")
    return "\n".join(lines)


def differences(one: Shown, other: Shown) -> list[tuple[str, str, str]]:
    """Return (what, in the first, in the second) of everything that differs: models, thresholds, codes, people."""
    first, second = _comparable(one), _comparable(other)
    keys = [key for key in dict.fromkeys([*first, *second]) if first.get(key) != second.get(key)]
    return [(key, str(first.get(key, "-")), str(second.get(key, "-"))) for key in keys]


def _shown(place: Path, kind: Kind, trust: Trust, told: Mapping[str, Any]) -> Shown:
    try:
        with open_directory(place) as fd:
            if kind is Kind.RECIPE:
                recipe = verify_recipe(fd, trust)
                content = msgspec.to_builtins(read_recipe(recipe))
                return Shown(kind, recipe.digest, content, _people(recipe.approvals), {}, told)
            bundle = verify(fd, trust)
    except (SigningError, RecipeRefused) as error:
        raise BundleRefused(str(error)) from error
    return Shown(kind, bundle.digest, _content(bundle), _people(bundle.approvals), _files(bundle), told)


def _content(bundle: VerifiedBundle) -> dict[str, Any]:
    content: dict[str, Any] = msgspec.to_builtins(bundle.manifest)
    return content


def _files(bundle: VerifiedBundle) -> dict[str, str]:
    return {name: file.sha256 for name, file in sorted(bundle.files.items())}


def _people(approvals: Sequence[Approval]) -> list[dict[str, str]]:
    keys = ("role", "printed_name", "key_id", "meaning", "utc", "reason")
    return [{key: str(getattr(one, key)) for key in keys} for one in approvals]


def _training(content: Mapping[str, Any]) -> list[str]:
    training = content["training"]
    metrics = ", ".join(f"{name} {value:g}" for name, value in training["metrics"].items())
    models = ", ".join(f"{name} ({len(one['classes'])} classes)" for name, one in content["models"].items())
    lines = [
        f"  models    {models}",
        f"  training  commit {training['code_commit']}, seed {training['seed']}; {metrics}",
        f"  dataset   {training['dataset_sha256']}",
        f"  golden    {len(content['golden']['cases'])} cases, tolerance {content['golden']['tolerance']:g}",
        f"  SBOM      {content['sbom']}",
    ]
    return lines + [f"  evidence  {one['id']}: {one['what']} ({one['sha256'][:16]})" for one in content["evidence"]]


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} {item}" for key, item in value.items())
    return ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)


def _comparable(shown: Shown) -> dict[str, Any]:
    content = {key: value for key, value in shown.content.items() if key not in (*SEEN, "files")}
    people = {one["role"]: {key: one[key] for key in ("printed_name", "utc", "reason")} for one in shown.people}
    return flatten("", {"digest": shown.digest, "people": people, **content, "files": dict(shown.files)})


def _current(store: Path) -> Path:
    return store / TRUSTS / read_state(store).trust / TRUST
