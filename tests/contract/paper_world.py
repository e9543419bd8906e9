"""A signed bundle, its recipe and the trust they need, and the store of a device that is asked to take them in."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from daemon.recipe import admit, read_recipe
from daemon.slots.intake import Arrived, from_folder
from daemon.units import ViewKey
from engines.golden import check_golden
from fleet.building import trust_document
from signing.keyring import STORE_DOCUMENT, load_trust
from signing.sealed import open_directory
from signing.store import found_store, read_state, sweep
from signing.trust import Role, Trust
from signing.verify import VerifiedBundle, verify, verify_recipe
from tests.contract.attack import Attempt, files_of
from tests.vectors import bundle_1

ANNA, JONAS = (bundle_1.NAMES[role] for role in Role)


class Delivery:
    """What came, in `bundle`, `recipe` and `trust`. Nothing in it is installed yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bundle, self.recipe, self.store = (folder / name for name in ("bundle", "recipe", "store"))

    @classmethod
    def made(cls, folder: Path) -> "Delivery":
        made = cls(folder)
        bundle_1.make_trust(folder / "trust", bundle_1.KEYS)
        bundle_1.make_recipe(made.recipe, bundle_1.make_bundle(made.bundle))
        found_store(made.store, (folder / "trust" / STORE_DOCUMENT).read_bytes())
        return made

    def copy(self, folder: Path) -> "Delivery":
        shutil.copytree(self.folder, folder, symlinks=True)
        return Delivery(folder)

    def state(self) -> dict[str, bytes]:
        return files_of(self.store)

    def trust(self, *, production: bool = False) -> Trust:
        return load_trust(self.folder / "trust", production=production)

    # What the device does

    def install(self, source: Path) -> Arrived:
        """Take a bundle or recipe in, and tidy up after that as slots does."""
        try:
            return from_folder(self.store, source, self.trust(), check_golden)
        finally:
            sweep(self.store, read_state(self.store))

    @property
    def takes_bundle(self) -> Attempt:
        return lambda: self.install(self.bundle)

    @property
    def takes_recipe(self) -> Attempt:
        return lambda: self.install(self.recipe)

    def verified(self) -> VerifiedBundle:
        with open_directory(self.bundle) as fd:
            return verify(fd, self.trust())

    def admits(self) -> None:
        """Put the recipe beside the bundle and the camera of this station, as before an activation."""
        with open_directory(self.recipe) as fd:
            admit(read_recipe(verify_recipe(fd, self.trust())), self.verified(), [ViewKey("side")])

    # What both people sign, because they were fooled

    def signs(self, change: Callable[[str], str]) -> None:
        """Change the text of bundle.json and have both sign it."""
        path = self.bundle / "bundle.json"
        path.write_text(change(path.read_text()))
        bundle_1.put_signatures(self.bundle, bundle_1.KEYS)

    def edits(self, **changes: object) -> None:
        """Change top-level fields of bundle.json, None removes one, and have both sign it."""

        def change(text: str) -> str:
            found = {**json.loads(text), **changes}
            return json.dumps({name: value for name, value in found.items() if value is not None})

        self.signs(change)

    def builds(self, graph: bytes | None = None, **changes: Any) -> None:
        shutil.rmtree(self.bundle)
        bundle_1.make_bundle(self.bundle, graph, **changes)

    def builds_recipe(self, bundle: str = "", **changes: Any) -> None:
        named = bundle or json.loads((self.recipe / "recipe.json").read_text())["bundle"]
        shutil.rmtree(self.recipe)
        bundle_1.make_recipe(self.recipe, named, **changes)

    # Whom the device trusts

    def trusts(
        self, people: list[tuple[str, EllipticCurvePublicKey]], roles: Mapping[Role, tuple[str, ...]] | None = None
    ) -> None:
        """Write another trust document."""
        given = roles or {Role.QA: (ANNA,), Role.RELEASE: (JONAS,)}
        (self.folder / "trust" / STORE_DOCUMENT).write_bytes(trust_document(people, given, development=False))

    def rewrites_trust(self, change: Callable[[str], str]) -> None:
        path = self.folder / "trust" / STORE_DOCUMENT
        path.write_text(change(path.read_text()))
