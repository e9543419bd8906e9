"""A fleet whose TUF repository is carried to one device on a stick, and the device."""

import copy
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from daemon.slots import main
from daemon.slots.updating import FLOOR_FILE, PLACE, apply
from daemon.store_requests import Request, What, new_id
from fleet.repository import RepositoryBuilder
from signing.floor import FileFloor
from signing.freshness import Place, enrol_place
from signing.index import Kind
from signing.store import read_state
from signing.store_state import Said
from tests.contract.update_world import Keys, sign_all
from tests.unit.store_world import Device

LINE = "line-3"
UPDATES = f"""
[updates]
line = "{LINE}"
device = "filler-3"
identity = "development"
"""


class Stick:
    """A fleet whose repository is carried to one device. `world` is the device."""

    def __init__(self, folder: Path) -> None:
        self.keys = Keys()
        self.now = datetime.now(UTC) - timedelta(minutes=1)
        self.world = Device(folder, more=UPDATES)
        self.builder = RepositoryBuilder(folder / "fleet")
        self.builder.init(self.keys.plan(), self.now)
        self.builder.set_document("trust.json", self._trust, self.now)
        self.allow()
        self.revoke()
        self.publish()
        enrol_place(Place(self.world.store / PLACE), self.builder.root_bytes())
        FileFloor(self.world.store / FLOOR_FILE).enrol(self.builder.versions())

    @property
    def folder(self) -> Path:
        return self.world.folder

    def copy(self, folder: Path) -> "Stick":
        stick = copy.copy(self)
        stick.world = self.world.copied(folder)
        stick.builder = RepositoryBuilder(folder / "fleet")
        return stick

    @property
    def _trust(self) -> bytes:
        return (self.world.folder / "trust" / "trust.json").read_bytes()

    def add(self, number: int) -> None:
        self.world.make(number)
        for kind in Kind:
            self.builder.add_index(kind, self.world.source(f"{kind}-{number}"), "tiny", f"{number}.0.0", self.now)

    def allow(self, *numbers: int, activate: int = 0, change_control: str = "CC-7") -> None:
        """Put bundles and recipes on the allow-list of the line, one pair to be active."""
        listed = {f"{kind}s": [self.world.digests[f"{kind}-{number}"] for number in numbers] for kind in Kind}
        order = None
        if activate:
            named = {str(kind): self.world.digests[f"{kind}-{activate}"] for kind in Kind}
            words = {"change_control": change_control, "printed_name": "Anna Berg", "utc": "2026-11-23T00:00:00Z"}
            order = {**named, **words, "reason": "validated"}
        self._put(f"allowlists/{LINE}.json", {"document": "allowlist", "line": LINE, "activate": order, **listed})

    def revoke(self, *entries: tuple[str, str]) -> None:
        words = {"reason": "misses cracks", "by": "Anna Berg", "utc": "2026-11-23T00:00:00Z"}
        listed = [{"what": what, "id": name, **words} for what, name in entries]
        self._put("allowlists/revoked.json", {"document": "revoked", "entries": listed})

    def publish(self) -> None:
        sign_all(self.builder, self.keys)
        self.builder.publish(self.keys.online, self.now)

    def plug_in(self, what: What = What.APPLY):
        return self.world.ask(what, str(self.builder.public))

    def roll_out(self, *numbers: int, lines: Sequence[str] = ()) -> None:
        """Bring pairs to every device of the lines; none named: of all."""
        words = {"percent": 100, "paused": False, "lines": list(lines)}
        listed = [
            {"id": f"r{one}", "bundle": self.pair(one)[0], "recipe": self.pair(one)[1], **words} for one in numbers
        ]
        self._put("allowlists/rollout.json", {"document": "rollout", "rollouts": listed})

    def pair(self, number: int) -> tuple[str, str]:
        return self.world.digests[f"bundle-{number}"], self.world.digests[f"recipe-{number}"]

    def apply(self, *wish: tuple[str, str]) -> str:
        """Update from the stick in this process, as slots does; `wish` is what an orchestrator ordered.

        Raises:
            SigningError: refused.
        """
        request = Request(new_id(), What.APPLY, "a.person", "operator", "test", str(self.builder.public))
        if wish:
            request = msgspec.structs.replace(request, wish=list(wish))
        with main.locked(self.world.store):
            return apply(self.world.shop(), request, Said("a.person", "operator", "test", "2026-11-23T00:00:00Z"))[1]

    def install(self, source: str) -> None:
        """Install from a folder in this process; tidy up after that as slots does.

        Raises:
            SigningError: refused.
        """
        with main.locked(self.world.store):
            acts = self.world.acts()
            request = Request(new_id(), What.INSTALL, "a.person", "operator", "test", str(self.world.source(source)))
            acts._install(request, Said("a.person", "operator", "test", ""))

    def state(self) -> dict[str, bytes]:
        """Return what is installed, active and staged."""
        state = read_state(self.world.store)
        found = {"installed": sorted(state.installed), "active": state.active, "staged": state.staged}
        return {name: repr(value).encode() for name, value in found.items()}

    def _put(self, path: str, words: dict) -> None:
        self.builder.set_document(path, msgspec.json.encode({**words, "format": 1}), self.now)
