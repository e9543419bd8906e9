"""A fleet of three people with PEM keys, driven by its command line in this process, and a device that reads it."""

import copy
import io
import json
import shutil
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fleet import cli
from fleet.repository import RepositoryBuilder
from signing.fetchers import FileFetcher
from signing.floor import FileFloor, Versions
from signing.freshness import Place, Repository, enrol_place, open_repository
from signing.permission import (
    LARGEST_BYTES,
    REVOKED_PATH,
    ROLLOUT_PATH,
    Decision,
    Documents,
    Pair,
    allowlist_path,
    decide,
    read_allowlist,
    read_revoked,
    read_rollouts,
)
from tests.vectors import bundle_1

ANNA, JONAS, CARLA = "Anna Berg", "Jonas Weber", "Carla Ruiz"
PEOPLE = {ANNA: "qa", JONAS: "release", CARLA: "root"}
FILES = {"tiny.onnx": "tiny.onnx", "golden.png": "golden.png", "sbom.cdx.json": "sbom.cdx.json"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What one command did."""

    status: int
    out: str
    error: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


def run(*arguments: object) -> Answer:
    """Run one command in this process."""
    out, error = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(error):
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as left:
            status = int(left.code or 0)
    return Answer(status, out.getvalue(), error.getvalue())


def done(*arguments: object) -> Answer:
    """Run one command that must work out."""
    answer = run(*arguments)
    assert answer.status == 0, answer.error
    return answer


class World:
    """One founded fleet, nothing published yet."""

    def __init__(self, folder: Path, people: Mapping[str, str] = PEOPLE) -> None:
        self.folder, self.fleet = folder, folder / "fleet"
        words = []
        for name, duty in people.items():
            self.key(name)
            words += ["--person", f"{name},{duty},{self.uri(name)}"]
        done("init", self.fleet, *words, "--yes")

    def copy(self, folder: Path) -> "World":
        """Return the same fleet in another folder; keys and sources stay where they are."""
        copied = copy.copy(self)
        copied.fleet = folder
        shutil.copytree(self.fleet, folder)
        return copied

    def uri(self, name: str) -> str:
        return f"file:{self.folder / name.split(maxsplit=1)[0].lower()}.pem"

    def key(self, name: str) -> None:
        done("key", "new", self.uri(name), "--fleet", self.folder, "--yes")

    def run(self, *arguments: object) -> Answer:
        return run(*arguments, "--fleet", self.fleet, "--yes")

    def done(self, *arguments: object) -> Answer:
        return done(*arguments, "--fleet", self.fleet, "--yes")

    @property
    def public(self) -> Path:
        return RepositoryBuilder(self.fleet / "repository").public

    def spec(self, **changed: object) -> Path:
        """Write the sources of a bundle and its TOML file; None takes a key out."""
        graph = bundle_1.tiny_model().SerializeToString(deterministic=True)
        sources = {"tiny.onnx": graph, "golden.png": bundle_1.golden_png(), "sbom.cdx.json": bundle_1.SBOM}
        for name, raw in sources.items():
            (self.folder / name).write_bytes(raw)
        found = {**bundle_1.bundle_description(), "files": FILES, **changed}
        return self._toml(self.folder / "bundle.toml", {key: one for key, one in found.items() if one is not None})

    def _toml(self, path: Path, found: Mapping[str, Any]) -> Path:
        lines = []
        for key, value in found.items():
            if isinstance(value, dict | list) and key != "files":
                (self.folder / f"{key}.json").write_text(json.dumps(value))
                lines.append(f'{key} = "@{key}.json"')
            elif key != "files":
                lines.append(f"{key} = {json.dumps(value)}")
        table = [f"{json.dumps(name)} = {json.dumps(place)}" for name, place in found.get("files", {}).items()]
        path.write_text("\n".join([*lines, "[files]", *table] if table else lines))
        return path

    def sign(self, directory: Path) -> None:
        for name, role in ((ANNA, "qa"), (JONAS, "release")):
            self.done("sign", directory, "--role", role, "--as", name, "--reason", "VAL-1")

    def built(self, version: str, **changed: object) -> tuple[Pair, Path, Path]:
        """Build and sign a bundle and its recipe."""
        bundle, recipe = self.folder / f"bundle-{version}", self.folder / f"recipe-{version}"
        one = self.done("bundle", "build", self.spec(version=version, **changed), bundle, "--json").document["digest"]
        spec = self._toml(self.folder / "recipe.toml", {**bundle_1.recipe_description(one), "version": version})
        other = self.done("recipe", "build", spec, recipe, "--json").document["digest"]
        self.sign(bundle)
        self.sign(recipe)
        return Pair(one, other), bundle, recipe

    def published(self, version: str) -> Pair:
        """Build, sign and publish a pair."""
        pair, bundle, recipe = self.built(version)
        self.done("publish", bundle, recipe)
        return pair


class Reader:
    """A device that reads the fleet's files, by TUF and with a floor."""

    def __init__(self, folder: Path, world: World) -> None:
        folder.mkdir()
        self._place, self._floor = Place(folder / "place"), FileFloor(folder / "floor.json")
        (folder / "place").mkdir()
        enrol_place(self._place, (world.public / "metadata" / "1.root.json").read_bytes())
        self._floor.enrol(Versions(1, 1, 1))
        self._source = world.public

    def open(self, source: Path | None = None) -> Repository:
        now = datetime.now(UTC) + timedelta(seconds=1)
        return open_repository(self._place, FileFetcher(source or self._source), self._floor, now)

    def decide(self, line: str, device: str = "device-1", source: Path | None = None) -> Decision:
        repository = self.open(source)
        raw = [repository.document(path, LARGEST_BYTES) for path in (allowlist_path(line), REVOKED_PATH, ROLLOUT_PATH)]
        listed, revoked, rollouts = raw
        return decide(
            device,
            line,
            Documents(
                read_allowlist(listed, line) if listed else None,
                read_revoked(revoked) if revoked else None,
                read_rollouts(rollouts) if rollouts else None,
            ),
        )
