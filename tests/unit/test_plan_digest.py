"""Whatever the bytes of a score depend on beside the frame changes the plan's digest."""

from dataclasses import replace

from engines.engine import EngineInfo
from engines.plan_digest import plan_digest, processor

INFO = EngineInfo("onnxruntime", "1.20.0", "cpu", "fp32", "a" * 64, "", 20, 1_000_000)


def test_what_does_not_execute_does_not_count():
    assert plan_digest({"side": INFO}, "p") == plan_digest({"side": replace(INFO, warmup_p50_ns=5)}, "p")
    both = {"side": INFO, "crimp": replace(INFO, onnx_sha256="b" * 64)}
    assert plan_digest(both, "p") == plan_digest(dict(reversed(both.items())), "p")


def test_runtime_graph_processor_and_view_count():
    changed = [
        plan_digest({"side": INFO}, "p"),
        plan_digest({"side": INFO}, "q"),
        plan_digest({"crimp": INFO}, "p"),
        *(
            plan_digest({"side": replace(INFO, **change)}, "p")
            for change in (
                {"backend": "tensorrt"},
                {"version": "1.20.1"},
                {"device": "cuda"},
                {"precision": "fp16"},
                {"onnx_sha256": "b" * 64},
            )
        ),
    ]
    assert len(set(changed)) == len(changed)


def test_the_processor_has_a_name():
    assert processor() == processor() and len(processor()) > 3
