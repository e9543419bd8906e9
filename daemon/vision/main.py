"""The vision process: verify, load, warm, then supervise threads `infer`, `keep`, `load` and, where a candidate is
named, `shadow` (DESIGN section 2).

Nothing is loaded unless both signatures hold; then the process ends with EX_CONFIG and one line. A thread that ends
takes the process with it, and the watchdog is fed only while both threads advance.
"""

import gc
import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Protocol

from daemon import notify
from daemon.config import ConfigError, Station, load, runtime_dir, state_dir
from daemon.messages import PROTO, Hello
from daemon.recipe import RecipeRefused
from daemon.vision.idle import Idle
from daemon.vision.keep import Keeper
from daemon.vision.links import Link
from daemon.vision.loading import Loader
from daemon.vision.pipeline import Pipeline
from daemon.vision.shadow import Shadow
from engines.errors import EngineError
from signing.errors import SigningError

SUPERVISE_S = 0.05
JOIN_S = 2.0

_log = logging.getLogger(__name__)


class Worker(Protocol):
    """What runs in a supervised thread. `turns` grows while it works; after `stop`, `run` returns soon."""

    @property
    def turns(self) -> int: ...

    def run(self) -> None: ...

    def stop(self) -> None: ...


def main(station_path: Path) -> int:
    """Run the process until SIGTERM and return its exit status.

    Called by: `python -m daemon vision STATION`.
    """
    logging.basicConfig(level=logging.INFO, format="vision: %(levelname)s %(message)s", stream=sys.stderr)
    stop = threading.Event()
    _stop_on_signals(stop)
    try:
        station = load(station_path)
        runtime, state = runtime_dir(), state_dir()
        loader = Loader(station_path, station, state)
    except (ConfigError, SigningError, RecipeRefused, EngineError) as error:
        print(f"vision: {error}", file=sys.stderr)
        return os.EX_CONFIG
    loaded = loader.warm.active.loaded
    _log.info("loaded bundle %s, recipe %s", loaded.bundle_name, loaded.recipe_name)
    keeper = Keeper(state, station.vision.evidence_quota_mb << 20)
    idle = Idle(station.vision.golden_minutes)
    shadow = Shadow(station_path, state) if station.vision.candidate_bundle else None
    pipeline = Pipeline(loader, _links(station, runtime), keeper, idle, shadow)
    gc.collect()
    gc.freeze()
    onlooking: dict[str, Worker] = {"shadow": shadow} if shadow else {}
    status = supervise(stop, {"infer": pipeline, "keep": keeper, "load": loader, **onlooking})
    loader.close()
    return status


def _links(station: Station, runtime: Path) -> list[Link]:
    hello = Hello(PROTO, "vision", station.name, secrets.randbits(32))
    line = Link("line", runtime / "line.sock", hello)
    recorder = Link("recorder", runtime / "recorder.sock", hello)
    cameras = [Link("camera", runtime / f"camera-{camera.name}.sock", hello) for camera in station.cameras]
    return [line, recorder, *cameras]


def supervise(stop: threading.Event, workers: Mapping[str, Worker]) -> int:
    """Run each worker in a thread of its name until `stop` is set or one of them ends; return the exit status."""
    threads = {name: _start(name, worker) for name, worker in workers.items()}
    watchdog = notify.Watchdog()
    notify.ready("inspecting")
    seen = dict.fromkeys(workers, 0)
    while all(thread.is_alive() for thread in threads.values()) and not stop.wait(SUPERVISE_S):
        turns = {name: worker.turns for name, worker in workers.items()}
        if all(turns[name] != seen[name] for name in workers):
            seen = turns
            watchdog.advanced()
    dead = [name for name, thread in threads.items() if not thread.is_alive()]
    notify.stopping("stopping")
    for worker in workers.values():
        worker.stop()
    for thread in threads.values():
        thread.join(JOIN_S)
    if dead and not stop.is_set():
        print(f"vision: thread {', '.join(dead)} ended; the process ends with it", file=sys.stderr)
        return os.EX_SOFTWARE
    return os.EX_OK


def _start(name: str, worker: Worker) -> threading.Thread:
    """Start a thread that cannot keep the process alive; an exception in it ends the thread with a traceback."""
    thread = threading.Thread(target=worker.run, name=name, daemon=True)
    thread.start()
    return thread


def _stop_on_signals(stop: threading.Event) -> None:
    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
