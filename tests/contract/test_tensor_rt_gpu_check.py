"""`make gpu-check` on a machine without a GPU: it says what is missing, measures nothing of it and succeeds."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.contract import tensor_rt_graphs as graphs

SCRIPT = graphs.ROOT / "tests/bench/gpu_check.py"


def gpu_check(out: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    graphs.needs_no_gpu()
    found = subprocess.run(
        [sys.executable, str(SCRIPT), "--json", str(out), *arguments],
        env=os.environ | {"PYTHONPATH": str(graphs.ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    content: dict[str, Any] = json.loads(out.read_text())
    return content, found.stdout


def test_without_a_gpu_every_row_is_unrun_and_says_why(tmp_path: Path) -> None:
    content, shown = gpu_check(tmp_path / "found.json")
    rows = content["rows"]
    assert {(row["model"], row["backend"]) for row in rows} >= {
        (model, backend) for model in ("body", "crimp") for backend in ("onnxruntime", "tensorrt", "tensorrt-rtx")
    }
    assert {row["state"] for row in rows} == {"unrun"}
    assert all(row["reason"] for row in rows)
    assert content["machine"]["gpu"] is None
    assert "tensorrt: not installed" in shown
    assert "cudaSetDevice" in shown


def test_onnx_runtime_alone_is_measured_when_asked(tmp_path: Path) -> None:
    content, _ = gpu_check(tmp_path / "found.json", "--cpu", "--repeats", "5", "--pairs", "5")
    measured = [row for row in content["rows"] if row["state"] == "run"]
    assert {row["backend"] for row in measured} == {"onnxruntime"}
    assert all(row["identical"] and row["repeats"] == 5 for row in measured)
    assert all(row["bare_us"]["p50"] > 0 and row["ours_us"]["p50"] > 0 for row in measured)
