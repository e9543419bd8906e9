"""From the arguments of `linewarden sim` to its exit status: documents checked, run played, report made and shown."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from daemon.ledger_file import LEDGER
from engines.errors import EngineError
from provisioning import control, pictures, report, truth
from provisioning.bundles import verify_directory
from provisioning.places import pair_at, working
from provisioning.sim import POOL_NAME, Options, SimError, Simulation
from provisioning.simstation import LOOKS, Documents, Run, demo_documents
from provisioning.truth import TruthError
from provisioning.view import LiveView, PlainView, View
from signing.errors import SigningError

GOOD, BAD = 0, 1
POOL_DIGITS = 16


def run(options: Options, bundle: Path | None, recipe: Path | None, trust: Path | None) -> int:
    """Play one batch and return the exit status: 0 iff it closed, nothing escaped and nothing was misbound.

    Raises:
        PlaceError, BundleRefused, SimError, BoxError: one line each; nothing is left running.
    """
    demo = demo_documents()
    if bundle is not None and recipe is None:
        bundle, recipe = pair_at(bundle)
    documents = replace(demo, bundle=bundle or demo.bundle, recipe=recipe or demo.recipe, trust=trust or demo.trust)
    documents = replace(documents, candidate=options.shadow)
    swapped = (options.swap.bundle, options.swap.recipe) if options.swap else ()
    for directory in (documents.bundle, documents.recipe, *swapped, *(options.shadow or ())):
        verify_directory(directory, documents.trust, production=False)
    console = Console()
    document, done = _play(options, documents, _view(options, console))
    document = _complete(document, done, documents)
    return _tell(document, done.run, options, console)


def _play(options: Options, documents: Documents, view: View) -> tuple[dict[str, Any], Simulation]:
    simulation = Simulation(options, documents, view)
    with _terminable():
        try:
            return simulation.play(), simulation
        finally:
            simulation.close()


def _view(options: Options, console: Console) -> View:
    if options.headless or not sys.stdout.isatty():
        return PlainView(console)
    return LiveView(console)


def _complete(document: dict[str, Any], done: Simulation, documents: Documents) -> dict[str, Any]:
    try:
        log = truth.read_truth(done.run.truth)
        ledger = truth.read_ledger(done.run.state / LEDGER, document["batch"]["id"])
        pool = working() / POOL_NAME / f"pool-{log.pool[:POOL_DIGITS]}"
        pictures_of = {camera: pool / f"{camera}.npy" for camera, *_ in LOOKS}
        bare = control.measure(documents.bundle, documents.recipe, documents.trust, pictures_of)
    except (TruthError, SigningError, EngineError, OSError) as error:
        raise SimError(str(error)) from error
    return report.complete(document, log, ledger, done.findings(), bare)


def _tell(document: dict[str, Any], run: Run, options: Options, console: Console) -> int:
    written = [run.folder / "report.json", *([options.report] if options.report else [])]
    for path in written:
        report.write(document, path)
    report.show(document, console)
    count, sheet = pictures.write_previews(run.state, run.folder / "rejects")
    console.print(f"report          {written[-1]}", highlight=False, soft_wrap=True)
    if sheet is not None:
        console.print(f"reject pictures {sheet.parent} ({count} PNG)", highlight=False, soft_wrap=True)
        console.print(f"contact sheet   {sheet}", highlight=False, soft_wrap=True)
    if options.shadow is not None:
        console.print(f"candidate       linewarden shadow report --state {run.folder}", highlight=False, soft_wrap=True)
    console.print(f"evidence, logs  {run.folder}", highlight=False, soft_wrap=True)
    return GOOD if report.good(document) else BAD


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the run as Ctrl-C does, so that nothing is left behind."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
