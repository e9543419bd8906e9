"""`make mutants`: plants one mistake after another into the product's source and prints what found it.

Each mutant is a process of its own in which the module's text is patched while it is imported; no file is touched.
Exit 1 if one lives, or if something is found where no mistake was planted.
"""

import argparse
import importlib.abc
import importlib.machinery
import importlib.util
import multiprocessing
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 3
WALKS, STEPS = 60, 60
ALIVE = 0.8
LONGEST = 140
SAMPLE = (
    "frame keys not compared",
    "second verdict counts",
    "half a permit accepted",
    "heartbeat age ignored",
    "slot not cleared at the gate",
)


class Patched(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from its patched text."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self._mutant.module:
            return None
        found = importlib.machinery.PathFinder.find_spec(name, path)
        return importlib.util.spec_from_loader(name, self, origin=found.origin if found else None)

    def exec_module(self, module: ModuleType) -> None:
        origin = module.__spec__.origin if module.__spec__ else None
        with open(str(origin), encoding="utf-8") as file:
            text = file.read()
        exec(compile(planted(self._mutant, text), str(origin), "exec"), module.__dict__)


def planted(mutant: Mutant, text: str) -> str:
    """Return the module's text with the mistake in it.

    Raises:
        ValueError: the text has changed and the patch does not fit.
    """
    for old, new in mutant.edits:
        if text.count(old) != 1:
            raise ValueError(
                f"mutant {mutant.name!r} does not fit {mutant.module}: write it anew ({old.strip()[:60]!r})"
            )
        text = text.replace(old, new)
    return text


def killed_by(mutant: Mutant | None) -> str:
    """Return what finds the mutant, "" if nothing does. Runs in a process that has imported nothing of the product."""
    if mutant:
        sys.meta_path.insert(0, Patched(mutant))
    strikes = mutant.strikes if mutant else ()
    try:
        return _searched() or _walked() or _played(strikes) or _played(())
    except Exception as error:  # a crash is a find as well
        return f"{type(error).__name__}: {error}"


def _searched() -> str:
    from small_search import search, underway  # noqa: PLC0415

    for permits in (True, False):
        found = search(underway(permits=permits), 4, 1)
        if found.violations:
            return f"search: {found.violations[0]} after {' > '.join(found.trace)}"
    return ""


def _walked() -> str:
    import random  # noqa: PLC0415

    from small_line import SmallLine  # noqa: PLC0415
    from small_search import choices  # noqa: PLC0415

    for walk in range(WALKS):
        chance, line = random.Random(walk), SmallLine(count=20)
        for _ in range(STEPS):
            ways = list(choices(line, int(chance.random() < 0.3)))
            if not ways:
                break
            chance.choice(ways)[1](line)
            if line.violations:
                return f"walk {walk}: {line.violations[0]}"
    return ""


def _played(strikes: tuple[str, ...]) -> str:
    from proof_case import draw, play  # noqa: PLC0415
    from proof_faults import FAULTS  # noqa: PLC0415

    names = [(name,) * 3 for name in strikes] or [tuple(FAULTS)[i : i + 3] for i in range(0, len(FAULTS), 3)]
    for group in names:
        for seed in range(SEEDS if strikes else 1):
            case = draw(seed, group)
            world, out = play(case)
            if out.wrong:
                return f"{'+'.join(dict.fromkeys(group))}: {out.wrong[0]}"
            good = sum(not world.is_bad(vial.ordinal) for vial in world.plant.belt.vials)
            if not strikes and out.passed < ALIVE * good / 4:
                return f"{'+'.join(group)}: only {out.passed} of {good} good vials passed"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="part of the name of those to plant")
    parser.add_argument("--sample", action="store_true", help="a few quick ones, without the run that plants nothing")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    for mutant in MUTANTS:
        planted(mutant, (ROOT / f"{mutant.module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    chosen = [None, *(mutant for mutant in MUTANTS if (options.only or "") in mutant.name)]
    if options.sample:
        chosen = [mutant for mutant in MUTANTS if mutant.name in SAMPLE]
    begun, alive = time.monotonic(), []
    context = multiprocessing.get_context("fork")
    with context.Pool(options.workers, maxtasksperchild=1) as pool:
        for mutant, how in zip(chosen, pool.imap(killed_by, chosen, chunksize=1), strict=True):
            name = mutant.name if mutant else "no mistake"
            print(
                f"{name:48} {'killed by ' + how[:140] if how else 'SURVIVED' if mutant else 'nothing found'}",
                flush=True,
            )
            if bool(how) != bool(mutant):
                alive.append(name)
    count, taken_s = len([mutant for mutant in chosen if mutant]), time.monotonic() - begun
    print(f"{count} mutants, {taken_s:.0f} s, survived: {', '.join(alive) or 'none'}")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
