"""ONNX Runtime's own plan: what it optimised for this processor runs as it stands and gives the same answers."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from engines.backends import plan_maker
from engines.engine import Engine, Outputs, allocate
from engines.equivalence import compare
from engines.errors import BackendMissing, BuildFailed, InferenceFailed, PlanRefused
from engines.load import load, load_built
from engines.onnx_plan import NAME, OnnxPlanMaker, abilities
from engines.plan_digest import plan_digest
from engines.plan_file import CheckedPlan
from engines.tensor_rt_api import LIBRARIES
from engines.tensor_rt_build import evidence_of
from signing.verify import VerifiedBundle
from tests.contract.engine_models import KINDS, graph, make_bundle, model, opened, picture

MAKER = OnnxPlanMaker()
FRAMES = [("dark", picture(level=0)), ("mark", picture(3, 3)), ("edge", picture(0, 3, 180))]
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def plan_of(kind: str) -> CheckedPlan:
    built = MAKER.build(model(kind), graph(kind).SerializeToString())
    return CheckedPlan(built.plan, evidence_of(built, MAKER.source("a" * 64), NOW))


@pytest.fixture
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> VerifiedBundle:
    make_bundle(tmp_path / "bundle", request.param)
    return opened(tmp_path / "bundle")


def built_engine(bundle: VerifiedBundle) -> Engine:
    file = bundle.files[bundle.manifest.models["side"].file]
    built = MAKER.build(bundle.manifest.models["side"], file.bytes())
    return load_built(
        bundle, "side", MAKER, CheckedPlan(built.plan, evidence_of(built, MAKER.source(file.sha256), NOW))
    )


@pytest.mark.parametrize("bundle", KINDS, indirect=True)
def test_every_head_gives_what_onnxruntime_gives_of_the_graph(bundle: VerifiedBundle) -> None:
    reference, candidate = load(bundle, "side"), built_engine(bundle)
    found = compare(reference, candidate, FRAMES, "side")
    assert max(one.worst_absolute for one in found) < 1e-5
    assert candidate.info.backend == NAME and candidate.info.onnx_sha256 == reference.info.onnx_sha256
    digests = {plan_digest({"side": engine.info}, "here") for engine in (reference, candidate)}
    assert len(digests) == 2 and candidate.info.plan != reference.info.plan == ""
    reference.close()
    candidate.close()


@pytest.mark.parametrize("bundle", ["probability"], indirect=True)
def test_the_plan_is_not_the_graph_and_runs_the_same_every_time(bundle: VerifiedBundle) -> None:
    engine = built_engine(bundle)
    out: Outputs = allocate(engine.outputs)
    given = set()
    for _ in range(100):
        engine.infer(FRAMES[1][1], out)
        given.add(b"".join(values.tobytes() for values in out.values()))
    assert len(given) == 1
    engine.close()
    with pytest.raises(InferenceFailed, match="closed"):
        engine.infer(FRAMES[1][1], out)


def test_what_is_loaded_is_not_optimised_again() -> None:
    session = OnnxPlanMaker().session(model("probability"), plan_of("probability"))
    assert session._session is not None
    level = session._session.get_session_options().graph_optimization_level
    assert level == ort.GraphOptimizationLevel.ORT_DISABLE_ALL


def test_what_the_optimiser_left_is_counted() -> None:
    kind = graph("probability")
    built = MAKER.build(model("probability"), kind.SerializeToString())
    assert 0 < built.layers <= len(kind.graph.node) + 2 and built.plan != kind.SerializeToString()
    assert built.seconds > 0


def test_a_plan_of_another_model_or_no_plan_is_refused_in_one_line() -> None:
    logit = plan_of("logit")
    for plan in (logit, CheckedPlan(b"no plan", logit.evidence)):
        with pytest.raises(PlanRefused) as caught:
            OnnxPlanMaker().session(model("mask"), plan)
        assert "\n" not in str(caught.value)


def test_a_graph_that_is_none_is_not_built() -> None:
    with pytest.raises(BuildFailed) as caught:
        MAKER.build(model("logit"), b"nothing")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bundle", ["probability"], indirect=True)
def test_a_closed_session_keeps_what_it_gave(bundle: VerifiedBundle) -> None:
    session = OnnxPlanMaker().session(model("probability"), plan_of("probability"))
    session.image[:] = 90
    session.run()
    before = {name: values.copy() for name, values in session.results.items()}
    session.close()
    assert all(np.array_equal(values, session.results[name]) for name, values in before.items())


def test_the_source_names_version_processor_and_what_its_vector_unit_can_do(tmp_path: Path) -> None:
    here, other = MAKER.source("a" * 64), OnnxPlanMaker("1.0.0").source("a" * 64)
    assert here.key != other.key and (other.version, here.runtime) == ("1.0.0", NAME)
    (tmp_path / "cpuinfo").write_text("model name\t: X\nflags\t\t: fpu avx2 smep avx512f sse4_2 fma\nflags\t: more\n")
    assert abilities(tmp_path / "cpuinfo").split(" ", 1)[1] == "avx2 avx512f fma sse4_2"
    (tmp_path / "cpuinfo").write_text("Features\t: fp asimd sve\n")
    assert abilities(tmp_path / "cpuinfo").split(" ", 1)[1] == "asimd sve"
    assert abilities(tmp_path / "none").endswith(" unknown")


def test_a_back_end_is_chosen_by_name_and_one_that_is_not_there_says_so() -> None:
    assert plan_maker("onnxruntime") is None
    found = plan_maker(NAME)
    assert found is not None and found.name == NAME
    with pytest.raises(BackendMissing, match="onnxruntime, onnxruntime-plan, tensorrt, tensorrt-rtx"):
        plan_maker("openvino")
    assert "tensorrt" in LIBRARIES
