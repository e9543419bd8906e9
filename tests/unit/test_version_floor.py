"""The floor's one decision, and its file."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing.floor import FileFloor, Versions, checked, highest
from signing.update_errors import FloorFailed, RollbackRefused

NUMBERS = st.integers(1, 5)
VERSIONS = st.builds(Versions, NUMBERS, NUMBERS, NUMBERS)
FIRST = Versions(1, 2, 3)


@given(VERSIONS, VERSIONS, st.sets(st.sampled_from(["timestamp", "snapshot"])))
def test_nothing_older_passes_but_what_root_has_set_free(floor: Versions, seen: Versions, renewed: set[str]) -> None:
    bound = [part for part in ("root", "timestamp", "snapshot") if part not in renewed]
    older = any(getattr(seen, part) < getattr(floor, part) for part in bound)
    try:
        checked(floor, seen, renewed)  # type: ignore[arg-type]
    except RollbackRefused as error:
        assert older and floor.text() in str(error) and seen.text() in str(error)
    else:
        assert not older


@given(VERSIONS, VERSIONS)
def test_the_highest_of_two_is_below_neither(first: Versions, second: Versions) -> None:
    checked(first, highest(first, second), [])
    checked(second, highest(first, second), [])


@pytest.mark.parametrize("numbers", [(0, 1, 1), (1, -1, 1), (1, 1, 2**32)])
def test_numbers_that_are_no_versions_are_refused(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="no versions"):
        Versions(*numbers)


def test_a_file_floor_is_weaker_and_says_so(tmp_path: Path) -> None:
    floor = FileFloor(tmp_path / "floor.json")
    with pytest.raises(FloorFailed, match="enrol the device"):
        floor.read()
    with pytest.raises(FloorFailed, match="enrol the device"):
        floor.raise_to(FIRST)
    floor.enrol(FIRST)
    floor.enrol(Versions(2, 1, 1))
    assert floor.read() == Versions(2, 2, 3) and floor.strength == "file"
    floor.raise_to(Versions(3, 3, 3))
    assert FileFloor(tmp_path / "floor.json").read() == Versions(3, 3, 3)


@pytest.mark.parametrize("raw", [b"", b"{}", b"[1,2,3]", b'{"root":0,"timestamp":1,"snapshot":1}', b"\xff" * 20])
def test_a_damaged_file_is_not_taken_for_no_floor(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "floor.json").write_bytes(raw)
    floor = FileFloor(tmp_path / "floor.json")
    for use in (floor.read, lambda: floor.raise_to(FIRST), lambda: floor.enrol(FIRST)):
        with pytest.raises(FloorFailed, match="remove it and enrol again"):
            use()
    floor.path.unlink()
    floor.enrol(FIRST)
    assert floor.read() == FIRST


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FloorFailed, match="not written") as failed:
        FileFloor(tmp_path / "none" / "floor.json").enrol(FIRST)
    assert "\n" not in str(failed.value)
