"""The candidate's code can reach no link: a proof over what its process imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROCESS = "daemon.vision.shadow_main"
OWN = ("daemon", "drivers", "engines", "fleet", "provisioning", "signing")
LINKS = ("daemon.wire", "daemon.vision.links", "daemon.vision.pipeline", "daemon.vision.ring_map", "drivers", "fleet")


def _file(module: str) -> Path | None:
    path = ROOT / Path(*module.split("."))
    return next((one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file()), None)


def _imports(path: Path) -> set[str]:
    """Every module that a file imports anywhere in it, and what it takes from packages."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def _reached(module: str) -> dict[str, set[str]]:
    """What each of our modules imports that this one reaches."""
    reached: dict[str, set[str]] = {}
    open_ = {module}
    while open_:
        name = open_.pop()
        path = _file(name)
        if path is not None and name not in reached:
            reached[name] = _imports(path)
            open_ |= {one for one in reached[name] if one.split(".")[0] in OWN}
    return reached


@pytest.mark.clause("21 CFR 11.10(a)")
def test_the_candidates_process_imports_no_link_and_no_socket() -> None:
    reached = _reached(PROCESS)
    assert {"daemon.vision.plan", "daemon.vision.shadow_records", "engines.load"} <= reached.keys()
    for name, imported in reached.items():
        assert "socket" not in imported, name
        assert not [one for one in imported if one.startswith(LINKS)], name


def test_the_thread_that_feeds_it_imports_none_either() -> None:
    reached = _reached("daemon.vision.shadow")
    assert "daemon.vision.shadow_turn" in reached
    for name, imported in reached.items():
        assert "socket" not in imported, name
        assert not [one for one in imported if one.startswith(LINKS)], name


def test_the_proof_would_see_a_link() -> None:
    assert "daemon.wire" in _reached("daemon.vision.pipeline")


def test_a_process_without_its_pipe_ends(tmp_path: Path) -> None:
    """Started by hand it has no candidate to load: one line on its pipe, EX_CONFIG, no traceback."""
    done = subprocess.run(
        [sys.executable, "-m", PROCESS, str(tmp_path / "no.toml"), "3"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
    )
    assert (done.returncode, done.stderr) == (78, "")
    assert '"refused"' in done.stdout and "no.toml" in done.stdout
