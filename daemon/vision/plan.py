"""What was verified and loaded, and the one way from a camera's pixels to scores. For thread `infer` and for replay."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from daemon.config import Camera, ConfigError, Region, Station, resolve
from daemon.messages import Loaded
from daemon.recipe import Recipe, admit, read_recipe
from daemon.views import views_of
from daemon.vision.judging import Limit, Rules
from daemon.vision.light import Light, Reading
from engines.canary import Canary
from engines.engine import Engine, Frame, Outputs, allocate
from engines.errors import EngineError
from engines.explanation import encode, explain
from engines.heads import decode
from engines.load import load as load_engine
from engines.plan_digest import plan_digest, processor
from engines.plan_shelf import Cleared, shelf_of
from signing.errors import SigningError
from signing.keyring import load_trust
from signing.manifest import Model
from signing.sealed import open_directory
from signing.trust import Trust
from signing.verify import VerifiedBundle, VerifiedRecipe, verify, verify_recipe

EXPLAIN_THEMSELVES = ("boxes", "mask")


@dataclass(frozen=True, slots=True)
class Looker:
    """The engine of one view, with the buffers it writes into; it serves the cameras of every lane in turn."""

    engine: Engine
    model: Model
    out: Outputs

    def seen(self, scores: Mapping[str, float]) -> "Seen | None":
        """Return a copy of what the engine gave last, if that explains anything."""
        if self.model.map is None and self.model.head not in EXPLAIN_THEMSELVES:
            return None
        return Seen(self.model, {name: np.array(values) for name, values in self.out.items()}, scores)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a model gave for one view, kept until it may have to be explained; `scores` are never empty."""

    model: Model
    out: Outputs
    scores: Mapping[str, float]

    def explanation(self, defect: str) -> bytes:
        """Return what speaks for a class (engines.explanation), for the strongest where none decided ("").

        b"" for a class that this model knows nothing of: its heat map would show the least cold place of a good view.
        """
        code = defect or max(self.scores, key=lambda name: self.scores[name])
        found = explain(self.model, self.out, code) if code in self.scores else None
        return encode(found) if found else b""


@dataclass(frozen=True, slots=True)
class Scored:
    """Class scores of one view; empty where there are none, and `fault` says why ("" = nobody judges this camera).

    `seen` is there where the model can explain itself.
    """

    scores: dict[str, float]
    fault: str = ""
    seen: Seen | None = None


@dataclass(frozen=True, slots=True)
class Folders:
    """Where bundle, recipe and trusted keys lie."""

    bundle: Path
    recipe: Path
    trust: Path

    def resolved(self) -> "Folders":
        """Return the same with every link followed."""
        return Folders(self.bundle.resolve(), self.recipe.resolve(), self.trust.resolve())


@dataclass(frozen=True, slots=True)
class Pair:
    """A bundle and a recipe that both people signed and that fit each other and the station; nothing is loaded.

    `trust` is what they were verified against, `store` the folder that the bundle's belongs to: there its plans lie.
    """

    bundle: VerifiedBundle
    verified: VerifiedRecipe
    recipe: Recipe
    trust: Trust
    store: Path

    @property
    def key(self) -> tuple[str, str]:
        return self.bundle.digest, self.verified.digest


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """`lookers` by view of the recipe, `looks` says which view each camera takes.

    `lights` by camera, where there is a reference patch; `regions` by camera, where a frame shows several units.
    `canary` asks the engines for their golden answers; `approvers`: ids of the keys that signed what was built.
    """

    loaded: Loaded
    recipe: Recipe
    lookers: Mapping[str, Looker]
    looks: Mapping[str, str]
    canary: Canary
    lights: Mapping[str, Light] = field(default_factory=dict)
    regions: Mapping[str, Sequence[Region]] = field(default_factory=dict)
    approvers: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """The digests of bundle and recipe."""
        return self.loaded.bundle, self.loaded.recipe

    def light(self, camera: str, frame: Frame) -> Reading | None:
        """Measure the light of a whole frame, (H, W) uint8; None where the camera has no patch."""
        light = self.lights.get(camera)
        return light.look(frame) if light else None

    def parts(self, camera: str, frame: Frame) -> list[Frame]:
        """Return what is judged of a frame: the frame itself, or one copy for each of its regions."""
        regions = self.regions.get(camera, ())
        return [np.array(frame[r.y : r.y + r.height, r.x : r.x + r.width]) for r in regions] or [frame]

    def scores(self, camera: str, part: Frame) -> Scored:
        """Run the model of the camera's view on one part, (H, W) uint8, rows contiguous."""
        looker_ = self.lookers.get(self.looks.get(camera, ""))
        if looker_ is None or not part.size:
            return Scored({})
        try:
            looker_.engine.infer(part, looker_.out)
        except EngineError as error:
            return Scored({}, str(error))
        scores = decode(looker_.model, looker_.out)
        if not all(math.isfinite(score) for score in scores.values()):
            return Scored({}, f"model {looker_.model.file} gave a score that is not a number")
        return Scored(scores, seen=looker_.seen(scores))

    def close(self) -> None:
        """Release the engines. Called once."""
        for used in self.lookers.values():
            used.engine.close()


def looker(engine: Engine, model: Model) -> Looker:
    """Return `engine` with its own buffers."""
    return Looker(engine, model, allocate(engine.outputs))


def rules_of(recipe: Recipe) -> Rules:
    """Return what `judging` needs of a recipe."""
    limits = {
        view.key: {name: Limit(limit.accept_below, limit.reject_from) for name, limit in view.limits.items()}
        for view in recipe.views
    }
    return Rules(limits, {name: recipe.channel_of(name) for name in recipe.channels})


def folders_of(station_path: Path, station: Station) -> Folders:
    """Return where the station file says that the documents lie."""
    named = station.vision
    return Folders(*(resolve(station_path, name) for name in (named.bundle, named.recipe, named.trust)))


def open_plan(station: Station, folders: Folders) -> Plan:
    """Verify bundle and recipe, then load and warm an engine per view; every lane must have a camera for each.

    Raises:
        ConfigError, SigningError, RecipeRefused, EngineError: each one line; nothing is loaded.
    """
    return load_pair(station, verify_pair(station, folders))


def verify_pair(station: Station, folders: Folders) -> Pair:
    """Verify bundle and recipe, and that they fit each other and the station; nothing is loaded.

    Raises:
        ConfigError, SigningError, RecipeRefused: each one line.
    """
    trust = load_trust(folders.trust, production=station.production)
    with open_directory(folders.bundle) as fd:
        bundle = verify(fd, trust)
    with open_directory(folders.recipe) as fd:
        verified = verify_recipe(fd, trust)
    recipe = read_recipe(verified)
    for lane in range(station.lanes):
        admit(recipe, bundle, views_of(station, lane))
    return Pair(bundle, verified, recipe, trust, folders.bundle.resolve().parent.parent)


def load_pair(station: Station, pair: Pair) -> Plan:
    """Load and warm an engine for each view of a pair, and see that it gives the golden answers.

    Raises:
        ConfigError, EngineError, SigningError: each one line; nothing is loaded.
    """
    bundle, recipe = pair.bundle, pair.recipe
    models = {view.camera: view.model for view in recipe.views}
    shelf = shelf_of(pair.store, station.name, station.vision.backend, pair.trust)
    cleared = {model: shelf.approved(bundle, model) for model in models.values()} if shelf else {}
    lookers, canary = _proven(bundle, models, cleared)
    looks = {camera.name: camera.look for camera in station.cameras}
    lights = {camera.name: _light(camera) for camera in station.cameras if camera.patch}
    regions = {camera.name: camera.regions for camera in station.cameras if camera.regions}
    digest = plan_digest({look: used.engine.info for look, used in lookers.items()}, processor())
    approvers = tuple(one.approval.key_id for one in cleared.values())
    return Plan(loaded_of(pair, digest, approvers), recipe, lookers, looks, canary, lights, regions, approvers)


def _proven(
    bundle: VerifiedBundle, models: Mapping[str, str], cleared: Mapping[str, Cleared]
) -> tuple[dict[str, Looker], Canary]:
    """Return a looker for each view by the name of its model, all of them right about their golden frames."""
    lookers: dict[str, Looker] = {}
    try:
        for look, model in models.items():
            lookers[look] = looker(load_engine(bundle, model, cleared.get(model)), bundle.manifest.models[model])
        return lookers, Canary(bundle, [(models[look], used.engine) for look, used in lookers.items()])
    except (EngineError, SigningError):
        for used in lookers.values():
            used.engine.close()
        raise


def _light(camera: Camera) -> Light:
    patch = camera.patch
    if patch is None or patch.x + patch.width > camera.width or patch.y + patch.height > camera.height:
        raise ConfigError(f"$.cameras: the patch of {camera.name} must lie inside {camera.width} x {camera.height} px")
    return Light(patch)


def loaded_of(pair: Pair, plan: str, approvers: Sequence[str] = ()) -> Loaded:
    """Return what line and recorder are told of a pair; `plan` is the digest of what executes it."""
    bundle, recipe = pair.bundle, pair.recipe
    return Loaded(
        bundle=bundle.digest,
        recipe=pair.verified.digest,
        bundle_name=f"{bundle.manifest.name} {bundle.manifest.version}",
        recipe_name=f"{recipe.name} {recipe.version}",
        views=[view.key for view in recipe.views],
        max_latency_ms=recipe.max_latency_ms,
        window_ms=recipe.window_ms,
        min_gap_mm=recipe.min_gap_mm,
        max_gap_mm=recipe.max_gap_mm,
        sampling_every=recipe.sampling_every,
        stops=recipe.stops,
        plan=plan,
        product=recipe.product,
        container=recipe.container,
        signers=sorted({*approvers, *(said.key_id for said in (*bundle.approvals, *pair.verified.approvals))}),
    )
