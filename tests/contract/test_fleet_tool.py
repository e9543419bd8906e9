"""`linewarden-fleet` as a program: its own wheel, its launcher, and keys inside a token."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.contract.software_token import MODULE, init_token, needs_softhsm

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = ROOT / "scripts" / "linewarden-fleet"


def test_publishers_have_a_wheel_of_their_own(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "fleet", tmp_path / "fleet", ignore=shutil.ignore_patterns("__pycache__", "build"))
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "out", "./fleet"]
    subprocess.run(command, cwd=tmp_path, check=True, stdin=subprocess.DEVNULL)
    (built,) = (tmp_path / "out").glob("linewarden_fleet-*.whl")
    with zipfile.ZipFile(built) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (entry,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "linewarden-fleet = fleet.cli:main" in archive.read(entry).decode()
    assert names == {f"fleet/{path.name}" for path in (ROOT / "fleet").glob("*.py")}


def _run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(LAUNCHER), *words],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        capture_output=True,
        text=True,
        check=False,
    )


@needs_softhsm
def test_a_key_is_made_inside_a_token_and_a_wrong_pin_is_one_line(tmp_path: Path) -> None:
    token = {"SOFTHSM2_CONF": str(init_token(tmp_path, "anna", "2468"))}
    (tmp_path / "pin").write_text("2468\n")
    (tmp_path / "wrong").write_text("1111\n")
    words = ["key", "new", "pkcs11:token=anna;id=%01", "--module", str(MODULE), "--yes", "--fleet", str(tmp_path)]
    refused = _run(*words, "--pin", str(tmp_path / "wrong"), **token)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "PIN" in refused.stderr
    assert "1111" not in refused.stderr
    done = _run(*words, "--pin", str(tmp_path / "pin"), **token)
    assert done.returncode == 0, done.stderr
    assert "2468" not in done.stdout
    again = _run(*words, "--pin", str(tmp_path / "pin"), **token)
    assert (again.returncode, "already" in again.stderr) == (1, True)
    nobody = _run(*words, **token)
    assert (nobody.returncode, "no terminal to ask for the PIN" in nobody.stderr) == (1, True)
    assert "Traceback" not in nobody.stderr
