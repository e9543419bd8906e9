"""The vision process with two pairs: what is staged is warmed beside the work, and each unit's own pair judges it."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from daemon.messages import Arm, Bound, Judged, Loaded, Release, Staged
from daemon.store_requests import What, read_request
from daemon.units import Verdict
from daemon.vision.loading import LOOK_S
from signing.trust import Role
from tests.contract.vision_bench import LIMIT_S, SIDE, Bench, unit
from tests.vectors import bundle_1

DARK, MIDDLE = 60, 120


class Swapping(Bench):
    """A store beside the bench: generation 1 is what the station file names, 2 is stricter and can be staged."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.store = self.state / "store"
        self.write_recipe(evidence_share=1.0)
        view = bundle_1.recipe_description(self.bundle)["views"][0]
        lax = {name: limit | {"accept_below": 0.9, "reject_from": 0.95} for name, limit in view["limits"].items()}
        self.other_bundle = bundle_1.make_bundle(root / "bundle-2", version="2.0.0")
        self.other_recipe = bundle_1.make_recipe(root / "recipe-2", self.other_bundle, views=[view | {"limits": lax}])
        for number, suffix in (("1", ""), ("2", "-2")):
            generation = self.store / "generations" / number
            generation.mkdir(parents=True)
            for name in ("bundle", "recipe"):
                (generation / name).symlink_to(root / f"{name}{suffix}")
            (generation / "trust").symlink_to(root / "trust")
        self.link("active", "1")
        station = root / "station.toml"
        text = station.read_text()
        for name in ("bundle", "recipe", "trust"):
            text = text.replace(f'{name} = "{name}"', f'{name} = "state/store/active/{name}"')
        station.write_text(text)

    def add_generation(self, number: str, *, limits: float) -> str:
        """Make a generation of the second bundle and a recipe of its own; return the recipe's digest."""
        view = bundle_1.recipe_description(self.other_bundle)["views"][0]
        lax = {name: limit | {"accept_below": limits, "reject_from": 0.99} for name, limit in view["limits"].items()}
        folder = self.root / f"recipe-{number}"
        digest = bundle_1.make_recipe(folder, self.other_bundle, views=[view | {"limits": lax}])
        generation = self.store / "generations" / number
        generation.mkdir(parents=True)
        for name, target in (("bundle", "bundle-2"), ("recipe", folder.name), ("trust", "trust")):
            (generation / name).symlink_to(self.root / target)
        for kind, name, target in (("bundles", self.other_bundle, "bundle-2"), ("recipes", digest, folder.name),
                                   ("recipes", self.other_recipe, "recipe-2")):  # fmt: skip
            (self.store / kind).mkdir(exist_ok=True)
            (self.store / kind / name).symlink_to(self.root / target)
        return digest

    def trust_of(self, number: str, keys: dict[Role, ec.EllipticCurvePrivateKey]) -> None:
        """Give a generation a trust of its own and have `number` "1" signed accordingly."""
        bundle_1.make_trust(self.root / f"trust-{number}", keys)
        link = self.store / "generations" / number / "trust"
        link.unlink()
        link.symlink_to(self.root / f"trust-{number}")
        if number == "1":
            for folder in ("bundle", "recipe"):
                bundle_1.put_signatures(self.root / folder, keys)

    def link(self, name: str, number: str) -> None:
        fresh = self.store / f".{name}"
        fresh.symlink_to(Path("generations") / number)
        os.replace(fresh, self.store / name)

    def report(self, number: int) -> dict[str, object]:
        path = self.state / "vision-reports" / f"{number}.json"
        end = time.monotonic() + LIMIT_S
        while not path.exists() and time.monotonic() < end:
            time.sleep(0.01)
        found: dict[str, object] = json.loads(path.read_bytes())
        return found

    def judge(self, number: int, level: int, recipe: str) -> Judged:
        key, _ = self.camera.shoot(level)
        self.camera.hear(Release)
        self.line.say(Bound(unit(number), SIDE, key, recipe))
        return self.line.hear(Judged, lambda judged: judged.unit == unit(number))

    def ends(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        status, errors = self.finish()
        assert status == 0, errors


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Swapping]:
    bench = Swapping(tmp_path)
    yield bench
    bench.close()


@pytest.mark.clause("21 CFR 11.10(f)", "Annex 11 §10")
def test_what_is_staged_while_it_works_judges_the_units_that_line_names(bench: Swapping) -> None:
    bench.connect()
    assert bench.line.hear(Staged).warm == []
    assert bench.line.hear(Loaded).bundle == bench.bundle
    bench.recorder.say(Arm("B-1", bench.bundle, bench.recipe, "c"))
    assert bench.judge(1, MIDDLE, bench.recipe).verdict is Verdict.UNDECIDED
    bench.link("staged", "2")
    for number in range(100, 120):
        assert bench.judge(number, DARK, bench.recipe).verdict is Verdict.ACCEPT
    for peer in (bench.line, bench.recorder):
        (warm,) = peer.hear(Staged, lambda staged: bool(staged.warm)).warm
        assert (warm.bundle, warm.recipe, len(warm.signers)) == (bench.other_bundle, bench.other_recipe, 2)
    assert bench.report(2) == {"generation": 2, "ok": True, "text": "verified, loaded and warm"}
    assert bench.report(1)["ok"]
    bench.recorder.say(Arm("B-1", bench.other_bundle, bench.other_recipe, "d"))
    own = {2: bench.recipe, 3: bench.other_recipe, 4: bench.recipe, 5: bench.other_recipe, 6: bench.other_recipe}
    for number, recipe in own.items():
        judged = bench.judge(number, MIDDLE, recipe)
        old = recipe == bench.recipe
        assert (judged.recipe, judged.bundle) == (recipe, bench.bundle if old else bench.other_bundle)
        assert judged.verdict is (Verdict.UNDECIDED if old else Verdict.ACCEPT)
    key, _ = bench.camera.shoot(DARK)
    bench.camera.hear(Release)
    bench.line.say(Bound(unit(7), SIDE, key, "0" * 64))
    assert bench.judge(8, DARK, bench.other_recipe).verdict is Verdict.ACCEPT
    assert not bench.line.hears_more(Judged)
    bench.ends()


@pytest.mark.clause("21 CFR 11.10(a)", "IEC 62443-4-2 CR 3.4")
def test_a_staged_pair_that_does_not_verify_changes_nothing_and_is_reported(bench: Swapping) -> None:
    bundle_1.flip(bench.root / "bundle-2" / "bundle.json")
    bench.connect()
    bench.link("staged", "2")
    told = bench.report(2)
    assert not told["ok"] and "\n" not in str(told["text"]) and "bundle.json" in str(told["text"])
    assert bench.judge(1, DARK, bench.recipe).verdict is Verdict.ACCEPT
    assert not any(isinstance(message, Staged) and message.warm for message in bench.line.heard)
    bench.ends()


@pytest.mark.clause("21 CFR 11.10(f)", "Annex 11 §10")
def test_what_is_activated_waits_for_the_end_of_the_batch_and_needs_no_restart(bench: Swapping) -> None:
    requests = bench.state / "requests"
    requests.mkdir()
    bench.connect()
    bench.recorder.say(Arm("B-1", bench.bundle, bench.recipe, "c"))
    assert bench.judge(1, DARK, bench.recipe).verdict is Verdict.ACCEPT
    bench.link("active", "2")
    bench.line.hear(Staged, lambda staged: [warm.bundle for warm in staged.warm] == [bench.other_bundle])
    assert bench.line.hear(Loaded).bundle == bench.bundle
    assert not list(requests.iterdir())
    bench.recorder.say(Arm("", "", "", ""))
    for peer in (bench.line, bench.recorder):
        assert peer.hear(Loaded, lambda loaded: loaded.bundle == bench.other_bundle).recipe == bench.other_recipe
    assert bench.judge(2, MIDDLE, bench.other_recipe).verdict is Verdict.ACCEPT
    end = time.monotonic() + LIMIT_S
    while not list(requests.glob("*.json")) and time.monotonic() < end:
        time.sleep(0.01)
    bench.ends()
    (woken,) = [read_request(path)[0] for path in requests.iterdir()]
    assert (woken.what, woken.actor) == (What.WAKE, "vision")


@pytest.mark.clause("21 CFR 211.192")
def test_a_restart_inside_a_batch_finds_in_the_store_what_a_swap_had_armed(bench: Swapping) -> None:
    for kind, digest in (("bundle", bench.other_bundle), ("recipe", bench.other_recipe)):
        (bench.store / f"{kind}s").mkdir()
        (bench.store / f"{kind}s" / digest).symlink_to(bench.root / f"{kind}-2")
    bench.connect()
    bench.recorder.say(Arm("B-1", bench.other_bundle, bench.other_recipe, "d"))
    (warm,) = bench.line.hear(Staged, lambda staged: bool(staged.warm)).warm
    assert warm.recipe == bench.other_recipe
    assert bench.judge(1, MIDDLE, bench.other_recipe).verdict is Verdict.ACCEPT
    bench.ends()


@pytest.mark.clause("21 CFR 11.10(f)")
def test_what_was_left_at_a_second_swap_still_judges_its_units(bench: Swapping) -> None:
    third = bench.add_generation("3", limits=0.9)
    bench.connect()
    bench.recorder.say(Arm("B-1", bench.bundle, bench.recipe, "c"))
    bench.link("staged", "2")
    bench.line.hear(Staged, lambda staged: bool(staged.warm))
    bench.recorder.say(Arm("B-1", bench.other_bundle, bench.other_recipe, "d"))
    assert bench.judge(1, MIDDLE, bench.other_recipe).verdict is Verdict.ACCEPT
    bench.link("staged", "3")
    bench.line.hear(Staged, lambda staged: {one.recipe for one in staged.warm} == {bench.other_recipe, third})
    bench.recorder.say(Arm("B-1", bench.other_bundle, third, "e"))
    assert bench.judge(2, MIDDLE, third).verdict is Verdict.ACCEPT
    time.sleep(5 * LOOK_S)
    assert bench.judge(3, MIDDLE, bench.other_recipe).recipe == bench.other_recipe
    bench.recorder.say(Arm("", "", "", ""))
    bench.line.hear(Staged, lambda staged: [one.recipe for one in staged.warm] == [third])
    bench.ends()


@pytest.mark.clause("21 CFR 211.192")
def test_the_armed_pair_is_verified_by_the_trust_of_its_own_generation(bench: Swapping) -> None:
    """The active generation may stand on an older trust than what a swap has armed."""
    bench.trust_of("2", bundle_1.KEYS)
    bench.trust_of("1", {Role.QA: ec.generate_private_key(ec.SECP256R1()), Role.RELEASE: bundle_1.KEYS[Role.RELEASE]})
    for kind, digest in (("bundle", bench.other_bundle), ("recipe", bench.other_recipe)):
        (bench.store / f"{kind}s").mkdir()
        (bench.store / f"{kind}s" / digest).symlink_to(bench.root / f"{kind}-2")
    bench.connect()
    bench.recorder.say(Arm("B-1", bench.other_bundle, bench.other_recipe, "d"))
    bench.line.hear(Staged, lambda staged: [one.recipe for one in staged.warm] == [bench.other_recipe])
    bench.ends()


def test_only_the_generation_that_was_loaded_is_reported(bench: Swapping) -> None:
    """The station file names a plain folder: the store's active generation was never tried."""
    station = bench.root / "station.toml"
    station.write_text(station.read_text().replace('"state/store/active/bundle"', '"bundle-2"'))
    station.write_text(station.read_text().replace('"state/store/active/recipe"', '"recipe-2"'))
    bench.connect()
    assert bench.line.hear(Loaded).bundle == bench.other_bundle
    bench.link("staged", "2")
    assert bench.report(2)["ok"]
    assert not (bench.state / "vision-reports" / "1.json").exists()
    bench.ends()
