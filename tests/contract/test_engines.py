"""One contract for every engine: the logits of eager torch on the weights as they were before folding.

Largest difference seen over the networks and batches below (logits' spread 0.15 to 0.24): 1.8e-7 in float32,
2.9e-4 with float16 weights, 3.8e-3 in bfloat16.
"""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fakes import NETWORKS, tiny_bundle, tiny_images, tiny_tensors
from wideresnet.engines import ENGINES, EngineOptions, open_engine
from wideresnet.errors import ConfigError, EngineError, MissingExtra
from wideresnet.graph import write_graph
from wideresnet.machine import available_cpus
from wideresnet.records import Preprocess

torch = pytest.importorskip("torch")
# The first answers of a process, asked for by several threads at once. Without the tensor that the OpenVINO engine
# makes beforehand, most such processes never end.
AT_ONCE = """
from threading import Barrier, Thread
import numpy as np
import wideresnet
classifier, ready = wideresnet.load("wrn_16_4.cifar10"), Barrier(4)
black, answers = np.zeros((1, 32, 32, 3), np.uint8), []
def ask():
    ready.wait()
    answers.append(classifier.logits(black))
threads = [Thread(target=ask) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(answers))
"""
# Threads that may not run on all CPUs of their process, while images are answered.
AFFINITIES = """
import os, sys, threading
from contextlib import suppress
import numpy as np
from wideresnet.engines import EngineOptions, open_engine
from wideresnet.tasks.load.load import ModelChoice, load_bundle
own, bound = os.sched_getaffinity(0), set()
run = open_engine(load_bundle(ModelChoice("wrn_16_4.cifar10")), sys.argv[1], EngineOptions(hint=sys.argv[2]))
batches = [np.zeros((8, 32, 32, 3), np.uint8)] * 8
answers = threading.Thread(target=lambda: list(run.stream(batches)))
answers.start()
while answers.is_alive():
    for thread in os.listdir("/proc/self/task"):
        with suppress(ProcessLookupError):
            bound |= {thread} if os.sched_getaffinity(int(thread)) != own else set()
print(bound)
"""
MODULES = {"openvino": "openvino", "onnxruntime": "onnxruntime", "pytorch": "torch"}
IMAGES = 7


@pytest.fixture(autouse=True)
def _keep_torch_threads():
    """The engine pytorch sets them for the whole process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=ENGINES)
def engine(request):
    """The name of each engine that is installed."""
    pytest.importorskip(MODULES[request.param])
    return request.param


@pytest.fixture(scope="module")
def graphs():
    """Name -> bytes of the graph, and of the one with float16 weights under ``(name, "half")``."""
    made = {}
    for name, architecture in NETWORKS.items():
        for half in (False, True):
            model = write_graph(architecture, tiny_tensors(architecture), view(name), half=half)
            made[(name, "half") if half else name] = model.SerializeToString()
    return made


@pytest.fixture(scope="module")
def reference():
    """Name -> float32 [7, 10]: eager torch, batch norms not folded, 7 images in one batch."""
    from wideresnet.models import create_model

    answers = {}
    for name, architecture in NETWORKS.items():
        model = create_model(architecture).eval()
        model.load_state_dict({k: torch.from_numpy(v) for k, v in tiny_tensors(architecture).items()})
        mean, std = torch.tensor(view(name).mean), torch.tensor(view(name).std)
        x = (torch.from_numpy(images(name)).float() / 255 - mean) / std
        with torch.inference_mode():
            answers[name] = model(x.permute(0, 3, 1, 2)).numpy()
    return answers


def view(name: str) -> Preprocess:
    return Preprocess(resize=NETWORKS[name].input_size, crop=NETWORKS[name].input_size)


def images(name: str) -> np.ndarray:
    return tiny_images(IMAGES, NETWORKS[name].input_size)


def opened(engine: str, graph: bytes, name: str = "wrn_10_1", options: EngineOptions | None = None):
    """Without ``open_engine``: the small networks have no name to look up."""
    options = options or EngineOptions()
    if engine == "openvino":
        from wideresnet.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(graph, options)
    if engine == "onnxruntime":
        from wideresnet.engines.onnxruntime import OnnxRuntimeEngine

        return OnnxRuntimeEngine(graph, options)
    from wideresnet.engines.pytorch import PyTorchEngine

    return PyTorchEngine(graph, options, NETWORKS[name], view(name))


# Logits


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_agree_with_eager_torch_at_any_batch(engine, graphs, reference, name):
    run = opened(engine, graphs[name], name)
    for size in (7, 1, 0, 2):                      # one engine, changing batches, up and down
        logits = run(images(name)[:size])
        assert (logits.dtype, logits.shape) == (np.float32, (size, NETWORKS[name].classes))
        np.testing.assert_allclose(logits, reference[name][:size], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_float16_weights_are_read_by_every_engine(engine, graphs, reference, name):
    logits = opened(engine, graphs[name, "half"], name)(images(name))
    np.testing.assert_allclose(logits, reference[name], rtol=0, atol=1e-3)


def test_the_throughput_hint_gives_the_same_logits(engine, graphs, reference):
    """Also where a batch is smaller than the number of parts it could be split into."""
    run = opened(engine, graphs["basic"], "basic", EngineOptions(hint="throughput"))
    for size in (7, 1, 0):
        np.testing.assert_allclose(run(images("basic")[:size]), reference["basic"][:size], rtol=0, atol=1e-4)


@pytest.mark.parametrize("hint", ["latency", "throughput"])
def test_a_stream_gives_the_logits_of_each_batch_in_order(engine, graphs, hint):
    """More batches than can be in flight, of all sizes, each one's memory overwritten once it was answered."""
    run = opened(engine, graphs["wrn_10_1"], options=EngineOptions(hint=hint))
    source = np.concatenate([images("wrn_10_1")] * 3)
    sizes = [1, 2, 0, 3, 1, 1, 4, 2, 1, 5, 1]
    cuts = np.split(source, np.cumsum(sizes))[: len(sizes)]
    answers = list(run.stream(cut.copy() for cut in cuts))
    assert [len(answer) for answer in answers] == sizes
    np.testing.assert_allclose(np.concatenate(answers), run(source), rtol=0, atol=1e-5)


@pytest.mark.parametrize("hint", ["latency", "throughput"])
def test_many_threads_at_once_get_each_its_own_answer(engine, graphs, hint):
    """More threads than an engine keeps requests for, as a service has."""
    run = opened(engine, graphs["wrn_10_1"], options=EngineOptions(hint=hint))
    batch = images("wrn_10_1")
    expected = run(batch)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: run(batch[n % IMAGES :][:2]), range(200)))
    for n, answer in enumerate(answers):
        np.testing.assert_allclose(answer, expected[n % IMAGES :][:2], rtol=0, atol=1e-5)


def test_threads_may_ask_first():
    done = subprocess.run([sys.executable, "-c", AT_ONCE], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "4\n", done.stderr[-2000:]


@pytest.mark.skipif(sys.platform != "linux" or available_cpus() < 2, reason="/proc, and two CPUs")
@pytest.mark.parametrize("hint", ["latency", "throughput"])
def test_no_thread_is_bound_to_some_of_the_cpus(engine, hint):
    command = [sys.executable, "-c", AFFINITIES, engine, hint]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "set()\n", done.stdout + done.stderr[-2000:]


def test_a_stream_can_be_left_and_the_engine_used_again(engine, graphs):
    run = opened(engine, graphs["wrn_10_1"], options=EngineOptions(hint="throughput"))
    batch = images("wrn_10_1")
    stream = run.stream(batch[:1] for _ in range(1000))
    first = next(stream)
    stream.close() if hasattr(stream, "close") else None
    np.testing.assert_allclose(run(batch)[:1], first, rtol=0, atol=1e-5)


def test_a_stream_refuses_what_a_call_refuses(engine, graphs):
    run = opened(engine, graphs["wrn_10_1"])
    with pytest.raises(EngineError, match="takes RGB uint8"):
        list(run.stream([images("wrn_10_1").astype(np.float32)]))


def test_an_answer_is_the_callers_own(engine, graphs):
    """A later call does not change what an earlier one gave, nor the batch that it was given."""
    run = opened(engine, graphs["wrn_10_1"])
    batch = images("wrn_10_1")
    first = run(batch[:2])
    kept, given = first.copy(), batch.copy()
    run(batch[2:4])
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(batch, given)


def test_memory_order_does_not_matter(engine, graphs, reference):
    """Views, reversed and column-major arrays are as good as any."""
    run, batch = opened(engine, graphs["wrn_10_1"]), images("wrn_10_1")
    for same in (np.asfortranarray(batch), batch[::-1].copy()[::-1], np.repeat(batch, 2, axis=0)[::2]):
        assert not same.flags.c_contiguous
        np.testing.assert_allclose(run(same), reference["wrn_10_1"], rtol=0, atol=1e-4)


def test_a_batch_that_may_not_be_written_is_fine(engine, graphs, reference):
    """Arrays over files and bytes are read-only."""
    batch = np.frombuffer(images("wrn_10_1").tobytes(), np.uint8).reshape(IMAGES, 32, 32, 3)
    np.testing.assert_allclose(
        opened(engine, graphs["wrn_10_1"])(batch), reference["wrn_10_1"], rtol=0, atol=1e-4
    )


# What is no batch


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((1, 32, 32, 3), np.float32),
        np.zeros((1, 32, 32, 3), np.int8),
        np.zeros((32, 32, 3), np.uint8),
        np.zeros((1, 3, 32, 32), np.uint8),
        np.zeros((1, 31, 32, 3), np.uint8),
        np.zeros((1, 32, 32, 4), np.uint8),
        np.zeros((0,), np.uint8),
    ],
    ids=lambda batch: f"{batch.dtype}{list(batch.shape)}",
)
def test_another_shape_or_type_is_an_error_that_shows_both(engine, graphs, batch):
    run = opened(engine, graphs["wrn_10_1"])
    with pytest.raises(EngineError, match=r"takes RGB uint8 \[N, 32, 32, 3\], got") as caught:
        run(batch)
    assert str(list(batch.shape)) in str(caught.value)
    assert batch.dtype.name in str(caught.value)


# What ran


def test_info_says_what_runs(engine, graphs):
    info = opened(engine, graphs["wrn_10_1"], options=EngineOptions(threads=1)).info
    assert (info.runtime, info.device, info.precision, info.threads) == (engine, "CPU", "f32", 1)
    assert info.version[:1].isdigit()


def test_no_number_of_threads_means_all_that_the_process_has(engine, graphs):
    ran, cpus = opened(engine, graphs["wrn_10_1"]).info.threads, available_cpus()
    assert ran == cpus or (engine == "openvino" and cpus // 2 <= ran < cpus), "it may leave hyper-threads alone"


def test_torch_engines_run_with_their_own_threads(graphs):
    """torch has one number for the process; the engine that was opened last must not decide for the others."""
    batch = tiny_images(1, 32)
    one, two = (opened("pytorch", graphs["wrn_10_1"], options=EngineOptions(threads=count)) for count in (1, 2))
    for engine in (one, two, one):
        engine(batch)
        assert torch.get_num_threads() == engine.info.threads


def test_openvino_reports_the_threads_that_it_takes(graphs):
    """Asked for more than there are CPUs, it uses no more than these."""
    cpus = available_cpus()
    for threads, most in ((64 * cpus, cpus), (1, 1)):
        info = opened("openvino", graphs["wrn_10_1"], options=EngineOptions(threads=threads)).info
        assert 1 <= info.threads <= most


def test_the_reported_precision_is_the_one_that_ran(engine, graphs, reference):
    """bfloat16 shows in the third digit; who reports it must show it, who reports float32 must not."""
    if engine == "onnxruntime":
        with pytest.raises(EngineError, match="no bf16 convolutions"):
            opened(engine, graphs["wrn_16_2"], "wrn_16_2", EngineOptions(precision="bf16"))
        return
    run = opened(engine, graphs["wrn_16_2"], "wrn_16_2", EngineOptions(precision="bf16"))
    logits = run(images("wrn_16_2"))
    difference = np.abs(logits - reference["wrn_16_2"]).max()
    assert logits.dtype == np.float32
    assert run.info.precision in ("bf16", "f32")
    assert (difference > 1e-4) == (run.info.precision == "bf16")
    assert difference < 0.02


# Opening


def test_a_bundle_opens_in_every_engine(engine, reference):
    logits = open_engine(tiny_bundle(), engine)(images("wrn_10_1"))
    np.testing.assert_allclose(logits, reference["wrn_10_1"], rtol=0, atol=1e-4)


def test_what_is_no_graph_is_an_error(engine):
    with pytest.raises(EngineError, match="cannot open the graph"):
        opened(engine, b"no graph")


def test_an_unknown_engine_gets_the_closest_known_one():
    with pytest.raises(ConfigError, match="no engine called 'openvimo'") as caught:
        open_engine(tiny_bundle(), "openvimo")
    assert caught.value.hint == "did you mean 'openvino'?"
    with pytest.raises(ConfigError) as caught:
        open_engine(tiny_bundle(), "zzz")
    assert all(name in caught.value.hint for name in ENGINES)


@pytest.mark.parametrize(("name", "extra"), [("onnxruntime", "onnxruntime"), ("pytorch", "train")])
def test_an_engine_that_is_not_installed_names_its_extra(name, extra, monkeypatch):
    monkeypatch.delitem(sys.modules, f"wideresnet.engines.{name}", raising=False)
    monkeypatch.setitem(sys.modules, MODULES[name], None)
    with pytest.raises(MissingExtra, match=f"the engine {name} needs {MODULES[name]}") as caught:
        open_engine(tiny_bundle(), name)
    assert caught.value.hint == f"pip install 'wideresnet[{extra}]'"


@pytest.mark.parametrize("threads", [-1, 2.5, "2", 100_000])
def test_an_impossible_number_of_threads_is_refused_before_any_runtime_sees_it(threads):
    with pytest.raises(ConfigError, match=r"threads must be an integer from 0 \(all CPUs\) to 1024"):
        open_engine(tiny_bundle(), options=EngineOptions(threads=threads))


def test_an_unknown_precision_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="no precision called 'f16'") as caught:
        open_engine(tiny_bundle(), options=EngineOptions(precision="half"))
    assert caught.value.hint == "known: f32, bf16"
