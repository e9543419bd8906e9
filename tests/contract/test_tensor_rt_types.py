"""engines.tensor_rt_api against what it is written for: the types of TensorRT 10.13, the classes of tensorrt-rtx.

The stubs are third-party and cannot be installed as a package: they depend on wheels that only NVIDIA's own index has.
Two things in them are no Python; a copy is mended before mypy reads it.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from engines import tensor_rt_api
from tests.contract import tensor_rt_graphs as graphs

ROOT = Path(__file__).resolve().parents[2]
STUBS = ROOT / "build/stubs"
MENDED = ((re.compile(r"\bin: list\["), "in_: list["), (re.compile(r"channel_axis: int\)"), "channel_axis: int = 0)"))
CONFIG = """[mypy]
strict = True
[mypy-tensorrt.*]
ignore_errors = True
[mypy-tensorrt_bindings.*]
ignore_errors = True
"""
FOLLOWED = """import tensorrt
from engines import tensor_rt_api as ours

module: ours.TensorRt = tensorrt


def classes(
    builder: tensorrt.Builder,
    config: tensorrt.IBuilderConfig,
    context: tensorrt.IExecutionContext,
    engine: tensorrt.ICudaEngine,
    error: tensorrt.ParserError,
    network: tensorrt.INetworkDefinition,
    parser: tensorrt.OnnxParser,
    runtime: tensorrt.Runtime,
) -> tuple[
    ours.Builder, ours.BuilderConfig, ours.ExecutionContext, ours.CudaEngine, ours.ParserError, ours.Network,
    ours.OnnxParser, ours.PlanRuntime,
]:
    return builder, config, context, engine, error, network, parser, runtime
"""
# What TensorRT 8 had and 10 has not: the same check must see that it is gone.
GONE = """from typing import Protocol
import tensorrt


class Context(Protocol):
    def execute_async_v2(self, bindings: list[int], stream_handle: int, /) -> bool: ...


def context(found: tensorrt.IExecutionContext) -> Context:
    return found
"""
# Our protocol, and NVIDIA's class.
CLASSES = {
    "Builder": "Builder",
    "BuilderConfig": "IBuilderConfig",
    "CudaEngine": "ICudaEngine",
    "ExecutionContext": "IExecutionContext",
    "HostMemory": "IHostMemory",
    "Network": "INetworkDefinition",
    "OnnxParser": "OnnxParser",
    "ParserError": "ParserError",
    "PlanRuntime": "Runtime",
}


@pytest.fixture(scope="module")
def mended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the stubs that mypy can read, with its configuration."""
    if not (STUBS / "tensorrt/__init__.pyi").exists():
        pytest.skip(f"needs: pip install --no-deps --target {STUBS.relative_to(ROOT)} tensorrt-stubs==10.13.0.35.1")
    folder = tmp_path_factory.mktemp("stubs")
    for path in STUBS.glob("tensorrt*/*.pyi"):
        text = path.read_text(encoding="utf-8")
        for wrong, right in MENDED:
            text = wrong.sub(right, text)
        (folder / path.parent.name).mkdir(exist_ok=True)
        (folder / path.parent.name / path.name).write_text(text, encoding="utf-8")
    (folder / "mypy.ini").write_text(CONFIG, encoding="utf-8")
    return folder


def check(mended: Path, source: str) -> subprocess.CompletedProcess[str]:
    (mended / "checked.py").write_text(source, encoding="utf-8")
    settings = ["--config-file", str(mended / "mypy.ini"), "--cache-dir", str(mended / "cache")]
    return subprocess.run(
        [sys.executable, "-m", "mypy", *settings, str(mended / "checked.py")],
        env={"MYPYPATH": f"{mended}:{ROOT}"},
        cwd=mended,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_what_we_use_is_what_tensorrt_10_declares(mended: Path) -> None:
    found = check(mended, FOLLOWED)
    assert found.returncode == 0, found.stdout + found.stderr


def test_what_tensorrt_10_has_not_is_seen(mended: Path) -> None:
    found = check(mended, GONE)
    assert found.returncode == 1
    assert 'got "IExecutionContext", expected "Context"' in found.stdout


@pytest.mark.parametrize(("ours", "theirs"), CLASSES.items())
def test_tensorrt_rtx_has_every_name_we_use(ours: str, theirs: str) -> None:
    library = graphs.rtx_library()
    protocol = getattr(tensor_rt_api, ours)
    used = {name for name in (*vars(protocol), *protocol.__annotations__) if not name.startswith("_")}
    assert used
    assert used - set(dir(getattr(library.module, theirs))) == set()


def test_every_protocol_of_a_class_is_compared() -> None:
    protocols = {name for name, found in vars(tensor_rt_api).items() if getattr(found, "_is_protocol", False)}
    assert protocols - {"Protocol", "Dims", "TensorRt"} == set(CLASSES)
