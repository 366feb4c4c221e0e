"""Measure common alternatives beside this package, in one run: OpenVINO's own loop, eager and compiled torch, a script.

    python benchmarks/baselines.py -m wide_resnet50_2.tv_in1k --what engine --data photos/ -o speed.json

Needs an environment with this package, its extra ``train`` and, for ``torch.compile``, a C++ compiler. The document is
that of ``wrn bench``; memory is not measured (null).

    openvino-stock              OpenVINO's asynchronous queue, as benchmark_app: static batch 1, its default precision
    torch-eager                 the torch module, contiguous memory
    torch-eager-channels-last   the same in channels_last
    torch-compile               torch.compile with frozen weights
    plain-script                end to end: Pillow transforms in a DataLoader with a worker per CPU, eager float32
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from wideresnet.bundle import Bundle, network_of
from wideresnet.engines import EngineOptions
from wideresnet.engines.openvino import executed
from wideresnet.engines.pytorch import open_module
from wideresnet.errors import EngineError, WrnError
from wideresnet.graph.outputs import parse_graph
from wideresnet.images.preprocess import preprocess
from wideresnet.machine import available_cpus, machine_facts
from wideresnet.precision import Precision
from wideresnet.records import BenchReport, EngineInfo, Item, Preprocess, follow
from wideresnet.report import benchmark
from wideresnet.report.escape import json_text
from wideresnet.tasks.bench.candidates import Candidate, pixels, streaming
from wideresnet.tasks.bench.fixtures import Fixtures
from wideresnet.tasks.bench.interleave import Work
from wideresnet.tasks.bench.measure import measure
from wideresnet.tasks.bench.options import BenchSettings, Entry, options_of
from wideresnet.tasks.bench.peak import open_gemms
from wideresnet.tasks.bench.run import conditions, make_row
from wideresnet.tasks.load.load import ModelChoice, load_bundle

STOCK, PLAIN_SCRIPT = "openvino-stock", "plain-script"
EAGER, EAGER_LAST, COMPILED = "torch-eager", "torch-eager-channels-last", "torch-compile"
# What is measured -> the baselines (engine, precision) that can do it.
BASELINES: dict[str, tuple[tuple[str, str], ...]] = {
    "engine": (
        (STOCK, "bf16"), (STOCK, "int8"), ("onnxruntime", "f32"), ("onnxruntime", "int8"),
        (EAGER, "f32"), (EAGER_LAST, "f32"), (COMPILED, "f32"), (COMPILED, "bf16"),
    ),
    "latency": (
        (STOCK, "bf16"), (STOCK, "int8"), ("onnxruntime", "f32"), ("onnxruntime", "int8"),
        (EAGER, "f32"), (COMPILED, "f32"), (COMPILED, "bf16"),
    ),
    "end-to-end": ((PLAIN_SCRIPT, "f32"),),
}  # fmt: skip


def main() -> None:
    """Measure this package and the baselines in turns, and print one JSON document."""
    parser = argparse.ArgumentParser(description="Measure common alternatives beside this package, in one run.")
    parser.add_argument("-m", "--model", default="wrn_16_4.cifar10")
    parser.add_argument("--what", action="append", choices=tuple(BASELINES), help="may be repeated; default: engine")
    parser.add_argument("--precision", default="f32", help="of this package, with commas: f32,bf16,int8")
    parser.add_argument("--data", type=Path, help="a folder of images; without it, noise")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0, help="per candidate")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    settings = BenchSettings(
        tuple(arguments.what or ["engine"]), precisions=tuple(arguments.precision.split(",")),
        batches=(arguments.batch,), rounds=arguments.rounds, seconds=arguments.seconds, data=arguments.data,
    )  # fmt: skip
    text = json_text(benchmark.to_json(run(load_bundle(ModelChoice(arguments.model)), settings)), indent=1)
    if arguments.output:
        arguments.output.write_text(text + "\n", "utf-8")
    print(text)


def run(bundle: Bundle, settings: BenchSettings) -> BenchReport:
    """Measure the package's own candidates and the baselines, interleaved."""
    machine = machine_facts()                      # before anything loads the machine
    with TemporaryDirectory(prefix="wrn-bench-") as name:
        fixtures = Fixtures(settings, [bundle], Path(name))
        candidates = fixtures.open(fixtures.entries())
        for entry in baseline_entries(bundle, settings):
            try:
                candidates.append(open_baseline(entry, fixtures))
            except (WrnError, ImportError) as error:
                fixtures.skipped[entry.name] = str(error)
        results = follow(measure(candidates, open_gemms(available_cpus()), settings))
        rows = [
            make_row(fixtures, candidate.entry, candidate.info, summary, results.peak)
            for candidate, summary in zip(candidates, results.summaries, strict=True)
        ]
        return BenchReport(
            machine, conditions(fixtures), results.peak, tuple(rows), skipped=fixtures.skipped,
            skipped_files=fixtures.skipped_files,
        )  # fmt: skip


def baseline_entries(bundle: Bundle, settings: BenchSettings) -> list[Entry]:
    """Return the baselines for the requested measurements; int8 only if it is a requested precision."""
    return [
        Entry(
            bundle.card.name, measurement, engine, precision,  # type: ignore[arg-type]
            1 if measurement == "latency" or engine == STOCK else settings.batches[0],
            sync=measurement == "latency", files=measurement == "end-to-end",
        )
        for measurement in settings.measurements
        for engine, precision in BASELINES[measurement]
        if precision != "int8" or "int8" in settings.precisions
    ]  # fmt: skip


def open_baseline(entry: Entry, fixtures: Fixtures) -> Candidate:
    """Open one baseline, ready to run. Raises WrnError if it cannot run the model."""
    bundle, items, options = fixtures.model(entry), fixtures.items, options_of(entry)
    if entry.engine == "onnxruntime":
        (candidate,) = fixtures.open([entry])
        return candidate
    if entry.engine == PLAIN_SCRIPT:
        info, work = plain_script(bundle, entry.batch, fixtures.folder / "script.jsonl")
        return Candidate(entry, info, work, lambda: cycle(items), 1)
    batch = pixels(bundle, items, entry.batch)
    if entry.engine == STOCK:
        info, work = stock_loop(bundle, options)
    else:
        engine = TorchEngine(bundle, options, channels_last=entry.engine != EAGER, compiled=entry.engine == COMPILED)
        info, work = engine.info, streaming(engine)
    return Candidate(entry, info, work, lambda: cycle([batch]), entry.batch)


def stock_loop(bundle: Bundle, options: EngineOptions) -> tuple[EngineInfo, Work]:
    """Run as OpenVINO's ``benchmark_app``: static batch 1, a queue of requests, outputs not read.

    Precision and streams are OpenVINO's defaults for the hint, unless streams are given.
    """
    model = ov.Core().read_model(bundle.graph)
    shape = model.inputs[0].partial_shape
    shape[0] = 1
    model.reshape(shape)
    threads = options.threads or available_cpus()
    settings: dict[str, Any] = {"PERFORMANCE_HINT": options.hint.upper(), "INFERENCE_NUM_THREADS": threads}
    if options.streams:
        settings["NUM_STREAMS"] = options.streams
    compiled = ov.Core().compile_model(model, "CPU", settings)
    version, streams = ov.__version__.partition("-")[0], int(compiled.get_property("NUM_STREAMS"))
    threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
    info = EngineInfo(STOCK, version, "CPU", executed(compiled), threads, streams)
    if options.hint == "latency":
        return info, _one_by_one(compiled)
    queue = ov.AsyncInferQueue(compiled)

    def work(batches: Iterator[Any], done: Callable[[], None]) -> None:
        queue.set_callback(lambda _request, _data: done())
        for batch in batches:
            queue.start_async([batch], share_inputs=True)
        queue.wait_all()

    return info, work


def _one_by_one(compiled: ov.CompiledModel) -> Work:
    request = compiled.create_infer_request()

    def work(batches: Iterator[Any], done: Callable[[], None]) -> None:
        for batch in batches:
            request.infer([batch], share_inputs=True)
            done()

    return work


class TorchEngine:
    """The torch module, eager or compiled; an ``Engine``.

    ``channels_last``: the memory layout. ``compiled``: torch.compile with frozen weights; in bfloat16 the whole module
    is converted, as inductor requires.
    """

    def __init__(self, bundle: Bundle, options: EngineOptions, *, channels_last: bool, compiled: bool) -> None:
        self._model, self._spec = _module(bundle), bundle.card.preprocess
        self._type = torch.bfloat16 if options.precision == "bf16" else torch.float32
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        # torch's stubs know the two arguments only apart.
        self._model.to(self._type)
        self._model.to(memory_format=self._layout)  # type: ignore[call-overload]
        self._run: Callable[[torch.Tensor], torch.Tensor] = self._model
        if compiled:
            self._run = torch.compile(self._model, options={"freezing": True})
        self._threads = options.threads or available_cpus()
        name = COMPILED if compiled else EAGER_LAST if channels_last else EAGER
        precision: Precision = options.precision
        self.info = EngineInfo(name, torch.__version__, "CPU", precision, self._threads)
        try:
            self(np.zeros((1, self._spec.crop, self._spec.crop, 3), np.uint8)) if compiled else None
        except Exception as error:                 # of any type, from inductor or the C++ compiler
            raise EngineError(f"torch.compile cannot compile here: {str(error).splitlines()[0]}") from error

    @torch.no_grad()
    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Engine``."""
        torch.set_num_threads(self._threads)
        x = _normalised(torch.from_numpy(batch).permute(0, 3, 1, 2), self._spec)
        return self._run(x.to(dtype=self._type, memory_format=self._layout)).float().numpy()

    def stream(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """See ``Engine``; one batch after another, because torch uses all threads for one."""
        return map(self, batches)


class _Images(Dataset[tuple[torch.Tensor, str]]):
    """Image files as normalised tensors."""

    def __init__(self, spec: Preprocess) -> None:
        self.spec = spec

    def __getitem__(self, item: Item) -> tuple[torch.Tensor, str]:
        crop = preprocess(Image.open(item.path).convert("RGB"), self.spec)
        return _normalised(torch.from_numpy(crop).permute(2, 0, 1), self.spec), item.path


class _Turn:
    """The images of the current turn, as a sampler, so that a turn can end at any time."""

    items: Iterator[Item] = iter(())

    def __iter__(self) -> Iterator[Item]:
        return self.items


def plain_script(bundle: Bundle, batch: int, out: Path) -> tuple[EngineInfo, Work]:
    """Run Pillow transforms in a DataLoader with a worker per CPU, eager float32; write the top 5 to ``out``."""
    model, turn, labels = _module(bundle), _Turn(), bundle.labels.names
    threads = available_cpus()
    # Spawned: a forked worker would have the state of OpenVINO's threads without the threads.
    loader = DataLoader(
        _Images(bundle.card.preprocess), batch, sampler=turn, num_workers=available_cpus(),
        persistent_workers=True, multiprocessing_context="spawn",
    )  # fmt: skip

    def work(items: Iterator[Item], done: Callable[[], None]) -> None:
        turn.items = items
        torch.set_num_threads(threads)
        with torch.no_grad(), out.open("w", encoding="utf-8") as file:
            batches = iter(loader)
            # It has set a handler, and on a CPU whose tile registers are in use the kernel may fail to run one.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for x, paths in batches:
                values, indices = model(x).softmax(1).topk(min(5, len(labels)))
                for path, scores, classes in zip(paths, values.tolist(), indices.tolist(), strict=True):
                    answer = {labels[index]: score for index, score in zip(classes, scores, strict=True)}
                    file.write(json.dumps({"path": path, "predictions": answer}) + "\n")
                    done()

    return EngineInfo(PLAIN_SCRIPT, torch.__version__, "CPU", "f32", threads), work


def _module(bundle: Bundle) -> torch.nn.Module:
    return open_module(parse_graph(bundle.graph), network_of(bundle.card))


def _normalised(x: torch.Tensor, spec: Preprocess) -> torch.Tensor:
    """uint8 [..., 3, S, S] -> float32, as torchvision's ToTensor and Normalize do."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (spec.mean, spec.std))
    return (x.float() / 255 - mean) / std


if __name__ == "__main__":
    try:
        main()
    except WrnError as error:
        sys.exit(f"error: {error}")
