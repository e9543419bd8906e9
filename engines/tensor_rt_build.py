"""Building a plan: a checked graph in, the bytes that one runtime executes on one kind of GPU out.

Precision comes from the graph alone (rule 2 of tensor_rt_api). TF32, which TensorRT allows itself by default and which
rounds the factors of a convolution to 10 bits, is off unless the options ask for it.
"""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import onnx
from onnx import ModelProto, TensorProto, shape_inference

from engines.errors import BuildFailed, ModelRefused
from engines.plan_file import BuildOptions, Evidence, PlanSource
from engines.tensor_rt_api import BuilderConfig, Library, Network, OnnxParser, one_line
from signing.errors import GraphRefused
from signing.graph import check_graph
from signing.manifest import Model
from signing.utc import utc_text

THIS_GPU = "CURRENT"


@dataclass(frozen=True, slots=True)
class BuiltPlan:
    """What a build leaves: the plan, what the library logged above information, layers before fusion, seconds."""

    plan: bytes
    log: tuple[str, ...]
    layers: int
    seconds: float


def build_plan(
    library: Library, graph: bytes, model: Model, options: BuildOptions, target: str = THIS_GPU
) -> BuiltPlan:
    """Parse `graph` and build its plan.

    Args:
        graph: the ONNX file; checked here again, as the parser would read external data from the working directory.
        target: `THIS_GPU`, or with tensorrt-rtx the name of a compute capability ("SM80"), for which no GPU is needed.

    Called by: `slots` once per model and device, and CI for SM80; takes 0.1 s to minutes of one core.

    Raises:
        ModelRefused: admission or the parser does not accept the graph, or it has other tensors than declared.
        BuildFailed: the builder gives no plan: no GPU, no memory, a target it does not know.
        DeviceFailed: there is no builder without a GPU.
    """
    _admit(graph, model)
    started = time.monotonic()
    builder = library.builder()
    network = builder.create_network(_network_flags(library))
    config = builder.create_builder_config()
    if network is None or config is None:
        raise _failed(library, model, "no builder")
    _parse(library, network, graph, model)
    _configure(library, config, options, target)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _failed(library, model, f"no plan for {target}")
    return BuiltPlan(bytes(plan), library.log.lines(), network.num_layers, time.monotonic() - started)


def evidence_of(built: BuiltPlan, source: PlanSource, utc: datetime) -> Evidence:
    """Return what `engines.plan_file.write_plan` keeps beside the plan; comparisons are added when they are made."""
    return Evidence(
        format=1,
        source=source,
        plan_sha256=hashlib.sha256(built.plan).hexdigest(),
        built_utc=utc_text(utc),
        seconds=round(built.seconds, 3),
        layers=built.layers,
        log=built.log,
    )


def _admit(graph: bytes, model: Model) -> None:
    try:
        check_graph(graph, model)
    except GraphRefused as error:
        raise ModelRefused(str(error)) from error
    for fault in _quantization_faults(onnx.ModelProto.FromString(graph)):
        raise ModelRefused(
            f"{model.file}: {fault}, which TensorRT takes for int8 without an error; quantise again with signed, "
            "symmetric int8 and float32 biases, or choose the back end onnxruntime"
        )


def _quantization_faults(proto: ModelProto) -> Iterator[str]:
    """Anything but int8 between Q and DQ: of uint8 the parser keeps half the range, of int32 it fails or does worse."""
    inferred = shape_inference.infer_shapes(proto).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in inferred.value_info}
    kinds |= {tensor.name: tensor.data_type for tensor in inferred.initializer}
    for node in inferred.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            quantized = node.output[0] if node.op_type == "QuantizeLinear" else node.input[0]
            kind = kinds.get(quantized, TensorProto.UNDEFINED)
            if kind != TensorProto.INT8:
                yield f"{node.op_type} '{node.name or quantized}' is of {TensorProto.DataType.Name(kind).lower()}"


def _network_flags(library: Library) -> int:
    typed = getattr(library.module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if typed is None else 1 << int(typed)


def _parse(library: Library, network: Network, graph: bytes, model: Model) -> None:
    parser = library.module.OnnxParser(network, library.log.logger)
    if not parser.parse(graph):
        raise ModelRefused(
            f"{model.file}: {library.name} {library.version} does not take it: {_reason(parser)}; "
            "export the model again without that operator or choose the back end onnxruntime"
        )


def _reason(parser: OnnxParser) -> str:
    if not parser.num_errors:
        return "it gives no reason"
    error = parser.get_error(0)
    return f"{error.node_operator()} '{error.node_name()}': {one_line(error.desc())}"


def _configure(library: Library, config: BuilderConfig, options: BuildOptions, target: str) -> None:
    module = library.module
    settings: Any = config  # what it has differs by version
    config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, options.workspace_mb << 20)
    settings.builder_optimization_level = options.level
    tf32 = getattr(module.BuilderFlag, "TF32", None)
    if tf32 is not None and not options.tf32:
        config.clear_flag(tf32)
    capabilities = getattr(module, "ComputeCapability", None)
    capability = getattr(capabilities, target, None)
    if capability is not None:
        settings.num_compute_capabilities = 1
        settings.set_compute_capability(capability, 0)
    elif capabilities is not None or target != THIS_GPU:
        raise BuildFailed(
            f"{library.name} {library.version} does not build for {target}; leave the target out on the GPU itself"
        )


def _failed(library: Library, model: Model, what: str) -> BuildFailed:
    return BuildFailed(
        f"{model.file}: {library.name} {library.version} builds {what}: {library.log.errors()}; "
        "check the GPU, its driver and free memory"
    )
