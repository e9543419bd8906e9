"""A fleet with an authority and a published repository, and devices that are not enrolled yet."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from fleet.repository import RepositoryBuilder
from provisioning import cli, enroll
from provisioning.enroll import Way
from provisioning.restore import Person
from tests.contract.enrolment_world import LINE, STATION, Site
from tests.contract.recorder_box import STATION as STATION_FILE
from tests.contract.update_world import Keys, sign_all

UPDATES = """
[updates]
line = "{line}"
device = "{device}"
identity = "{kind}"
tpm = "{tcti}"
"""


class Fleet(Site):
    """A site with a published repository."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._keys, now = Keys(), datetime.now(UTC)
        self.repository = RepositoryBuilder(folder / "fleet")
        self.repository.init(self._keys.plan(), now)
        self.repository.set_document("trust.json", self.trust_file.read_bytes(), now)
        sign_all(self.repository, self._keys)
        self.repository.publish(self._keys.online, now)
        self.root = folder / "first-root.json"
        self.root.write_bytes(self.repository.root_bytes())

    def republish(self) -> None:
        self.repository.resign(self._keys.online, datetime.now(UTC))


class Box:
    """A device that is not enrolled yet."""

    def __init__(self, folder: Path, fleet: Fleet, tcti: str, device: str = STATION) -> None:
        self.folder, self.fleet, self.state = folder, fleet, folder / "state"
        self.state.mkdir(parents=True)
        self.kind = "tpm" if tcti else "development"
        text = STATION_FILE.format(simulated="false")
        updates = UPDATES.format(line=LINE, device=device, kind=self.kind, tcti=tcti or "device:/nowhere")
        (folder / "station.toml").write_text(text + updates)
        self.token_file = folder / "token"

    def place(self) -> list[str]:
        return ["--station", str(self.folder / "station.toml"), "--state", str(self.state)]

    def papers(self) -> list[str]:
        fleet = self.fleet
        found = ["--anchor", str(fleet.anchor), "--root", str(fleet.root), "--trust", str(fleet.trust_file)]
        return [*found, "--repository", str(fleet.repository.public)]

    def enroll(self, url: str, token: bytes, *more: str) -> int:
        self.token_file.write_bytes(token)
        words = ["--authority", url, "--token-file", str(self.token_file), "--reason", "new device", "--yes", *more]
        return cli.main(["enroll", *self.place(), *self.papers(), *words])

    def enrolling(self, url: str, token: bytes) -> Callable[[], object]:
        """Return what the command does once everything was read and confirmed."""
        device = enroll.device_at(self.folder / "station.toml", self.state)
        papers = enroll.read_papers(device, self.fleet.anchor, self.fleet.root, self.fleet.trust_file)
        way = Way(url, repository=self.fleet.repository.public)
        return lambda: enroll.enrol(device, papers, way, token, Person("a.person", "operator", "new device"))
