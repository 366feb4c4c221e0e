"""Measure a cascade beside its accurate member: certificates over many splits, and speed in turns.

    python benchmarks/cascade.py FAST ACCURATE --data cifar10 -o FILE.json
    python benchmarks/cascade.py FAST ACCURATE --data cifar10 --precision f32 --precision bf16 --int8 FAST8 ACCURATE8

``splits``: the images are divided in halves at random. 'wrn cascade' certifies a rule on one half, as it would on all
images, and the loss is measured on the other. ``speed``: a cascade is made of all images in every precision, and it and
its last member take turns (ABBA) in 'wrn evaluate', 'wrn bench' (networks, files to answers, single images), and
'wrn serve' under load. The service needs wrk; without it that part is left out and the document says so.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

import wideresnet
from serving.measure import ready, serving, wrk
from wideresnet.architectures import get_architecture
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.open import open_labelled
from wideresnet.engines.throughput import tune_settings
from wideresnet.machine import machine_facts
from wideresnet.output.atomic import save_text
from wideresnet.records import InferenceSettings
from wideresnet.report import benchmark
from wideresnet.report import cascade as report
from wideresnet.tasks.cascade.certify import certify, halves
from wideresnet.tasks.cascade.rule import Answers, Measurement
from wideresnet.tasks.evaluate.evaluate import score
from wideresnet.tasks.load.cifar_archive import locate_data
from wideresnet.tasks.load.load import ModelChoice, load_bundle, open_classifier

PORT = "8930"
LOADS = {"64": (64, 1), "1": (1, 1), "8x8": (8, 8)}   # clients, and images in a request of each
IMAGES = 1000                                      # that clients send, at most: of all classes
ABBA = (0, 1, 1, 0)                                # of the two models, in every round
NAMES = "accurate", "cascade"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a cascade beside its accurate member.")
    parser.add_argument("members", nargs=2, metavar="MODEL", help="the fast one, then the accurate one")
    parser.add_argument("--data", type=Path, required=True, help="labelled images, as for 'wrn cascade'")
    parser.add_argument("--max-drop", type=float, default=0.3, help="percentage points")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--precision", action="append", choices=("f32", "bf16"), help="default: f32, or int8")
    parser.add_argument("--int8", nargs=2, metavar=("FAST", "ACCURATE"), help="the same networks in int8")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of a turn")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    accurate = load_bundle(ModelChoice(options.members[1]))
    data = open_labelled(locate_data(options.data), accurate.labels)
    document: dict[str, Any] = {"machine": machine_facts(), "data": data.name, "members": options.members}
    if options.splits:
        document["splits"] = splits(options.members, data, options.max_drop / 100, options.splits)
    stored = "int8" if accurate.card.precision == "int8" else "f32"
    pairs = dict.fromkeys(options.precision or (stored,), options.members)
    pairs |= {"int8": options.int8} if options.int8 else {}
    with TemporaryDirectory(prefix="wrn-cascade-") as folder:
        files = image_files(data, options.data, Path(folder) / "files")
        for precision, members in pairs.items():
            document[precision] = speed(members, precision, data, files, Path(folder) / precision, options)
    document["machine"]["load1_after"] = machine_facts()["load1"]
    save_text(options.output, json.dumps(document, indent=1) + "\n")


def image_files(data: LabelledData, given: Path, folder: Path) -> Path:
    """A folder with the images as files: written as PNG to ``folder`` if ``given`` is an archive."""
    if given.is_dir():
        return given
    folder.mkdir()
    for number, item in enumerate(data.items):
        Image.fromarray(item.source).save(folder / f"{number:05}.png")
    return folder


def splits(members: Sequence[str], data: LabelledData, max_drop: float, count: int) -> dict[str, Any]:
    """Certify on one half of the images, measure the loss on the other; fractions of 1."""
    bundles, sources = [load_bundle(ModelChoice(member)) for member in members], [item.source for item in data.items]
    logits = tuple(wideresnet.load(member, streams=0).logits(sources, data.exif) for member in members)
    macs = tuple(get_architecture(b.card.architecture).macs(b.card.preprocess.crop) for b in bundles)
    answers = Answers(logits, np.array([item.label for item in data.items], np.int64), macs)
    rows = []
    for seed in range(count):
        known, fresh = (answers.take(half) for half in halves(answers.labels, seed=1000 + seed))
        certified = certify(known, max_drop, macs[-1], seed)
        point = Measurement(fresh, certified.temperatures).point(certified.point.rule, certified.point.thresholds)
        passed = certified.point.bound95 <= max_drop
        rows.append({
            "certified": passed, "bound95": certified.point.bound95, "n": certified.point.n, "fresh": point.n,
            "loss": point.drop, "within_bound": point.drop <= certified.point.bound95,
            "within_max_drop": point.drop <= max_drop, "top1": point.top1, "top1_accurate": point.top1_accurate,
            "passed_on": point.passed_on, "macs_ratio": macs[-1] / point.macs,
        })  # fmt: skip
    valid = [row for row in rows if row["certified"]]
    counted = {name: sum(row[name] for row in valid) for name in ("certified", "within_bound", "within_max_drop")}
    means = {name: mean(row[name] for row in valid) for name in ("loss", "passed_on", "macs_ratio") if valid}
    return print_row({"max_drop": max_drop, "of": count, **counted, "means": means}) | {"rows": rows}


def speed(
    members: Sequence[str], precision: str, data: LabelledData, files: Path, folder: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Make a cascade and measure it and its last member in turns; images a second."""
    arithmetic = "bf16" if precision == "bf16" else "f32"
    made = wideresnet.cascade(
        folder, members, options.data, max_drop=options.max_drop / 100, precision=arithmetic, progress=True
    )
    certificate = {name: value for name, value in report.to_json(made).items() if name not in ("curve", "flips")}
    print(report.to_text(made), file=sys.stderr)
    if not made.bundle:
        return {"certificate": certificate}
    models, several = (members[-1], str(folder)), len(made.cascade.specs) > 1      # crops, which no engine takes
    benched = wideresnet.bench(
        models, measurements=["end-to-end", "latency"] if several else ["engine", "end-to-end", "latency"],
        precisions=[precision], data=files, seconds=options.seconds * options.rounds, rounds=2 * options.rounds,
    )  # fmt: skip
    return {
        "certificate": certificate, "evaluate": turns(evaluations(models, arithmetic, data), options.rounds),
        "bench": benchmark.to_json(benched)["rows"], "serve": service(models, arithmetic, files, options),
    }  # fmt: skip


def evaluations(models: Sequence[str], precision: str, data: LabelledData) -> list[Callable[[], dict[str, float]]]:
    def evaluation(model: str) -> Callable[[], dict[str, float]]:
        bundle = load_bundle(ModelChoice(model))
        settings = InferenceSettings(precision=bundle.card.arithmetic(precision), batch_size=0, exif=data.exif)
        options, settings = tune_settings(bundle, settings)
        classifier = open_classifier(bundle, options=options)

        def run() -> dict[str, float]:
            started = time.perf_counter()
            deque(score(classifier, data, settings.batch_size), maxlen=0)
            return {"images_per_s": len(data.items) / (time.perf_counter() - started)}

        return run

    return [evaluation(model) for model in models]


def service(models: Sequence[str], precision: str, files: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Both models in one service, asked in turns under each of ``LOADS``."""
    if not shutil.which("wrk"):
        return {"left_out": "no wrk"}
    named = chain.from_iterable(("-m", f"{name}={model}") for name, model in zip(NAMES, models, strict=True))
    command = [sys.executable, "-m", "wideresnet", "serve", *named]
    command += ["--precision", precision] if precision != "f32" else []
    images = sorted(str(file) for file in files.rglob("*") if file.is_file())
    images = images[:: -(-len(images) // IMAGES)]
    with serving(("wrn serve", command, {"WRN_SERVE_PORT": PORT, "PORT": PORT}, "/v1/classify"), models[0]) as server:
        urls = [f"{server.url}?model={name}" for name in NAMES]

        def load(url: str, clients: int, per_request: int) -> Callable[[], dict[str, Any]]:
            def run() -> dict[str, Any]:
                result = wrk(replace(server, url=url), clients, options.seconds, images, per_request=per_request)
                server.settle()
                return result

            return run

        for url in urls:
            ready(replace(server, url=url), images)
        return {name: turns([load(url, *shape) for url in urls], options.rounds) for name, shape in LOADS.items()}


def turns(runs: Sequence[Callable[[], dict[str, Any]]], rounds: int) -> dict[str, Any]:
    """Results of the two in turns, and the ratios of their images a second: median, least and largest of the rounds."""
    results: list[dict[str, Any]] = []
    ratios = []
    for number in range(rounds):
        rates: dict[int, list[float]] = {0: [], 1: []}
        for which in ABBA:
            result = runs[which]()
            rates[which].append(result["images_per_s"])
            results.append(print_row({"model": NAMES[which], "round": number, **result}))
        ratios.append(sum(rates[1]) / sum(rates[0]))
    return {"ratio": median(ratios), "range": [min(ratios), max(ratios)], "turns": results}


def print_row(row: dict[str, Any]) -> dict[str, Any]:
    print(json.dumps(row), file=sys.stderr, flush=True)
    return row


if __name__ == "__main__":
    main()
