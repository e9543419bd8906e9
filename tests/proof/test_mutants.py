"""Mistakes planted into the product's source are found; `make mutants` plants them all."""

import subprocess
import sys
from pathlib import Path

from mutants import MUTANTS
from mutants_main import ROOT, SAMPLE, planted

MAIN = Path(__file__).with_name("mutants_main.py")


def test_a_sample_of_planted_mistakes_is_found() -> None:
    command = [sys.executable, str(MAIN), "--sample"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("killed by") == len(SAMPLE) == 5


def test_every_mutant_still_fits_the_source() -> None:
    assert len(MUTANTS) >= 25
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    for mutant in MUTANTS:
        text = (ROOT / f"{mutant.module.replace('.', '/')}.py").read_text(encoding="utf-8")
        assert planted(mutant, text) != text
