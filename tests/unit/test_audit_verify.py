"""`linewarden audit verify` over a ledger, whole, altered, and while a recorder writes it."""

import json
import shutil
import threading
from contextlib import closing

import pytest
from trail_world import ORIGIN, TrailWorld, audit, checkpointed

from daemon import ledger_file
from provisioning.cli import main


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    world = TrailWorld(folder)
    world.play(30)
    checkpointed(world)
    return folder


def verify(capsys, state, *more):
    status = main(["audit", "verify", "--state", str(state), *map(str, more)])
    told = capsys.readouterr()
    return status, told.out, told.err


def test_a_whole_trail_is_told_with_its_head(whole, capsys):
    status, out, err = verify(capsys, whole, "--json")
    found = json.loads(out)
    assert (status, found["origin"], found["unsigned"], found["heads"]) == (0, ORIGIN, 0, 5)
    assert found["signed"] == found["entries"] and found["rows"] > found["entries"]
    status, out, err = verify(capsys, whole)
    assert status == 0 and "WHOLE" in out and found["root"][:16] in out


@pytest.mark.clause("21 CFR 11.10(a)", "IEC 62443-4-2 CR 3.9")
def test_heads_that_were_kept_elsewhere_are_compared(whole, tmp_path, capsys):
    with ledger_file.reading(whole / "ledger.sqlite") as db:
        heads = ledger_file.checkpoints(db)
    for head in heads:
        (tmp_path / f"{head.size:012d}.note").write_text(head.note)
    status, out, _ = verify(capsys, whole, "--witness", tmp_path)
    assert status == 0 and f"{len(heads)} heads kept elsewhere agree" in out
    other = tmp_path / "other"
    other.mkdir()
    with closing(TrailWorld(other)) as forked:
        forked.play(31)
    status, _, err = verify(capsys, other, "--witness", tmp_path)
    assert status == 1 and "the trail was written again" in err and err.count("\n") == 1
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    with closing(TrailWorld(fresh)) as short:
        short.write(audit(1), batch="")
        short.sign()
    status, _, err = verify(capsys, fresh, "--witness", tmp_path / f"{heads[-1].size:012d}.note")
    assert status == 1 and "cut off" in err


@pytest.mark.clause("21 CFR 11.10(a)", "Annex 11 §17")
@pytest.mark.parametrize(
    ("break_it", "named"),
    [
        (lambda state: (state / "ledger.sqlite").unlink(), "no ledger under"),
        (lambda state: (state / "ledger.sqlite").write_bytes(b"x" * 9000), "not a readable ledger"),
        (lambda state: shutil.rmtree(state / "keys"), "no signature of a key of this device"),
        (lambda state: next((state / "keys").iterdir()).write_text("no key"), "not a public key"),
    ],
)
def test_what_cannot_be_verified_is_one_line(whole, tmp_path, capsys, break_it, named):
    state = shutil.copytree(whole, tmp_path / "state")
    break_it(state)
    status, _, err = verify(capsys, state)
    assert status == 1 and named in err and err.count("\n") == 1


@pytest.mark.clause("ALCOA+ available", "IEC 62443-4-2 CR 6.1")
def test_a_ledger_that_is_being_written_verifies(tmp_path, capsys):
    """One moment is looked at: rows that come meanwhile are no contradiction."""
    with closing(TrailWorld(tmp_path)) as world:
        world.play(20)
        found: list[tuple[int, str, str]] = []
        reader = threading.Thread(target=lambda: found.extend(verify(capsys, tmp_path) for _ in range(4)))
        reader.start()
        number = 1000
        while reader.is_alive():
            world.write(*(audit(seq) for seq in range(number, number + 50)))
            number += 50
        reader.join()
    assert [status for status, _, _ in found] == [0] * 4, found
