"""How fast a bundle is verified, against `sha256sum` of the same files on the same machine in the same run.

    PYTHONPATH=. python tests/bench/bench_verify.py --megabytes 500 --json build/bench-verify.json

Interleaved pairs, median of 5. Verifying reads every file once, hashes it and leaves it in sealed memory; files are in
the page cache for both. A ratio of 1 is the speed of sha256sum; the process start of sha256sum (some ms) is in it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from signing.keyring import load_trust
from signing.sealed import open_directory
from signing.verify import verify
from tests.vectors import bundle_1

PAIRS = 5
PARTS = 5
GOAL = 0.9


def make_bundle(root: Path, megabytes: int) -> Path:
    """A signed bundle with some large files of random bytes beside the vectors' small ones."""
    bundle = root / "bundle"
    bundle_1.make_bundle(bundle)
    document = json.loads((bundle / "bundle.json").read_text())
    for number in range(PARTS):
        name, left = f"large-{number}.bin", megabytes * 1_000_000 // PARTS
        with (bundle / name).open("wb") as file:
            while left:
                left -= file.write(os.urandom(min(left, 1 << 20)))
        digest = subprocess.run(["sha256sum", bundle / name], capture_output=True, text=True, check=True).stdout[:64]
        document["files"][name] = {"sha256": digest, "size": (bundle / name).stat().st_size}
    (bundle / "bundle.json").write_text(json.dumps(document))
    bundle_1.put_signatures(bundle, bundle_1.KEYS)
    bundle_1.make_trust(root / "trust", bundle_1.KEYS)
    return bundle


def timed(act: Callable[[], None]) -> float:
    begin = time.monotonic()
    act()
    return time.monotonic() - begin


def measure(root: Path, megabytes: int) -> dict[str, object]:
    bundle, trust = make_bundle(root, megabytes), load_trust(root / "trust", production=False)
    files = sorted(str(path) for path in bundle.iterdir() if path.is_file())

    def ours() -> None:
        with open_directory(bundle) as fd:
            verify(fd, trust)

    def theirs() -> None:
        subprocess.run(["sha256sum", *files], stdout=subprocess.DEVNULL, check=True)

    ours(), theirs()
    pairs = [(timed(ours), timed(theirs)) for _ in range(PAIRS)]
    ratios = [control / verified for verified, control in pairs]
    return {
        "megabytes": megabytes,
        "pairs": PAIRS,
        "verify_s": round(statistics.median(verified for verified, _ in pairs), 3),
        "sha256sum_s": round(statistics.median(control for _, control in pairs), 3),
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "goal": GOAL,
        "processors": os.cpu_count(),
        "load": [round(value, 2) for value in os.getloadavg()],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=500, metavar="N", help="size of the bundle (500)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-verify-") as folder:
        found = measure(Path(folder), chosen.megabytes)
    print(f"verify {found['megabytes']} MB: median of {PAIRS} interleaved pairs, load {found['load']}")
    print(f"  verify      {found['verify_s']:>8} s   (hashed, and held in sealed memory)")
    print(f"  sha256sum   {found['sha256sum_s']:>8} s")
    print(f"  speed       {found['ratio']:>8} x sha256sum, pairs {found['ratios']}; goal {GOAL}")
    if chosen.json:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
