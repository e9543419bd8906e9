"""The candidate's process: looks at what was judged, judges it too, and writes down where it would have differed.

It has no socket and never opens one: a pipe from thread `shadow`, a pipe back, a memfd with pixels. It goes when the
pipe closes, and no signal that ends `vision` ends it before it has written its counts.

Called by: thread `shadow` of vision, as `python -m daemon.vision.shadow_main STATION MEMFD`.
"""

import contextlib
import ctypes
import fcntl
import logging
import os
import select
import signal
import sys
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
from msgspec.structs import replace

from daemon.config import Station, load, resolve, state_dir
from daemon.messages import Judged
from daemon.shadow_file import SHADOW, Phase, ShadowUnreadable
from daemon.units import ViewKey
from daemon.vision.judging import Scores
from daemon.vision.loading import REFUSALS
from daemon.vision.plan import Folders, Plan, load_pair, rules_of, verify_pair
from daemon.vision.shadow_compare import compare, wanted
from daemon.vision.shadow_records import Records
from daemon.vision.shadow_turn import DONE, LONGEST_TEXT, Greeting, Picture, Turn, pick_up

LULL_S = 0.5
PR_SET_PDEATHSIG = 1


def main(station_path: Path, memory: int) -> int:
    """Look on until the pipe closes and return the exit status."""
    _die_with(os.getppid())
    logging.basicConfig(level=logging.INFO, format="shadow: %(levelname)s %(message)s", stream=sys.stderr)
    answers = _own_stdout()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    try:
        station = load(station_path)
        plan = _candidate(station_path, station)
        _wait_for_an_earlier_one(state_dir())
        records = Records(state_dir(), station.name, plan.loaded)
    except (*REFUSALS, ShadowUnreadable) as error:
        _greet(answers, Phase.REFUSED, str(error))
        return os.EX_CONFIG
    _greet(answers, Phase.LOOKING, f"{plan.loaded.bundle_name}, {plan.loaded.recipe_name} looks on")
    with contextlib.suppress(BrokenPipeError):
        Onlooker(plan, records, memory).serve(sys.stdin.buffer, answers)
    records.flush()
    plan.close()
    return os.EX_OK


def _greet(answers: int, phase: Phase, text: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(answers, msgspec.json.encode(Greeting(phase, text[:LONGEST_TEXT])) + b"\n")


class Onlooker:
    """Everything that this process does."""

    def __init__(self, plan: Plan, records: Records, memory: int) -> None:
        self._plan = plan
        self._rules = rules_of(plan.recipe)
        self._records = records
        self._memory = memory

    def serve(self, turns: BinaryIO, answers: int) -> None:
        """Do one turn after the other until `turns` ends.

        Raises:
            BrokenPipeError: nobody waits for an answer any more.
        """
        while True:
            if select.select([turns], [], [], LULL_S)[0]:
                line = turns.readline()
                if not line:
                    return
                self._do(msgspec.json.decode(line, type=Turn))
                os.write(answers, DONE)
            self._records.flush_due()

    def _do(self, turn: Turn) -> None:
        self._records.missed(turn.missed)
        if turn.judged is not None:
            self._look(turn.judged, turn.pictures)

    def _look(self, judged: Judged, pictures: list[Picture]) -> None:
        places = wanted(self._rules, judged.views)
        if places is None:
            self._records.incomplete(judged)
            return
        images = [pick_up(self._memory, picture) for picture in pictures]
        scores: dict[ViewKey, Scores] = {}
        for place in places:
            view, image = judged.views[place].view, images[place]
            frame = np.frombuffer(image.pixels, np.uint8).reshape(image.height, image.width)
            scores[view.role] = self._plan.scores(judged.views[place].key.camera, frame).scores
        self._records.compared(judged, compare(self._rules, judged, scores), scores, images)


def _candidate(station_path: Path, station: Station) -> Plan:
    """Verify and load the candidate as anything that inspects, golden frames included; on the processor, whatever the
    station runs its models on: what is built for its accelerator is for who inspects.

    Raises:
        ConfigError, SigningError, RecipeRefused, EngineError, OSError: it is refused.
    """
    named = station.vision
    folders = Folders(
        *(resolve(station_path, n) for n in (named.candidate_bundle, named.candidate_recipe, named.trust))
    )
    station = replace(station, vision=replace(named, backend="onnxruntime"))
    return load_pair(station, verify_pair(station, folders))


def _wait_for_an_earlier_one(state: Path) -> None:
    """Go on when the process of an earlier life of vision has written its last counts; the lock ends with us.

    Raises:
        OSError: there is no folder to lock, or vision is gone too.
    """
    folder = state / SHADOW
    folder.mkdir(exist_ok=True)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if select.select([sys.stdin], [], [], LULL_S)[0]:
                raise


def _die_with(parent: int) -> None:
    """Have the kernel end us when thread `shadow` is gone: starved, we might not see the pipe close for long."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(os.EX_OSERR)


def _own_stdout() -> int:
    """Return the pipe for answers, and lead what anybody prints to the log."""
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
