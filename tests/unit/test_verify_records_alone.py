"""verify_records.py as an auditor runs it: one file in any place, one line for whatever it is given."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from records_world import KEY, SCRIPT, complaint, key_name, two_batches

from provisioning.export import export


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Exports of one device: the whole trail and its first batch."""
    root = tmp_path_factory.mktemp("records")
    world = two_batches(root / "state", 8)
    for batch in ("", "B-1"):
        export(world.sources(), root / f"out{batch}", batch, images=True, step=lambda *_: None)
    world.close()
    return {batch: root / f"out{batch}" for batch in ("", "B-1")}


def first_of(folder):
    return json.loads((folder / "records.json").read_bytes())["first"]


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".py")


def run(*arguments, cwd, isolated="-I"):
    command = [sys.executable, isolated, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=60)


def test_it_runs_alone_in_an_empty_place(exports, tmp_path):
    shutil.copy(SCRIPT, tmp_path / "alone.py")
    (tmp_path / "empty").mkdir()
    done = run(tmp_path / "alone.py", exports[""], cwd=tmp_path / "empty")
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    assert (
        done.stdout.startswith("OK: entries 0 to before ") and "compare it with one from another source" in done.stdout
    )
    key = exports[""] / "keys" / key_name(KEY)
    told = json.loads(run(SCRIPT, exports["B-1"], "--key", key, "--json", cwd=tmp_path / "empty").stdout)
    assert told["ok"] and told["first"] == first_of(exports["B-1"]) and "compare" not in told["text"]


GARBAGE = {
    "nothing": b"",
    "binary": bytes(range(256)) * 64,
    "huge number": b'{"format":1,"first":' + b"9" * 6000 + b"}",
    "deep": b"[" * 20_000,
    "not UTF-8": b"\xff\xfe{}",
}


def test_garbage_of_any_kind_is_one_line(exports, tmp_path):
    copies = []
    for name, raw in GARBAGE.items():
        for victim in files(exports["B-1"])[:: len(files(exports["B-1"])) // 4]:
            copy = Path(shutil.copytree(exports["B-1"], tmp_path / f"{name}{len(copies)}"))
            (copy / victim.relative_to(exports["B-1"])).write_bytes(raw)
            copies.append(copy)
    for copy in copies:
        said = complaint(copy)
        assert said and "\n" not in said.replace("\\n", ""), copy
    done = run(SCRIPT, copies[0], cwd=tmp_path)
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (1, "", 1)
    assert done.stdout.startswith("ALTERED")


@pytest.mark.parametrize(
    "arguments", [(), ("nowhere",), (".", "--key", "nowhere"), (".", "--witness", "x"), (".", "--x")]
)
def test_wrong_arguments_are_one_line_and_status_2(tmp_path, arguments):
    done = run(SCRIPT, *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_it_is_short_and_needs_cryptography_alone():
    text = SCRIPT.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    tree = ast.parse(text, feature_version=(3, 9))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} - sys.stdlib_module_names == {"cryptography"}
    assert "timezone.utc" in text, "datetime.UTC is of Python 3.11, an auditor's may be 3.9"
