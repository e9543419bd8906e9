"""The bodies of `engines.cuda.Cuda`: one contract for host memory and for each that finds a GPU.

Without a GPU the real cuda-bindings still loads, and each of its errors becomes a line of ours.
"""

import gc
import importlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from engines.cuda import BODIES, Cuda, open_cuda
from engines.errors import BackendMissing, DeviceFailed
from tests.contract import tensor_rt_graphs as graphs
from tests.contract.host_cuda import HostCuda

SIZE = 4096
BYTES = np.zeros(16, np.uint8)
# Every call of the protocol that reaches the driver, and CUDA's function under it.
CALLS: dict[str, tuple[Callable[[Cuda], object], str]] = {
    "malloc": (lambda cuda: cuda.malloc(16), "cudaMalloc"),
    "free": (lambda cuda: cuda.free(4096), "cudaFree"),
    "host_alloc": (lambda cuda: cuda.host_alloc(16), "cudaMallocHost"),
    "stream": (lambda cuda: cuda.stream(), "cudaStreamCreateWithFlags"),
    "stream_free": (lambda cuda: cuda.stream_free(4096), "cudaStreamDestroy"),
    "copy_in": (lambda cuda: cuda.copy_in(4096, BYTES, 4096), "cudaMemcpyAsync"),
    "copy_out": (lambda cuda: cuda.copy_out(BYTES, 4096, 4096), "cudaMemcpyAsync"),
    "sync": (lambda cuda: cuda.sync(4096), "cudaStreamSynchronize"),
    "event": (lambda cuda: cuda.event(), "cudaEventCreate"),
    "event_free": (lambda cuda: cuda.event_free(4096), "cudaEventDestroy"),
    "record": (lambda cuda: cuda.record(4096, 4096), "cudaEventRecord"),
    "elapsed_ms": (lambda cuda: cuda.elapsed_ms(4096, 4096), "cudaEventElapsedTime"),
}


def there_and_back(cuda: Cuda, seed: int) -> None:
    """Random bytes through the device."""
    stream, address = cuda.stream(), cuda.malloc(SIZE)
    source, target = cuda.host_alloc(SIZE), cuda.host_alloc(SIZE)
    assert not source.any()
    source[:] = np.random.default_rng(seed).integers(0, 256, SIZE, np.uint8)
    cuda.copy_in(address, source, stream)
    cuda.copy_out(target, address, stream)
    cuda.sync(stream)
    assert (source == target).all()
    cuda.free(address)
    cuda.stream_free(stream)


def bytes_come_back_as_they_went(cuda: Cuda) -> None:
    for seed in range(3):
        there_and_back(cuda, seed)


def another_thread_may_use_it(cuda: Cuda) -> None:
    """Thread `load` of vision makes a session, thread `infer` runs it; nothing stays with a thread that ends."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(there_and_back, cuda, 7).result()
    there_and_back(cuda, 8)


def pinned_memory_outlives_the_device(cuda: Cuda) -> None:
    memory = cuda.host_alloc(SIZE)
    view = memory.reshape(2, -1).view(np.float32)
    del memory
    cuda.close()
    gc.collect()
    view.fill(1.5)
    assert (view == 1.5).all()


def events_measure_forwards(cuda: Cuda) -> None:
    stream, start, end = cuda.stream(), cuda.event(), cuda.event()
    cuda.record(start, stream)
    cuda.record(end, stream)
    cuda.sync(stream)
    assert 0 <= cuda.elapsed_ms(start, end) < 1000
    for event in (start, end):
        cuda.event_free(event)
    cuda.stream_free(stream)


def the_gpu_says_what_it_is(cuda: Cuda) -> None:
    assert cuda.gpu.name
    assert re.fullmatch(r"\d+\.\d+", cuda.gpu.capability)
    assert re.fullmatch(r"\d+\.\d+", cuda.gpu.driver)
    assert cuda.gpu.memory_mb > 0


CONTRACT = (
    bytes_come_back_as_they_went,
    another_thread_may_use_it,
    events_measure_forwards,
    the_gpu_says_what_it_is,
    pinned_memory_outlives_the_device,
)


@pytest.mark.parametrize("clause", CONTRACT)
def test_host_memory_keeps_the_contract(clause: Callable[[Cuda], None]) -> None:
    clause(HostCuda())


@pytest.mark.parametrize("body", BODIES)
def test_a_body_that_finds_a_gpu_keeps_the_contract(body: str) -> None:
    try:
        cuda = open_cuda(body)
    except (BackendMissing, DeviceFailed) as error:
        pytest.skip(f"needs {body} and a GPU: {error}")
    for clause in CONTRACT:
        clause(cuda)
    cuda.close()


def deviceless() -> Cuda:
    """The body as it is before it opened a device."""
    graphs.needs_no_gpu()
    if importlib.util.find_spec("cuda") is None:
        pytest.skip("needs cuda-bindings of the extra `test`")
    body = importlib.import_module("engines.cuda_bindings_body").RuntimeCuda
    found: Cuda = body.__new__(body)
    return found


def test_no_device_is_one_line_that_says_so() -> None:
    deviceless()
    with pytest.raises(
        DeviceFailed, match=r"^cudaSetDevice: .*\(cudaError(InsufficientDriver 35|NoDevice 100)\)"
    ) as caught:
        open_cuda("cuda-bindings")
    assert "check the GPU and its driver" in str(caught.value)


@pytest.mark.parametrize("name", CALLS)
def test_every_call_is_one_that_the_real_library_takes(name: str) -> None:
    """A wrong argument would be a TypeError; without a driver the library answers each call with its status."""
    call, function = CALLS[name]
    with pytest.raises(DeviceFailed, match=f"^{function}: "):
        call(deviceless())


def test_the_calls_are_the_whole_protocol() -> None:
    methods = {name for name in vars(Cuda) if not name.startswith("_")}
    assert methods - {"gpu", "close"} == set(CALLS)
    assert methods <= set(dir(HostCuda()))


def test_a_body_that_is_not_installed_is_named() -> None:
    if importlib.util.find_spec("pycuda") is not None:
        pytest.skip("needs a machine without pycuda")
    with pytest.raises(BackendMissing, match=r"^pycuda: not installed; .*docs/operations/tensorrt\.md"):
        open_cuda("pycuda")


def test_nothing_of_nvidia_is_imported_with_our_modules() -> None:
    ours = "engines.cuda, engines.tensor_rt, engines.tensor_rt_api, engines.tensor_rt_build, engines.plan_file"
    roots = "{'cuda', 'pycuda', 'tensorrt', 'tensorrt_rtx', 'tensorrt_rtx_bindings', 'tensorrt_bindings'}"
    source = f"import sys, {ours}; print(sorted({roots} & {{name.partition('.')[0] for name in sys.modules}}))"
    found = subprocess.run([sys.executable, "-c", source], cwd=graphs.ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
