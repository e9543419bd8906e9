"""docs/operations/fleet-walkthrough.md is true: its blocks run in order, in one shell, and say what the page says."""

import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "operations" / "fleet-walkthrough.md"
LIMIT_S = 100.0
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDED = [name for name in ("softhsm2-util", "swtpm") if shutil.which(name) is None]


@dataclass(frozen=True, slots=True)
class Step:
    """A block of commands and the lines that must come out of it, in this order among others."""

    line: int
    commands: str
    expected: tuple[str, ...]

    def __str__(self) -> str:
        return f"line-{self.line}"


def steps() -> list[Step]:
    """Return the blocks of the page."""
    text = PAGE.read_text(encoding="utf-8")
    found = [(text[: one.start()].count("\n") + 1, one[1], one[2]) for one in FENCE.finditer(text)]
    made = []
    for (line, kind, body), (_, after, expected) in pairwise([*found, (0, "", "")]):
        assert kind in ("sh", "text"), f"{PAGE}:{line}: a block of kind '{kind}'"
        if kind == "sh":
            made.append(Step(line, body, tuple(expected.splitlines()) if after == "text" else ()))
    return made


class Shell:
    """One bash that a person would have pasted the blocks into."""

    def __init__(self, folder: Path, out: Path) -> None:
        environment = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
        environment |= {"CHECKOUT": str(ROOT), "TMPDIR": str(folder)}
        self._out = out
        self._told, tell = os.pipe()
        self._bash = subprocess.Popen(
            ["bash"], cwd=folder, env=environment, stdin=subprocess.PIPE, pass_fds=[tell], start_new_session=True
        )
        os.close(tell)
        self._tell, self._works = tell, True

    def paste(self, step: Step) -> tuple[bool, list[str]]:
        """Run a block; return whether every command of it worked, and what it said."""
        script, said = self._out / f"{step}.sh", self._out / f"{step}.out"
        script.write_text(f"set -eu\n{step.commands}", encoding="utf-8")
        assert self._bash.stdin is not None
        with suppress(BrokenPipeError):
            quiet = f"< /dev/null > {said} 2>&1 {self._tell}>&-"
            line = f"source {script} {quiet}; echo done >&{self._tell}\n"
            self._bash.stdin.write(line.encode())
            self._bash.stdin.flush()
        limit_s = LIMIT_S if self._works else 0.0
        self._works = bool(select.select([self._told], [], [], limit_s)[0]) and os.read(self._told, 100) == b"done\n"
        return self._works, said.read_text(encoding="utf-8").splitlines() if said.exists() else []

    def close(self) -> None:
        """End it with everything it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGKILL)
        with suppress(BrokenPipeError):
            self._bash.communicate()
        os.close(self._told)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    # A short path: sockets lie in it.
    with tempfile.TemporaryDirectory(prefix="walk-", ignore_cleanup_errors=True) as folder:
        opened = Shell(Path(folder), tmp_path_factory.mktemp("walk"))
        try:
            yield opened
        finally:
            opened.close()


def _missing(expected: tuple[str, ...], said: list[str]) -> str:
    """Return the first expected line that does not come, "" if all come in order."""
    left = iter(said)
    for line in expected:
        pattern = re.compile(".*".join(re.escape(part) for part in line.split("…")))
        if not any(pattern.fullmatch(one) for one in left):
            return line
    return ""


@pytest.mark.slow
@pytest.mark.skipif(bool(NEEDED), reason=f"needs {', '.join(NEEDED)}")
@pytest.mark.parametrize("step", steps(), ids=str)
def test_a_block_of_the_page_says_what_the_page_says(step: Step, shell: Shell) -> None:
    worked, said = shell.paste(step)
    assert worked, f"{PAGE.name}:{step.line}: stopped after:\n" + "\n".join(said[-20:])
    missing = _missing(step.expected, said)
    assert not missing, f"{PAGE.name}:{step.line}: '{missing}' did not come, but:\n" + "\n".join(said[-40:])


def test_the_page_has_something_to_compare() -> None:
    made = steps()
    assert len(made) > 10
    assert sum(len(step.expected) for step in made) > 40
    assert _missing(("a …", "c"), ["a 1", "b", "c"]) == ""
    assert _missing(("c", "a …"), ["a 1", "b", "c"]) == "a …"
