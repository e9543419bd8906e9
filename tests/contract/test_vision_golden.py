"""The vision process and its golden set: at start, in a staged pair, at the start of a batch and while it works."""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from io import RawIOBase
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.messages import Arm, Loaded, Staged, VisionFault
from daemon.units import Verdict
from provisioning.golden_set import known_answers
from tests.contract import engine_models
from tests.contract.engine_models import FILES, description, frames, graph, make_bundle, picture, with_weight
from tests.contract.head_bench import HeadBench
from tests.contract.test_vision_swap import DARK, Swapping
from tests.vectors import bundle_1

# A slope that stands nowhere else in the memory of a process.
SLOPE = np.array([[12.3456789, 12.7654321]], np.float32)


def other_score(kind: str) -> dict[str, Any]:
    golden: dict[str, Any] = engine_models.bundle_description(kind)["golden"]
    golden["cases"][1]["scores"]["bright"] = 0.123456
    return golden


def told(errors: str) -> tuple[str, ...]:
    """File, model, what, found and expected, as the one line says them."""
    found = re.search(r"(\S+): model '(\S+)' scores (.+) (\S+), the bundle (\S+);", errors)
    assert found, errors
    return found.groups()


def ends_at_start(bench: HeadBench) -> str:
    """Return the one line that a process says which loads nothing."""
    try:
        bench.start()
        status, errors = bench.finish()
        assert status == os.EX_CONFIG
        assert len(errors.splitlines()) == 1 and errors.startswith("vision: ")
        assert bench.line._listener.accept() is None
        return errors
    finally:
        bench.close()


@pytest.mark.clause("21 CFR 11.10(a)")
@pytest.mark.parametrize("kind", ["boxes", "mask"])
def test_a_signed_bundle_that_scores_otherwise_here_ends_the_process(tmp_path: Path, kind: str) -> None:
    """Both people signed it, every digest holds: what the model does here is not what they saw."""
    errors = ends_at_start(HeadBench(tmp_path, kind, golden=other_score(kind)))
    found = engine_models.bundle_description(kind)["golden"]["cases"][1]["scores"]["bright"]
    assert told(errors) == (FILES[1], "side", "bright", f"{found:.6f}", "0.123456")
    assert "bundle tiny 1.0.0 fails its golden set here" in errors and "it inspects nothing" in errors


@pytest.mark.clause("21 CFR 11.10(a)")
def test_a_signed_bundle_whose_map_is_another_here_ends_the_process(tmp_path: Path) -> None:
    """No score differs: the raw numbers do."""
    numbers = engine_models.raw_numbers("logit", frames()[0]).astype("<f4")
    numbers[-1] += 0.25
    errors = ends_at_start(HeadBench(tmp_path, "logit", files={"golden.f32": numbers.tobytes()}))
    assert told(errors) == (FILES[0], "side", "map[0, 1, 3, 3]", f"{numbers[-1] - 0.25:.6f}", f"{numbers[-1]:.6f}")


@pytest.mark.clause("21 CFR 11.10(a)")
def test_a_staged_pair_that_fails_its_golden_set_changes_nothing_and_is_reported(tmp_path: Path) -> None:
    bench = Swapping(tmp_path)
    try:
        for name in ("bundle-2", "recipe-2"):
            shutil.rmtree(tmp_path / name)
        other = make_bundle(tmp_path / "bundle-2", "logit", golden=other_score("logit"))
        bundle_1.make_recipe(tmp_path / "recipe-2", other)
        bench.connect()
        bench.link("staged", "2")
        said = bench.report(2)
        assert not said["ok"] and "\n" not in str(said["text"])
        assert told(str(said["text"]))[:3] == (FILES[1], "side", "bright")
        assert bench.judge(1, DARK, bench.recipe).verdict is Verdict.ACCEPT
        assert not any(isinstance(message, Staged) and message.warm for message in bench.line.heard)
        bench.ends()
    finally:
        bench.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[HeadBench]:
    """A logit model whose slope is easily found in memory; its golden set is what the engine says itself."""
    raw = with_weight(graph("logit"), "gain", SLOPE)
    answers = known_answers(description("logit"), raw, frames())
    cases = [
        {"file": file, "model": "side", "scores": answer.scores, "raw": f"{file[:-4]}.f32"}
        for file, answer in zip(FILES, answers, strict=True)
    ]
    files = {f"{file[:-4]}.f32": answer.raw for file, answer in zip(FILES, answers, strict=True)}
    bench = HeadBench(tmp_path, "logit", raw, golden={"tolerance": 0.001, "cases": cases}, files=files)
    yield bench
    bench.close()


def found_in(memory: RawIOBase, pid: int, wanted: bytes) -> Iterator[int]:
    """Yield where the bytes lie in what the process may write; areas that go away meanwhile are passed over."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        places, rights, *rest = line.split()
        if not rights.startswith("rw-p") or rest[-1].startswith("[v"):
            continue
        low, high = (int(place, 16) for place in places.split("-"))
        memory.seek(low)
        with contextlib.suppress(OSError):
            yield from (low + found.start() for found in re.finditer(re.escape(wanted), memory.read(high - low) or b""))


def turn_a_bit(pid: int, wanted: bytes) -> int:
    """Turn one bit of every copy of a weight in the memory of a process, as failing memory does; return how many."""
    turned = 0
    with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
        for place in list(found_in(memory, pid, wanted)):
            with contextlib.suppress(OSError):  # the process may have found the first one already
                memory.seek(place + 2)
                turned += memory.write(bytes([wanted[2] ^ 0x40])) or 0
    return turned


def weakened(bench: HeadBench) -> None:
    assert bench.process is not None
    try:
        assert turn_a_bit(bench.process.pid, SLOPE.tobytes()) > 0
    except PermissionError as error:
        pytest.skip(f"needs leave to write the memory of an own child process (ptrace): {error}")


def ends_of_it(bench: HeadBench) -> None:
    fault = bench.line.hear(VisionFault)
    assert fault.code == "GOLDEN_FAILED"
    file, model, *_ = told(fault.text)
    assert file in FILES and model == "side"
    assert "what was accepted since then is in doubt" in fault.text
    status, errors = bench.finish()
    assert status == os.EX_SOFTWARE
    assert "the engines are not to be trusted any more" in errors and "Traceback" not in errors


@pytest.mark.clause("21 CFR 11.10(a)")
def test_memory_that_fails_is_found_at_the_start_of_the_next_batch(bench: HeadBench) -> None:
    """Nothing else runs a golden case in this time, they come every five minutes; units are judged, and wrongly."""
    bench.connect()
    bench.line.hear(Loaded)
    before = bench.judge(1, picture(level=51))[0]
    weakened(bench)
    after = bench.judge(2, picture(level=51))[0]
    assert before.verdict is after.verdict is Verdict.ACCEPT
    assert before.views[0].scores != after.views[0].scores
    assert not any(isinstance(message, VisionFault) for message in bench.line.heard)
    bench.recorder.say(Arm("B-1", bench.bundle, bench.recipe, "c"))
    ends_of_it(bench)


@pytest.mark.clause("21 CFR 11.10(a)")
def test_memory_that_fails_is_found_while_nothing_waits(bench: HeadBench) -> None:
    bench.configure("golden_minutes = 0.01")
    bench.connect()
    bench.line.hear(Loaded)
    weakened(bench)
    ends_of_it(bench)
