"""Shipping into a real folder: interrupted anywhere it goes on; nothing is confirmed that was not proven."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from archive_world import DOCUMENTS, Device

from daemon.evidence_file import image_file
from daemon.records import Kept
from daemon.uplink.archive import ArchiveError, Segment, checkpoint_path, image_path
from daemon.uplink.directory import DirectoryStore
from daemon.uplink.shipping import Mark, Shipped, ship
from daemon.uplink.sources import Sources
from daemon.uplink.stores import StoreConflict

VERIFIER = Path(__file__).resolve().parents[2] / "docs" / "interfaces" / "verify_records.py"
KILLED = 137
GROWN_AT = 20
CALLS = ("fsync", "rename", "open", "mkdir")
NOTHING = Mark()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    with closing(Device(tmp_path / "state")) as made:
        made.open_batch()
        yield made


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir()
    return folder


def _ship(device: Device, target: Path, mark: Mark = NOTHING) -> Shipped | None:
    with closing(DirectoryStore(target)) as store:
        return ship(device.sources, store, mark)


def _verify(folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-I", str(VERIFIER), str(folder)], capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def _alter(path: Path, change: Callable[[bytes], bytes]) -> None:
    data = change(path.read_bytes())
    path.unlink()
    path.write_bytes(data)


@pytest.mark.clause("21 CFR 11.10(c)", "Annex 11 draft §17", "Annex 11 §17", "ALCOA+ enduring")
def test_an_archive_grows_by_new_files_only_and_verifies_at_every_step(device: Device, target: Path) -> None:
    mark, before = Mark(), {}
    for turn in range(3):
        images = device.inspect(20, images=turn)
        size = device.checkpoint()
        shipped = _ship(device, target, mark)
        assert shipped is not None
        mark = shipped.mark
        assert (mark.size, mark.images) == (size, sum(range(turn + 1)))
        assert {image_path(digest) for digest in images} <= _files(target)
        code, said = _verify(target)
        assert code == 0, said
        assert all((target / path).read_bytes() == data for path, data in before.items())
        before = {path: (target / path).read_bytes() for path in _files(target)}
    assert {f"documents/{digest}" for digest in DOCUMENTS} <= _files(target)
    assert {"records.json", "verify_records.py"} <= _files(target)


def test_long_trails_are_cut_into_pieces(device: Device, target: Path) -> None:
    for _ in range(9):
        device.inspect(500)
    size = device.checkpoint()
    _ship(device, target)
    assert sorted(os.listdir(target / "entries")) == [
        f"{0:012d}-{4096:012d}.jsonl",
        f"{4096:012d}-{size:012d}.jsonl",
    ]
    assert _verify(target)[0] == 0


def test_what_has_no_checkpoint_stays_and_what_is_shipped_is_not_shipped_again(device: Device, target: Path) -> None:
    assert _ship(device, target) is None
    device.inspect(5)
    size = device.checkpoint()
    device.inspect(5)
    shipped = _ship(device, target)
    assert shipped is not None and shipped.mark.size == size
    assert _ship(device, target, shipped.mark) is None


def test_the_archives_own_confirmation_does_not_make_it_ship_for_ever(device: Device, target: Path) -> None:
    device.inspect(5)
    shipped = _ship_at(device, target, device.checkpoint())
    device.record(device.archived(shipped.mark.size))
    device.checkpoint()
    assert _ship(device, target, shipped.mark) is None
    device.inspect(1)
    shipped = _ship_at(device, target, device.checkpoint(), shipped.mark)
    assert _verify(target)[0] == 0


def _ship_at(device: Device, target: Path, size: int, mark: Mark = NOTHING) -> Shipped:
    shipped = _ship(device, target, mark)
    assert shipped is not None and shipped.mark.size == size
    return shipped


@contextmanager
def _dying_at(call: int) -> Iterator[None]:
    """Kill this process at the n-th system call that changes or opens something of the archive."""
    left = call

    def counted(name: str) -> Callable[..., object]:
        real = getattr(os, name)

        def counting(*arguments: object, **words: object) -> object:
            nonlocal left
            left -= 1
            if not left:
                os._exit(KILLED)
            return real(*arguments, **words)

        return counting

    for name in CALLS:
        setattr(os, name, counted(name))
    yield


def _killed_at(call: int, device: Device, target: Path, mark: Mark) -> bool:
    """Ship in a child that is killed at that call; False when it got to its end."""
    pid = os.fork()
    if not pid:
        with _dying_at(call):
            _ship(device, target, mark)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == KILLED


@pytest.mark.clause("Annex 11 draft §17", "ALCOA+ enduring", "IEC 62443-4-2 CR 7.4")
def test_killed_at_any_call_the_next_pass_goes_on_and_the_archive_verifies(device: Device, target: Path) -> None:
    device.inspect(20, images=2)
    first = _ship_at(device, target, device.checkpoint())
    device.inspect(20, images=2)
    device.checkpoint()
    began, call = _files(target), 0
    while _killed_at(call := call + 1, device, target, first.mark):
        assert began <= _files(target)
        if call == GROWN_AT:
            device.inspect(1, images=1)
            device.checkpoint()
        if call % 4 == 1:
            _goes_on(device, target, first.mark)
    assert call > GROWN_AT
    again = _ship_at(device, target, device.ledger.head.size)
    assert again.mark.images == 5
    assert _verify(target)[0] == 0


def _goes_on(device: Device, target: Path, mark: Mark) -> None:
    """Let the next life ship into a copy of what the killed one left."""
    copy = target.with_name("copy")
    shutil.copytree(target, copy)
    _ship_at(device, copy, device.ledger.head.size, mark)
    assert _files(target) <= _files(copy) | {".new"}
    code, said = _verify(copy)
    assert code == 0, said
    shutil.rmtree(copy)


def test_what_is_forgotten_here_is_read_from_the_archive(device: Device, target: Path) -> None:
    device.inspect(20, images=2)
    first = _ship_at(device, target, device.checkpoint())
    device.inspect(20, images=1)
    size = device.checkpoint()
    before = _files(target)
    shipped = _ship_at(device, target, size, Mark())
    assert shipped.mark.images == 3
    assert Segment(0, first.mark.size).path in before
    assert before <= _files(target)
    assert _verify(target)[0] == 0


@pytest.mark.clause("Annex 11 draft §17", "Annex 11 §17", "IEC 62443-4-2 CR 7.3")
@pytest.mark.parametrize("path", ["segment", "image", "checkpoint", "document", "key", "records.json"])
def test_wrong_bytes_are_found_when_they_are_read_back(device: Device, target: Path, path: str) -> None:
    (image,) = device.inspect(5, images=1)
    size = device.checkpoint()
    key = next((device.state / "keys").iterdir()).name
    named = {
        "segment": Segment(0, size).path,
        "image": image_path(image),
        "checkpoint": checkpoint_path(size),
        "document": f"documents/{next(iter(DOCUMENTS))}",
        "key": f"keys/{key}",
    }.get(path, path)

    def spoil(what: str, done: int, _total: int) -> None:
        if what == "reading back" and done == 1:
            _alter(target / named, lambda data: data[:-1] + bytes([data[-1] ^ 1]))

    store = DirectoryStore(target)
    with closing(store), pytest.raises(ArchiveError, match=f"{named} holds other bytes.*nothing is confirmed"):
        ship(device.sources, store, Mark(), spoil)
    with pytest.raises(StoreConflict, match=f"{named}: holds other bytes"):
        _ship(device, target)


@pytest.mark.clause("Annex 11 draft §17", "Annex 11 §17")
def test_a_file_that_was_lost_is_found_when_it_is_read_back(device: Device, target: Path) -> None:
    device.inspect(5)
    size = device.checkpoint()

    def lose(what: str, done: int, _total: int) -> None:
        if (what, done) == ("reading back", 1):
            (target / checkpoint_path(size)).unlink()

    with closing(DirectoryStore(target)) as store, pytest.raises(ArchiveError, match="is gone: nothing is confirmed"):
        ship(device.sources, store, Mark(), lose)


@pytest.mark.clause("21 CFR 11.10(a)", "Annex 11 draft §17")
def test_an_entry_that_was_altered_here_is_not_shipped(device: Device, target: Path) -> None:
    device.inspect(5)
    device.checkpoint()
    with closing(sqlite3.connect(device.state / "ledger.sqlite")) as db:
        db.execute("DROP TRIGGER entry_no_update")
        db.execute("UPDATE entry SET body = CAST(replace(body, 'accepted', 'rejected') AS BLOB) WHERE seq = 3")
        db.commit()
    with pytest.raises(ArchiveError, match="entry 3 was altered"):
        _ship(device, target)
    assert _files(target) == set()


@pytest.mark.clause("21 CFR 11.10(a)", "Annex 11 draft §17")
def test_an_entry_that_was_altered_and_chained_again_is_not_shipped(device: Device, target: Path) -> None:
    device.inspect(5)
    device.checkpoint()
    with closing(sqlite3.connect(device.state / "ledger.sqlite")) as db:
        db.execute("DROP TRIGGER checkpoint_only_anchored")
        db.execute(
            "UPDATE checkpoint SET note = replace(note, char(10) || '7' || char(10), char(10) || '8' || char(10))"
        )
        db.commit()
    with pytest.raises(ArchiveError, match="checkpoint over 7 entries"):
        _ship(device, target)
    assert _files(target) == set()


def test_a_checkpoint_of_a_foreign_key_is_not_shipped(device: Device, target: Path) -> None:
    device.inspect(5)
    device.checkpoint()
    (key,) = (device.state / "keys").iterdir()
    key.rename(key.with_name("00000000.pem"))
    with pytest.raises(ArchiveError, match="no key in .* made its signature"):
        _ship(device, target)
    assert _files(target) == set()


@pytest.mark.clause("Annex 11 draft §17", "ALCOA+ complete")
@pytest.mark.parametrize("damage", ["missing", "torn", "altered"])
def test_an_image_on_record_that_is_not_whole_is_not_confirmed_and_the_rest_is_shipped(
    device: Device, target: Path, damage: str
) -> None:
    first, second = device.inspect(5, images=2)
    device.checkpoint()
    path = image_file(device.state, second)
    if damage == "missing":
        path.unlink()
    else:
        _alter(path, lambda data: data[:-1] if damage == "torn" else data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ArchiveError, match=f"1 images on record are neither here nor in .*{second}.*everything else"):
        _ship(device, target)
    assert image_path(first) in _files(target)
    device.record(device.evidence(second, Kept.DROPPED))
    _ship_at(device, target, device.checkpoint())
    assert _verify(target)[0] == 0


def test_an_image_that_was_released_here_is_the_one_in_the_archive(device: Device, target: Path) -> None:
    (image,) = device.inspect(5, images=1)
    first = _ship_at(device, target, device.checkpoint())
    image_file(device.state, image).unlink()
    device.record(device.evidence(image, Kept.RELEASED))
    device.inspect(1)
    size = device.checkpoint()
    _ship_at(device, target, size, first.mark)
    assert _ship_at(device, target, size, Mark()).mark.images == 1
    assert _verify(target)[0] == 0
    _alter(target / image_path(image), lambda data: data[:-1] + b"?")
    with pytest.raises(ArchiveError, match=f"neither here nor in .*{image}"):
        _ship(device, target)


def test_an_empty_place_where_the_archive_was_is_not_filled_again(device: Device, target: Path) -> None:
    device.inspect(5)
    shipped = _ship_at(device, target, device.checkpoint())
    shutil.rmtree(target)
    target.mkdir()
    with pytest.raises(ArchiveError, match="does not hold the checkpoint .* is it mounted"):
        _ship(device, target, shipped.mark)


@pytest.mark.clause("Annex 11 draft §17", "ALCOA+ complete")
def test_an_earlier_copy_of_the_records_is_not_shipped_over_the_later_one(
    device: Device, target: Path, tmp_path: Path
) -> None:
    device.inspect(5)
    earlier = device.checkpoint()
    with (
        closing(sqlite3.connect(device.state / "ledger.sqlite")) as db,
        closing(sqlite3.connect(tmp_path / "old")) as old,
    ):
        db.backup(old)
    device.inspect(5)
    shipped = _ship_at(device, target, device.checkpoint())
    restored = tmp_path / "restored"
    shutil.copytree(device.state, restored, ignore=shutil.ignore_patterns("ledger.*"))
    (tmp_path / "old").rename(restored / "ledger.sqlite")
    assert earlier < shipped.mark.size
    sources = Sources(restored, device.sources.documents, device.sources.verifier)
    with closing(DirectoryStore(target)) as store:
        with pytest.raises(ArchiveError, match="does not hold the checkpoint"):
            ship(sources, store, shipped.mark)
        with pytest.raises(ArchiveError, match="does not fit.*another device or an earlier copy"):
            ship(sources, store, Mark())


@pytest.mark.clause("21 CFR 11.10(h)")
def test_another_device_cannot_ship_into_the_same_folder(device: Device, target: Path, tmp_path: Path) -> None:
    device.inspect(5)
    device.checkpoint()
    _ship(device, target)
    with closing(Device(tmp_path / "other")) as other:
        other.open_batch()
        other.inspect(7)
        other.checkpoint()
        with pytest.raises((ArchiveError, StoreConflict)):
            _ship(other, target)
    assert _verify(target)[0] == 0


def test_a_document_that_nobody_has_is_named_and_holds_nothing_up(device: Device, target: Path) -> None:
    device.inspect(1)
    size = device.checkpoint()
    sources = Sources(device.state, lambda: {}, device.sources.verifier)
    with closing(DirectoryStore(target)) as store:
        shipped = ship(sources, store, Mark())
    assert shipped is not None and shipped.mark.size == size
    assert sorted(shipped.lacking) == sorted(f"document {digest} of batch B-1 is not here" for digest in DOCUMENTS)
