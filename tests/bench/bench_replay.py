"""Replay 10,000 verdicts over at most 500 distinct frames: all of them must be identical, bit for bit.

The verdicts are made in a process of their own, by the daemon's pipeline from pixels to row, with the demo bundle on
rendered vials; they are recorded by the real ledger and replayed by `linewarden replay` in another process. Nothing is
cached: every frame is read, checked and inferred every time it occurs.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from daemon import config
from daemon.evidence_file import Image, image_file
from daemon.ledger_file import LEDGER
from daemon.line.rows import unit_row
from daemon.line.unit import Finish
from daemon.messages import Arm, Bound, Judged
from daemon.recorder.ledger import Ledger
from daemon.recorder.rows import Received
from daemon.recorder.wall import ClockQuality, WallTime
from daemon.records import BatchOpened
from daemon.units import FrameKey, Outcome, Stages, UnitId, Verdict, ViewKey
from daemon.vision.fusion import Fusion, Judge, Looked
from daemon.vision.plan import Plan, folders_of, open_plan, rules_of
from drivers.sim.render import Pool, make_pool
from provisioning import places
from provisioning.simstation import LOOKS, Layout, demo_documents, prepare

ROOT = Path(__file__).resolve().parents[2]
SESSION = 7
BATCH = "BENCH"
CHUNK = 500


def make(folder: Path, verdicts: int, vials: int) -> None:
    """Judge `verdicts` units that show `vials` vials in turn; leave a state folder as a device would."""
    run = prepare(demo_documents(), folder / "run", 600.0, Layout())
    shutil.rmtree(run.runtime)
    pool = make_pool(1, vials, 0.27, places.working() / "pool")
    station = config.load(run.station)
    plan = open_plan(station, folders_of(run.station, station))
    with closing(plan), closing(Ledger(run.state / LEDGER)) as ledger:
        loaded = plan.loaded
        documents = (config.digest(run.station), loaded.bundle, loaded.recipe)
        pins = (*documents, "m" * 64, config.release(), loaded.plan)
        arm = Arm(BATCH, plan.loaded.bundle, plan.loaded.recipe, config.configuration_digest(*pins))
        names = (plan.loaded.bundle_name, plan.loaded.recipe_name, "m" * 64, config.release(), arm.configuration)
        people = ("bench", "operator", "bench")
        ledger.open_batch(BatchOpened(0, BATCH, *documents, *names, *people, plan=loaded.plan), _now())
        rows = []
        for number in range(1, verdicts + 1):
            rows.append(Received(1, _row(plan, pool, run.state, number, arm), BATCH))
            if len(rows) == CHUNK or number == verdicts:
                assert ledger.store(rows, {}, _now()) == []
                rows = []


def _row(plan: Plan, pool: Pool, state: Path, number: int, arm: Arm):  # type: ignore[no-untyped-def]
    vial = (number - 1) % len(pool)
    unit = UnitId(1, 0, number)
    fusion = Fusion({plan.loaded.recipe: Judge(plan.loaded.bundle, rules_of(plan.recipe))}, plan.looks)
    commands = []
    for camera, *_ in LOOKS:
        frame = getattr(pool, camera)[vial]
        key = FrameKey(camera, SESSION, number)
        reading = plan.light(camera, frame)
        lit = reading is None or reading.lit
        digest = hashlib.sha256(frame.data).hexdigest()
        path = image_file(state, digest)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(Image(frame.shape[1], frame.shape[0], frame.tobytes()).encoded())
        fusion.session(camera, SESSION)
        scores = plan.scores(camera, frame).scores if lit else {}
        commands += fusion.looked(Looked(key, 0, digest, scores, 0, 0, 0, plan.loaded.recipe, lit), 0)
        commands += fusion.bound(Bound(unit, ViewKey(camera), key, plan.loaded.recipe), 0)
    (judged,) = (command for command in commands if isinstance(command, Judged))
    outcome = Outcome.ACCEPTED if judged.verdict is Verdict.ACCEPT else Outcome.REJECTED
    finish = Finish(unit, outcome, judged.verdict, judged.reason, "line", judged, 9, 1, Stages())
    return unit_row(finish, arm)


def _now() -> WallTime:
    return WallTime(time.time_ns(), ClockQuality.UNSYNCHRONISED)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--verdicts", type=int, default=10_000)
    parser.add_argument("--vials", type=int, default=128, help="distinct vials; each has two frames")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make(options.make, options.verdicts, options.vials)
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-replay-") as folder:
        begun = time.monotonic()
        arguments = ["--make", folder, "--verdicts", str(options.verdicts), "--vials", str(options.vials)]
        subprocess.run([sys.executable, __file__, *arguments], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
        made = time.monotonic()
        command = [sys.executable, "-m", "provisioning.cli", "replay", BATCH, "--json", "--state", f"{folder}/run"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        finished = time.monotonic()
    if not done.stdout:
        print(done.stderr, file=sys.stderr)
        return 1
    document = json.loads(done.stdout)
    counts, frames = document["counts"], document["frames"]
    print(f"{options.verdicts} verdicts over {frames} distinct frames, {document['inferences']} inferences: {counts}")
    engine = document["engines"]["body"]
    print(
        f"made in {made - begun:.0f} s, replayed in {finished - made:.0f} s; {engine['backend']} {engine['version']}, "
        f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores; exit status {done.returncode}"
    )
    return 0 if done.returncode == 0 and counts["identical"] == options.verdicts else 1


if __name__ == "__main__":
    sys.exit(main())
