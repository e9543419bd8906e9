"""A cached plan is what this device wrote, of this very source, or it is refused in one line that says which."""

import hashlib
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.equivalence import Comparison
from engines.errors import PlanMissing, PlanRefused
from engines.plan_file import (
    EVIDENCE,
    KEY_BYTES,
    MAC,
    PLAN,
    BuildOptions,
    Evidence,
    PlanSource,
    create_device_key,
    read_device_key,
    read_plan,
    write_plan,
)

CONTENT = b"vtrt" + bytes(range(256)) * 8
SOURCE = PlanSource(
    onnx_sha256=hashlib.sha256(b"graph").hexdigest(),
    runtime="tensorrt",
    version="10.13.3",
    device="Orin",
    capability="8.7",
    driver="13.0",
    options=BuildOptions(),
)
# Every field a plan depends on, with another value.
OTHERS = {
    "onnx_sha256": hashlib.sha256(b"another graph").hexdigest(),
    "runtime": "tensorrt-rtx",
    "version": "10.13.4",
    "device": "Thor",
    "capability": "11.0",
    "driver": "13.1",
    "options": BuildOptions(tf32=True),
}


@dataclass(frozen=True)
class Cache:
    root: Path
    key: bytes
    folder: Path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    root = tmp_path_factory.mktemp("plans")
    create_device_key(root / "device.key")
    key = read_device_key(root / "device.key")
    return Cache(root, key, write_plan(root, CONTENT, evidence(), key))


@pytest.fixture
def copied(cache: Cache, tmp_path: Path) -> Cache:
    """A cache that a test may damage."""
    folder = shutil.copytree(cache.folder, tmp_path / cache.folder.name)
    return Cache(tmp_path, cache.key, folder)


def evidence(source: PlanSource = SOURCE, content: bytes = CONTENT) -> Evidence:
    return Evidence(
        format=1,
        source=source,
        plan_sha256=hashlib.sha256(content).hexdigest(),
        built_utc="2026-11-23T06:30:00Z",
        seconds=12.5,
        layers=36,
        log=("a warning",),
        equivalence=(Comparison("golden-0.png", "body", 1e-6, 2e-6),),
    )


def refusal(cache: Cache, source: PlanSource = SOURCE, key: bytes | None = None) -> str:
    with pytest.raises(PlanRefused) as caught:
        read_plan(cache.root, source, key or cache.key)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def flip(path: Path, bit: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[bit // 8] ^= 1 << bit % 8
    path.write_bytes(raw)


def test_what_was_written_is_what_is_read(cache: Cache) -> None:
    found = read_plan(cache.root, SOURCE, cache.key)
    assert found.plan == CONTENT
    assert found.evidence == evidence()
    assert sorted(path.name for path in cache.folder.iterdir()) == sorted((PLAN, EVIDENCE, MAC))
    assert cache.folder.name == SOURCE.key


@given(data=st.data())
@pytest.mark.parametrize("part", [PLAN, EVIDENCE, MAC])
def test_a_flipped_bit_anywhere_is_refused(cache: Cache, part: str, data: st.DataObject) -> None:
    path = cache.folder / part
    whole = path.read_bytes()
    try:
        flip(path, data.draw(st.integers(0, 8 * len(whole) - 1)))
        text = refusal(cache)
    finally:
        path.write_bytes(whole)
    _, _, reason = text.partition(": ")
    assert part in reason


@pytest.mark.parametrize("part", [PLAN, EVIDENCE, MAC])
def test_a_part_that_is_missing_means_build_it(copied: Cache, part: str) -> None:
    (copied.folder / part).unlink()
    with pytest.raises(PlanMissing, match=f"{part} is not there; build it"):
        read_plan(copied.root, SOURCE, copied.key)


def test_bytes_do_not_move_between_evidence_and_plan(copied: Cache) -> None:
    raw, plan = (copied.folder / EVIDENCE).read_bytes(), (copied.folder / PLAN).read_bytes()
    (copied.folder / EVIDENCE).write_bytes(raw + plan[:1])
    (copied.folder / PLAN).write_bytes(plan[1:])
    assert "was changed" in refusal(copied)


def test_a_plan_of_another_device_is_refused(cache: Cache) -> None:
    assert "another device" in refusal(cache, key=bytes(KEY_BYTES))


@pytest.mark.parametrize("field", OTHERS)
def test_another_source_has_another_key_and_finds_nothing(cache: Cache, field: str) -> None:
    other = msgspec.structs.replace(SOURCE, **{field: OTHERS[field]})
    assert other.key != SOURCE.key
    with pytest.raises(PlanMissing):
        read_plan(cache.root, other, cache.key)


@pytest.mark.parametrize("field", OTHERS)
def test_a_true_plan_under_another_key_is_refused_by_the_field(copied: Cache, field: str) -> None:
    other = msgspec.structs.replace(SOURCE, **{field: OTHERS[field]})
    copied.folder.rename(copied.root / other.key)
    assert f"it was built for {field} " in refusal(copied, other)


def test_every_field_of_the_source_is_tried() -> None:
    assert set(OTHERS) == set(PlanSource.__struct_fields__)


def test_evidence_of_another_plan_is_not_written(cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(PlanRefused, match="another plan"):
        write_plan(tmp_path, CONTENT + b"!", evidence(), cache.key)
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_not_followed(copied: Cache) -> None:
    real = copied.root / "elsewhere"
    (copied.folder / PLAN).rename(real)
    (copied.folder / PLAN).symlink_to(real)
    assert "plan" in refusal(copied)


def test_a_pipe_or_a_file_too_long_is_refused(copied: Cache) -> None:
    (copied.folder / MAC).write_bytes(b"0" * 65)
    assert "no file of at most 64 bytes" in refusal(copied)
    (copied.folder / MAC).unlink()
    os.mkfifo(copied.folder / MAC)
    assert "no file of at most 64 bytes" in refusal(copied)


def test_a_plan_is_replaced_by_building_again(copied: Cache) -> None:
    flip(copied.folder / PLAN, 0)
    again = CONTENT + b"again"
    write_plan(copied.root, again, evidence(content=again), copied.key)
    assert read_plan(copied.root, SOURCE, copied.key).plan == again


def test_a_key_is_made_once_and_is_secret(tmp_path: Path) -> None:
    path = tmp_path / "device.key"
    create_device_key(path, 0o640)
    first = read_device_key(path)
    assert len(first) == KEY_BYTES
    assert stat.S_IMODE(path.stat().st_mode) & ~0o640 == 0
    with pytest.raises(FileExistsError):
        create_device_key(path)
    assert read_device_key(path) == first
    assert [found.name for found in tmp_path.iterdir()] == ["device.key"]


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o602, 0o601])
def test_a_key_that_others_may_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "device.key"
    create_device_key(path)
    path.chmod(mode)
    with pytest.raises(PlanRefused, match=f"mode {mode:o}"):
        read_device_key(path)


def test_a_short_key_and_no_key_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "device.key"
    with pytest.raises(PlanMissing):
        read_device_key(path)
    path.touch(0o600)
    with pytest.raises(PlanRefused, match="0 bytes instead of 32"):
        read_device_key(path)
