"""Backup and restore: what comes back is what was recorded, and what does not verify does not come back."""

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from archive_world import DOCUMENTS, Device
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from daemon.records import AuditRow
from daemon.uplink.directory import DirectoryStore
from daemon.uplink.shipping import Mark, ship, silent
from provisioning import cli, restore
from provisioning.archives import ArchiveFailed

TABLES = (
    "entry",
    "node",
    "checkpoint",
    "batch",
    "unit",
    "unit_view",
    "audit",
    "evidence",
    "alarm",
    "permit",
    "conflict",
)
UNITS, IMAGES = 300, 4


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    with closing(Device(tmp_path / "box" / "state")) as made:
        made.open_batch()
        made.inspect(UNITS, images=IMAGES)
        made.record(AuditRow(9000, 5, "hold", "a.person", "operator", "to look at it", "execute", "held", True, "done"))
        made.checkpoint()
        yield made


@pytest.fixture
def archive(device: Device, tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir()
    with closing(DirectoryStore(folder)) as store:
        ship(device.sources, store, Mark())
    return folder


def _rows(ledger: Path, table: str) -> list[tuple]:
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as db:
        return db.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall()


def _drill(folder: Path) -> restore.Restored:
    with closing(DirectoryStore(folder, writes=False)) as store:
        return restore.drill(store, silent)


def _run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code = cli.main([str(word) for word in arguments])
    said = capsys.readouterr()
    return code, said.out + said.err


@pytest.mark.clause("Annex 11 §7.2", "Annex 11 draft §16", "21 CFR 211.68(b)", "IEC 62443-4-2 CR 7.3")
@pytest.mark.clause("IEC 62443-4-2 CR 7.4")
def test_a_restored_ledger_is_the_one_that_was_saved(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target, state = tmp_path / "saved", tmp_path / "new" / "state"
    code, said = _run(capsys, "backup", target, "--state", device.state)
    size = device.ledger.head.size
    assert code == 0, said
    assert f"{size} entries, {IMAGES} images" in said
    assert "verified by reading back" in said
    state.parent.mkdir()
    code, said = _run(capsys, "restore", target, "--to", state, "--reason", "the disk died")
    assert code == 0, said
    assert f"restored to {state}: {size} entries of linewarden/box/00000001" in said
    for table in TABLES:
        assert _rows(state / "ledger.sqlite", table) == _rows(device.state / "ledger.sqlite", table), table
    for path in (device.state / "evidence").rglob("*.pgm"):
        assert (state / path.relative_to(device.state)).read_bytes() == path.read_bytes()
    assert (state / "keys").is_dir()
    assert [path.name for path in state.parent.iterdir()] == ["state"]


@pytest.mark.clause("Annex 11 §16", "IEC 62443-4-2 CR 7.4")
def test_a_restored_box_goes_on_recording_and_shipping(device: Device, archive: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with closing(DirectoryStore(archive, writes=False)) as store:
        restore.restore(store, state, silent)
    with closing(Device(state)) as again:
        again.count_from(UNITS)
        again.inspect(10, images=1)
        size = again.checkpoint()
        with closing(DirectoryStore(archive)) as store:
            shipped = ship(again.sources, store, Mark())
    assert shipped is not None
    assert (shipped.mark.size, shipped.mark.images) == (size, IMAGES + 1)
    assert _drill(archive).counts["units"] == UNITS + 10


@pytest.mark.clause("Annex 11 §7.2", "Annex 11 draft §16", "21 CFR 11.10(c)")
def test_a_drill_counts_and_leaves_nothing_behind(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(work))
    found = _drill(archive)
    assert found.counts == {"batches": 1, "units": UNITS, "images": IMAGES, "acts": 1, "alarms": 0}
    assert found.documents == len(DOCUMENTS)
    code, said = _run(capsys, "restore", archive, "--drill")
    assert code == 0
    assert f"drill passed: {found.head.size} entries" in said
    assert list(work.iterdir()) == []


@pytest.mark.clause("IEC 62443-4-2 CR 7.3")
def test_records_that_another_key_signed_fail_the_drill(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (key,) = (archive / "keys").iterdir()
    assert _run(capsys, "restore", archive, "--drill", "--key", key)[0] == 0
    other = generate_private_key(SECP256R1()).public_key()
    foreign = tmp_path / "foreign.pem"
    foreign.write_bytes(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    code, said = _run(capsys, "restore", archive, "--drill", "--key", foreign)
    assert (code, len(said.splitlines())) == (1, 1)
    assert f"signed by key {key.stem}" in said


def test_what_is_being_shipped_does_not_disturb_a_drill(device: Device, archive: Path) -> None:
    size = device.ledger.head.size
    device.inspect(20, images=1)
    device.checkpoint()

    class Cut(Exception):
        pass

    def cut(what: str, _done: int, _total: int) -> None:
        if what == "shipping" and len(list((archive / "entries").iterdir())) == 2:
            raise Cut

    with closing(DirectoryStore(archive)) as store, pytest.raises(Cut):
        ship(device.sources, store, Mark(), cut)
    assert _drill(archive).head.size == size


@pytest.mark.clause("Annex 11 §7.2", "Annex 11 draft §16", "IEC 62443-4-2 CR 7.3", "21 CFR 11.10(a)")
def test_any_flipped_byte_fails_the_drill_and_names_what_was_altered(archive: Path, tmp_path: Path, seed: int) -> None:
    chosen = random.Random(seed)
    copy = tmp_path / "copy"
    files = sorted(path.relative_to(archive) for path in archive.rglob("*") if path.is_file())
    for path in (path for path in files if path.name != "verify_records.py"):
        shutil.copytree(archive, copy)
        data = bytearray((archive / path).read_bytes())
        at = chosen.randrange(len(data))
        data[at] ^= 1 << chosen.randrange(8)
        (copy / path).unlink()
        (copy / path).write_bytes(data)
        with pytest.raises(ArchiveFailed) as caught:
            _drill(copy)
        number = bytes(data[:at]).count(b"\n")
        named = f"entry {number}" if path.parts[0] == "entries" else path.name
        assert named in str(caught.value) or path.parts[0] in ("keys", "records.json"), (path, at, caught.value)
        assert "\n" not in str(caught.value)
        shutil.rmtree(copy)


@pytest.mark.clause("Annex 11 §7.2", "Annex 11 draft §16", "IEC 62443-4-2 CR 7.3")
@pytest.mark.parametrize("lost", ["images", "entries", "checkpoints", "keys", "records.json"])
def test_a_part_that_is_lost_fails_the_drill(archive: Path, lost: str) -> None:
    path = archive / lost
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    next(found for found in files if found.is_file()).unlink()
    with pytest.raises(ArchiveFailed):
        _drill(archive)


@pytest.mark.clause("21 CFR 11.10(c)", "ALCOA+ original")
def test_records_are_never_restored_over_others(
    archive: Path, device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    code, said = _run(capsys, "restore", archive, "--to", device.state, "--reason", "a try")
    assert (code, said.count("\n")) == (1, 1)
    assert "is not empty: records are restored into an empty folder only" in said
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.clause("Annex 11 §7.2", "Annex 11 draft §16")
def test_a_restore_that_fails_leaves_nothing(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (segment,) = (archive / "entries").iterdir()
    data = segment.read_bytes()
    segment.unlink()
    segment.write_bytes(data.replace(b'"accepted"', b'"rejected"', 1))
    before = sorted(tmp_path.rglob("*"))
    code, said = _run(capsys, "restore", archive, "--to", tmp_path / "state", "--reason", "a try")
    assert (code, said.count("\n")) == (1, 1)
    assert "linewarden: the records do not verify: ALTERED" in said
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("backup", "{tmp}/no/where", "--state", "{state}"), "No such file"),
        (("backup", "{state}", "--state", "{state}"), "is not empty and holds no records"),
        (("backup", "s3://records/box", "--state", "{state}"), "--endpoint https://HOST"),
        (("backup", "s3://records/b", "--state", "{state}", "--endpoint", "http://10.0.0.1"), "write https://"),
        (("backup", "s3://No_Bucket/b", "--state", "{state}", "--endpoint", "https://10.0.0.1"), "bucket"),
        (("backup", "{tmp}/x", "--state", "{tmp}"), "no ledger under"),
        (("restore", "{tmp}/nowhere", "--drill"), "No such file"),
        (("restore", "{tmp}", "--drill"), "holds no records with a checkpoint"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    words = [word.format(tmp=tmp_path, state=device.state) for word in arguments]
    code, said = _run(capsys, *words)
    assert (code, len(said.splitlines())) == (1, 1), said
    assert says in said


@pytest.mark.clause("ALCOA+ complete")
def test_a_second_backup_goes_on_in_the_same_folder_and_says_what_is_not_signed_yet(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provisioning.backup.backups", lambda: tmp_path / "backups")
    monkeypatch.setattr("provisioning.cli_backup.backups", lambda: tmp_path / "backups")
    assert _run(capsys, "backup", "--state", device.state)[0] == 0
    device.inspect(3)
    code, said = _run(capsys, "backup", "--state", device.state)
    assert (code, "3 newer entries have no signed checkpoint yet and are not in it" in said) == (0, True), said
    size = device.checkpoint()
    code, said = _run(capsys, "backup", "--state", device.state)
    assert (code, f"{size} entries" in said) == (0, True), said
    (folder,) = (tmp_path / "backups").iterdir()
    assert folder.name.startswith("box-00000001-")
    assert _drill(folder).head.size == size
