"""`linewarden evidence verify`: what is lost, altered or unknown is named, what is well is not."""

import argparse
from pathlib import Path

import pytest

from daemon.evidence_file import Image, image_file
from daemon.vision.keep import Keeper
from provisioning import cli_replay
from tests.unit.evidence_world import Book, offer, running, told
from tests.vectors.bundle_1 import flip


def verify(state: Path) -> int:
    parser = argparse.ArgumentParser()
    cli_replay.add(parser.add_subparsers())
    parsed = parser.parse_args(["evidence", "verify", "--state", str(state)])
    return int(parsed.run(parsed))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Images 1 and 2 on record, image 3 kept and not told yet."""
    book, keeper = Book(tmp_path), Keeper(tmp_path, 1 << 20)
    with running(keeper):
        for number in (1, 2, 3):
            keeper.offer(offer(number))
    book.store(*told(keeper)[:2])
    return tmp_path


def test_all_is_well(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(state) == 0
    assert capsys.readouterr().out == "3 images, 0 of them wrong\n"


@pytest.mark.clause("21 CFR 11.10(a)", "Annex 11 §7.1")
def test_lost_altered_and_unknown_ones_are_named(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lost, altered, unknown = (image_file(state, offer(number).row.digest) for number in (1, 2, 9))
    lost.unlink()
    flip(altered)
    unknown.parent.mkdir(exist_ok=True)
    unknown.write_bytes(offer(9).image.encoded())
    assert verify(state) == 1
    first, *wrong = capsys.readouterr().out.splitlines()
    assert first == "4 images, 3 of them wrong"
    for path, said in ((lost, "No such file"), (altered, "altered"), (unknown, "nothing on record")):
        assert [said in line for line in wrong if path.name in line] == [True]


def test_an_image_of_one_row_is_what_its_header_says() -> None:
    assert Image(4, 2, bytes(8)).encoded() == b"P5\n4 2\n255\n" + bytes(8)
    assert Image(4, 2, bytes(8)).file_bytes == 19
