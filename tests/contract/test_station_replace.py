"""`linewarden station replace`: the old device loses its identity, the new one has its name and its records."""

import json
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from daemon import restored
from daemon.records import AuditRow
from daemon.uplink.directory import DirectoryStore
from daemon.uplink.shipping import Mark, ship
from provisioning import cli
from signing.enrolled import read_enrolled
from signing.revocation_request import read_revocation_request
from tests.contract import archive_world
from tests.contract.enrolment_box import Box, Fleet


class Replacement:
    """A broken device's archive, and the new box beside it."""

    def __init__(self, folder: Path, fleet: Fleet, url: str) -> None:
        self.fleet, self.url, self.request = fleet, url, folder / "please-revoke.json"
        self.name = f"filler-{uuid.uuid4().hex[:8]}"
        broken = Box(folder / "broken", fleet, "", device=self.name)
        assert broken.enroll(url, fleet.token(self.name)) == 0
        self.old = read_enrolled(broken.state / "identity").record.id
        self.archive = folder / "archive"
        self.archive.mkdir()
        with closing(archive_world.Device(folder / "records")) as device:
            device.open_batch()
            device.inspect(50, images=2)
            device.record(AuditRow(9000, 5, "hold", "a.person", "operator", "to look at it", "a", "b", True, "done"))
            device.checkpoint()
            self.entries = device.ledger.head.size
            with closing(DirectoryStore(self.archive)) as store:
                ship(device.sources, store, Mark())
        self.box = Box(folder / "new", fleet, "", device=self.name)
        for name in ("store", "requests"):
            (folder / "slots" / name).mkdir(parents=True)
            (self.box.state / name).symlink_to(folder / "slots" / name)

    def run(self, *more: str) -> int:
        self.box.token_file.write_bytes(self.fleet.token(self.name))
        words = ["--old", self.old, "--request-revocation", str(self.request), "--authority", self.url]
        words += ["--token-file", str(self.box.token_file), "--reason", "water damage", "--yes", *more]
        return cli.main(["station", "replace", str(self.archive), *self.box.place(), *self.box.papers(), *words])

    def revoke(self) -> None:
        """What the fleet does with the request."""
        asked = read_revocation_request(self.request.read_bytes(), "request")
        with self.fleet.open() as authority:
            authority.revoke(asked.id, asked.reason, asked.by)  # type: ignore[arg-type]

    def restored_entries(self) -> int:
        with closing(sqlite3.connect(f"file:{self.box.state / 'ledger.sqlite'}?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT count(*) FROM entry").fetchone()[0])


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return Fleet(tmp_path_factory.mktemp("fleet"))


@pytest.fixture
def replacement(fleet: Fleet, tmp_path: Path) -> Iterator[Replacement]:
    with fleet.serving() as authority:
        yield Replacement(tmp_path, fleet, authority.url)


def test_a_new_box_takes_the_place_of_a_broken_one_in_one_command_that_can_be_run_again(
    replacement: Replacement, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replacement.run() == 1
    said = capsys.readouterr()
    assert f"{replacement.name} is device {replacement.old[:16]}; revoke that one" in said.err
    asked = read_revocation_request(replacement.request.read_bytes(), "request")
    assert (asked.id, asked.device, asked.reason) == (replacement.old, replacement.name, "water damage")
    assert replacement.restored_entries() == replacement.entries
    note = restored.read(replacement.box.state)
    assert note is not None
    assert (note.why, note.size) == ("water damage", replacement.entries)

    replacement.revoke()
    assert replacement.run("--json") == 0
    said = capsys.readouterr()
    assert said.err.count("(done)") == 2
    found = read_enrolled(replacement.box.state / "identity")
    assert json.loads(said.out)["id"] == found.record.id != replacement.old
    assert found.record.device == replacement.name
    assert restored.read(replacement.box.state) == note
    assert read_revocation_request(replacement.request.read_bytes(), "request") == asked
    slots = replacement.request.parent / "slots"
    assert (slots / "store" / "state.json").is_file()
    assert len(list((slots / "requests").glob("*.json"))) == 1


def test_a_box_with_records_of_its_own_takes_nobodys_place(
    replacement: Replacement, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(archive_world.Device(replacement.box.state)) as own:
        own.open_batch()
    assert replacement.run() == 1
    assert "holds records of its own" in capsys.readouterr().err
    assert not replacement.request.exists()


def test_what_is_wrong_is_said_before_anything_is_done(
    replacement: Replacement, capsys: pytest.CaptureFixture[str]
) -> None:
    replacement.request.write_text("{}")
    assert replacement.run() == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    replacement.request.unlink()
    assert replacement.run("--root", "/nowhere/root.json") == 1
    assert "/nowhere/root.json" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        replacement.run("--old", "filler-7")
    assert caught.value.code == 2
    assert not replacement.request.exists()
    assert sorted(path.name for path in replacement.box.state.iterdir()) == ["requests", "store"]
