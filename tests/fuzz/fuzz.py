"""`make fuzz`: coverage-guided fuzzing (atheris) of every target in turn, each in a process of its own.

Inputs that reached something new are kept in tests/fuzz/corpus/TARGET, small ones only; what broke a target lies in
build/fuzz and ends the run with status 1.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
FOUND = Path("build/fuzz")
MOST_BYTES, MOST_KEPT = 400, 40


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--target", help="this one only")
    parser.add_argument("--inner", help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args()
    if options.inner:
        fuzz(options.inner, rest)
    from fuzz_targets import TARGETS  # noqa: PLC0415

    names = [options.target] if options.target else list(TARGETS)
    return max(play(name, options.seconds, TARGETS[name].seeds) for name in names)


def play(name: str, seconds: int, seeds: tuple[bytes, ...]) -> int:
    """Fuzz one target and merge what it learnt into the corpus."""
    FOUND.mkdir(parents=True, exist_ok=True)
    kept = CORPUS / name
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        learnt = Path(folder)
        for index, seed in enumerate(seeds):
            (learnt / f"seed-{index}").write_bytes(seed)
        command = [sys.executable, __file__, "--inner", name, str(learnt), str(kept)]
        limits = [
            f"-max_total_time={seconds}",
            f"-artifact_prefix={FOUND}/{name}-",
            "-max_len=4096",
            "-print_final_stats=1",
        ]
        done = subprocess.run([*command, *limits], stderr=subprocess.PIPE, text=True, check=False)
        runs = next((line.split()[-1] for line in done.stderr.splitlines() if "number_of_executed_units" in line), "?")
        print(f"{name:20} {runs:>9} inputs, exit {done.returncode}", flush=True)
        if done.returncode:
            print(done.stderr[-3000:], file=sys.stderr)
            return 1
        small = sorted((p for p in learnt.iterdir() if p.stat().st_size <= MOST_BYTES), key=lambda p: p.stat().st_size)
        for path in small[: max(0, MOST_KEPT - len(list(kept.iterdir())))]:
            if not path.name.startswith("seed-"):
                shutil.copy(path, kept / path.name[:16])
    return 0


def fuzz(name: str, rest: list[str]) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris  # noqa: PLC0415

    with atheris.instrument_imports(include=["daemon", "drivers", "signing", "provisioning"]):
        from fuzz_targets import TARGETS  # noqa: PLC0415
    atheris.Setup([sys.argv[0], *rest], TARGETS[name].run)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    sys.exit(main())
