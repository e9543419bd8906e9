"""Building a plan and measuring it before it is kept: against the bundle's golden set, and against ONNX Runtime.

A plan that lies there and holds is used again. A changed runtime, GPU, driver or option, or a damaged plan, is built
anew, never patched. What differs too much is not kept.
"""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from engines.engine import Engine, Outputs, allocate
from engines.equivalence import Comparison, compare, differences
from engines.errors import PlanMissing, PlanRefused
from engines.golden import case_findings, grey_png
from engines.heads import decode
from engines.load import load, load_built
from engines.plan_file import CheckedPlan, Evidence, PlanSource, create_device_key, read_device_key, write_plan
from engines.plan_shelf import KEY_FILE, Shelf
from engines.tensor_rt_build import evidence_of
from signing.durable import sync_directory
from signing.store_state import StoreRefused
from signing.verify import VerifiedBundle

GROUP_RUNS_PLANS = 0o640
SHORT = 12


def build_missing(shelf: Shelf, bundle: VerifiedBundle) -> list[str]:
    """Build the plan of each model of a bundle that has no sound one, and say of each what there is now.

    Raises:
        StoreRefused: a plan was built and does not do. EngineError: none could be built. OSError: the disk.
    """
    told = []
    for name in bundle.manifest.models:
        source = shelf.source(bundle, name)
        try:
            plan, what = shelf.kept(source), "is there"
        except PlanRefused as error:
            say(f"model '{name}': building a plan with {shelf.maker.name}: {error}")
            plan, what = _build(shelf, bundle, name, source), "was built"
        told.append(f"plan {plan.evidence.plan_sha256[:SHORT]} of model '{name}' ({shelf.maker.name}) {what}")
    return told


def say(text: str) -> None:
    print(f"slots: {text}", file=sys.stderr, flush=True)


def _build(shelf: Shelf, bundle: VerifiedBundle, name: str, source: PlanSource) -> CheckedPlan:
    model = bundle.manifest.models[name]
    built = shelf.maker.build(model, bundle.files[model.file].bytes())
    plan = CheckedPlan(built.plan, evidence_of(built, source, datetime.now(UTC)))
    say(f"model '{name}': {len(built.plan)} bytes after {built.seconds:.1f} s, {built.layers} layers; measuring it")
    evidence = _measured(shelf, bundle, name, plan)
    shelf.root.mkdir(exist_ok=True)
    sync_directory(shelf.root.parent)
    write_plan(shelf.root, built.plan, evidence, _device_key(shelf.root))
    return shelf.kept(source)


def _measured(shelf: Shelf, bundle: VerifiedBundle, name: str, plan: CheckedPlan) -> Evidence:
    """Run golden set and equivalence set on what was built.

    Raises:
        StoreRefused: with the difference.
    """
    reference, candidate = load(bundle, name), load_built(bundle, name, shelf.maker, plan)
    try:
        golden = _against_golden(bundle, name, candidate)
        cases = {case.file: bundle.files[case.file] for case in bundle.manifest.golden.cases if case.model == name}
        frames = [(file, grey_png(file, content)) for file, content in cases.items()]
        equivalence = compare(reference, candidate, frames, name)
    finally:
        reference.close()
        candidate.close()
    worst = max(equivalence, key=lambda one: one.worst_relative)
    tolerance = bundle.manifest.golden.raw_tolerance
    if not worst.worst_relative <= tolerance:
        raise StoreRefused(
            f"model '{name}': the plan that {shelf.maker.name} built gives other numbers than onnxruntime: "
            f"{worst.file} off by {worst.worst_absolute:.3g}, {worst.worst_relative:.3g} > {tolerance:.3g}; not kept"
        )
    off = max(one.worst_relative for one in golden)
    say(f"model '{name}': golden off by {off:.3g}, onnxruntime off by {worst.worst_relative:.3g}")
    return plan.evidence.measured(golden, equivalence)


def _against_golden(bundle: VerifiedBundle, name: str, engine: Engine) -> tuple[Comparison, ...]:
    found, out = [], allocate(engine.outputs)
    for case in bundle.manifest.golden.cases:
        if case.model != name:
            continue
        engine.infer(grey_png(case.file, bundle.files[case.file]), out)
        for finding in case_findings(bundle, case, out):
            raise StoreRefused(f"the plan that {engine.info.backend} built fails the golden set: {finding}; not kept")
        scores = decode(bundle.manifest.models[name], out)
        found.append(Comparison(case.file, name, *differences(_column(case.scores), _column(scores))))
    return tuple(found)


def _column(scores: Mapping[str, float]) -> Outputs:
    return {"scores": np.array([scores[code] for code in sorted(scores)], np.float32)}


def _device_key(root: Path) -> bytes:
    try:
        return read_device_key(root / KEY_FILE)
    except PlanMissing:
        create_device_key(root / KEY_FILE, GROUP_RUNS_PLANS)
        return read_device_key(root / KEY_FILE)
