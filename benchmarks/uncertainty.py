"""Calibration, prediction sets and unknown images, measured over many splits and beside TorchCP and pytorch-ood.

    python uncertainty.py compute CACHE [-m MODEL] [--tag TAG] --test DATA --train DATA [--outside KIND SOURCE]...
    python uncertainty.py measure CACHE --tag f32 wrn_16_4.cifar10 --tag int8 int8/ -o FILE.json

``compute`` runs a model over the labelled images of ``--test``, a bank of its training images (``--train``), and images
of other kinds, and stores logits and features. ``measure`` needs ``pip install torch torchcp pytorch-ood
scikit-learn``; it runs no network.

SOURCE is CIFAR-100's archive, of which every fifth test image is taken, or a folder of class folders, of which the
first 125 images of each are taken, except the classes that ``--without`` names: those that the network knows. Two kinds
are always made: uniform noise, and synthetic textures, which are noise of three spectra, gratings and checkerboards, in
random colours. README.md has the commands of the documents in ``results/uncertainty``.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.machinery
import json
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, get_args
from unittest.mock import MagicMock

import numpy as np
from onnx.reference import ReferenceEvaluator

from wideresnet.bundle.derive import uncalibrated
from wideresnet.datasets.cifar import cifar_test, detect_cifar
from wideresnet.datasets.open import open_labelled
from wideresnet.datasets.sample import balanced_sample
from wideresnet.engines import EngineOptions
from wideresnet.engines.features import open_features
from wideresnet.graph.calibrated import known_score_graph, with_known_score, with_temperature
from wideresnet.images.files import find_images
from wideresnet.images.loader import load_batches
from wideresnet.machine import available_cpus, machine_facts
from wideresnet.prediction_sets import prediction_sets, set_scores
from wideresnet.records import Item, MarginScale, SetModel, UnknownMethod, wilson_interval
from wideresnet.tasks.calibrate.conformal import fit_sets, quantiles
from wideresnet.tasks.calibrate.temperature import fit_margin, fit_temperature, reliability
from wideresnet.tasks.calibrate.unknown import bank_size, method_constants
from wideresnet.tasks.load.load import ModelChoice, load_bundle
from wideresnet.tasks.quantize.calibration_data import calibration_pool

OF_A_CLASS = 125                                   # images of a class folder of another kind
EVERY = 5                                          # of CIFAR-100's test images
BATCH = 64
LEVELS = (0.90, 0.95, 0.99)
SPLITS, COVERAGE_SPLITS, COMPARED_SPLITS = 20, 100, 10
KNOWN = ("test", "train")
Arrays = dict[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure calibrated answers over many splits.")
    commands = parser.add_subparsers(dest="command", required=True)
    compute = commands.add_parser("compute")
    measure = commands.add_parser("measure")
    for command in (compute, measure):
        command.add_argument("cache", type=Path)
    for name in ("--test", "--train"):
        compute.add_argument(name, type=Path, required=True)
    compute.add_argument("--outside", nargs=2, action="append", metavar=("KIND", "SOURCE"), default=[])
    compute.add_argument("--without", nargs="+", metavar="CLASS", default=[])
    compute.add_argument("-m", "--model")
    compute.add_argument("--tag", default="f32")
    measure.add_argument("--tag", nargs=2, action="append", metavar=("TAG", "MODEL"), required=True)
    measure.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.command == "compute":
        compute_outputs(arguments)
        return
    packages = {name: metadata.version(name) for name in ("torch", "torchcp", "pytorch-ood", "numpy")}
    document: dict[str, Any] = {"packages": packages, "machine": machine_facts()}
    for tag, model in arguments.tag:
        parts = read_parts(arguments.cache, tag)
        document[tag] = {
            "accuracy": accuracy(parts["test"]), "calibration": calibration(parts["test"]),
            "coverage": coverage(parts["test"]), "unknown": unknown(parts, model),
        }  # fmt: skip
    arguments.output.write_text(json.dumps(document, indent=1) + "\n")


def compute_outputs(arguments: argparse.Namespace) -> None:
    """Store logits and features of all images, part by part; those that are there are not computed again."""
    bundle = uncalibrated(load_bundle(ModelChoice(arguments.model)))
    labels, spec, bank = bundle.labels, bundle.card.preprocess, bank_size(bundle.card.classes)
    made = {"noise": noise, "textures": textures}
    if reserved := {kind for kind, _ in arguments.outside} & {*KNOWN, *made}:
        raise SystemExit(f"--outside: call it something else than {reserved.pop()}")
    sources: dict[str, Callable[[], list[Item]]] = {
        "test": lambda: list(open_labelled(arguments.test, labels).items),
        "train": lambda: balanced_sample(calibration_pool(arguments.train, labels).items, bank),
    }
    for kind, source in arguments.outside:
        sources[kind] = lambda path=Path(source): outside_images(path, arguments.without)
    engine = open_features(bundle, ["features"], options=EngineOptions(hint="throughput"))
    folder = arguments.cache / arguments.tag
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*sources, *made):
        file = folder / f"{name}.npz"
        if file.exists():
            print(f"{file} is there")
            continue
        found: list[Item] = []
        batches = crops(sources[name](), spec, found) if name in sources else in_batches(made[name](spec.crop))
        outputs = list(engine.stream(batches))
        arrays = {key: np.concatenate([output[key] for output in outputs]) for key in ("logits", "features")}
        np.savez(file, labels=np.array([item.label for item in found if item.label is not None], np.int64), **arrays)
        print(f"{file}: {len(arrays['logits']):,} images")


def outside_images(path: Path, without: list[str]) -> list[Item]:
    """Return images that the network does not know, as the module's text says."""
    if cifar := detect_cifar(path, 100):
        return list(cifar_test(path, cifar, verify=False).items[::EVERY])
    folders = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and folder.name not in without]
    files = [file for folder in folders for file in list(find_images([folder]))[:OF_A_CLASS]]
    if not files:
        raise SystemExit(f"{path} holds no folders with images")
    return [Item(str(file), file) for file in files]


def crops(items: list[Item], spec: Any, found: list[Item]) -> Iterator[np.ndarray]:
    """Yield batches of what the network sees of ``items``, which are put into ``found``; all have to be readable."""
    for batch in load_batches(items, spec, batch_size=BATCH, threads=available_cpus()):
        if batch.failures:
            raise SystemExit(f"unreadable: {batch.failures[0]}")
        found.extend(batch.items)
        yield batch.pixels


def in_batches(pixels: np.ndarray) -> Iterator[np.ndarray]:
    return (pixels[first : first + BATCH] for first in range(0, len(pixels), BATCH))


def noise(side: int, count: int = 500) -> np.ndarray:
    """Return ``count`` images of uniform noise, uint8 [N, S, S, 3]."""
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def textures(side: int, each: int = 100) -> np.ndarray:
    """Return ``each`` textures of five kinds, uint8 [N, S, S, 3]: a pattern between two random colours."""
    rng, axis = np.random.default_rng(0), np.arange(side)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    frequency[0, 0] = 1.0
    images = []
    for kind in ("noise 1/f", "noise 1/f^2", "noise 1/f^3", "grating", "checkerboard"):
        for _ in range(each):
            if kind.startswith("noise"):
                power = ("noise 1/f", "noise 1/f^2", "noise 1/f^3").index(kind) + 1
                pattern = np.fft.ifft2(np.fft.fft2(rng.normal(size=(side, side))) / frequency**power).real
                pattern = (pattern - pattern.min()) / np.ptp(pattern)
            elif kind == "grating":
                angle, period, phase = rng.uniform(0, np.pi), rng.uniform(3, side / 2), rng.uniform(0, 2 * np.pi)
                along = np.cos(angle) * axis[:, None] + np.sin(angle) * axis
                pattern = (1 + np.sin(2 * np.pi * along / period + phase)) / 2
            else:
                square, shift = rng.integers(2, side // 2), rng.integers(0, side, 2)
                pattern = ((axis[:, None] + shift[0]) // square + (axis + shift[1]) // square) % 2
            first, second = rng.integers(0, 256, (2, 3))
            images.append(np.rint(first + pattern[..., None] * (second - first)).astype(np.uint8))
    return np.stack(images)


def read_parts(cache: Path, tag: str) -> dict[str, Arrays]:
    """Return the stored parts of a model by name: those of ``KNOWN``, and the other kinds."""
    parts = {}
    for file in sorted((cache / tag).glob("*.npz")):
        with np.load(file) as arrays:
            parts[file.stem] = dict(arrays)
    return parts


def accuracy(test: Arrays) -> dict[str, Any]:
    n, right = len(test["labels"]), int((test["logits"].argmax(1) == test["labels"]).sum())
    return {"n": n, "top1": 100 * right / n, "interval95": [100 * limit for limit in wilson_interval(right, n)]}


def halves(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(seed).permutation(n)
    return order[: n // 2], order[n // 2 :]


def calibration(test: Arrays) -> dict[str, Any]:
    """Temperature and margin scale from one half, errors on the other."""
    rows, perfect = [], []
    for seed in range(SPLITS):
        fit, rest = halves(seed, len(test["labels"]))
        temperature = fit_temperature(test["logits"][fit], test["labels"][fit])
        logits, labels = test["logits"][rest], test["labels"][rest]
        divided = test["logits"] / np.float32(temperature)
        margin = fit_margin(divided[fit], test["labels"][fit]) or MarginScale()
        scaled = margin.scale(divided[rest])
        qualities = [reliability(values, labels) for values in (logits, divided[rest], scaled)]
        assert (logits.argmax(1) == scaled.argmax(1)).all()
        drawn = (scaled + np.random.default_rng(seed).gumbel(size=logits.shape)).argmax(1)
        perfect.append(100 * reliability(scaled, drawn).ece)
        errors = [(100 * quality.ece, quality.nll, quality.brier) for quality in qualities]
        rows.append((temperature, margin.offset, margin.slope, *(error for row in errors for error in row)))
    errors = [f"{name}{stage}" for stage in ("_before", "_temperature", "") for name in ("ece", "nll", "brier")]
    names = "temperature", "offset", "slope", *errors
    columns = zip(names, np.array(rows).T, strict=True)
    return {
        "splits": SPLITS, "n_fit": len(fit), "n_test": len(rest),
        **{name: spread(values) for name, values in columns},
        # What a perfectly calibrated network with these probabilities would show with so many images.
        "ece_of_perfect_calibration": spread(np.array(perfect)),
    }  # fmt: skip


def spread(values: np.ndarray) -> dict[str, float]:
    return {"mean": float(values.mean()), "sd": float(values.std(ddof=1)), "least": float(values.min()),
            "most": float(values.max())}  # fmt: skip


def coverage(test: Arrays) -> dict[str, Any]:
    """Coverage and sizes over splits; TorchCP on the same logits in some of them."""
    document: dict[str, Any] = {"splits": COVERAGE_SPLITS, "compared_splits": COMPARED_SPLITS}
    n = len(test["labels"]) // 2
    for method in ("lac", "raps"):
        for level in LEVELS:
            rows, theirs = [], []
            for seed in range(COVERAGE_SPLITS):
                scores, rest = halves(seed, 2 * n)
                quarter = scores[: n // 2], scores[n // 2 :]
                temperature = fit_temperature(test["logits"][quarter[0]], test["labels"][quarter[0]])
                logits, labels = test["logits"] / np.float32(temperature), test["labels"]
                if margin := fit_margin(logits[quarter[0]], labels[quarter[0]]):
                    logits = margin.scale(logits)
                draws = np.random.default_rng(seed).random(2 * n)
                fit, thresholds, measured = (
                    (logits[part], labels[part], draws[part]) for part in (*quarter, rest)
                )
                model = fit_sets(method, fit, thresholds, per_class=False)
                raw = set_scores(*(measured[0], model, measured[2])) <= model.scores.threshold(level)
                full = prediction_sets(measured[0], model, level, measured[2])
                right = np.arange(n), measured[1]
                rows.append((raw[right].mean(), raw.sum(1).mean(), full[right].mean(), full.sum(1).mean()))
                if seed < COMPARED_SPLITS:
                    theirs.append(torchcp_sets(method, level, model, thresholds, measured))
            values = np.array(rows)
            low, high = band(level, len(thresholds[1]), n)
            document[f"{method} {100 * level:g}"] = {
                "coverage": 100 * values[:, 0].mean(), "size": values[:, 1].mean(),
                "coverage_never_empty": 100 * values[:, 2].mean(), "size_never_empty": values[:, 3].mean(),
                "band95": [100 * low, 100 * high],
                "splits_in_band": int(((values[:, 0] >= low) & (values[:, 0] <= high)).sum()),
                "torchcp_coverage": 100 * np.mean([row[0] for row in theirs]),
                "torchcp_size": np.mean([row[1] for row in theirs]),
                "size_in_these_splits": values[:COMPARED_SPLITS, 1].mean(),
                "penalty": model.penalty, "free_ranks": model.free_ranks,
            }  # fmt: skip
    return document


def band(level: float, scores: int, n: int) -> tuple[float, float]:
    """Return the 95 % band of the coverage of n images: beta-binomial, as thresholds come from ``scores`` images."""
    rank = int(np.ceil((scores + 1) * level))
    rng = np.random.default_rng(0)
    drawn = rng.binomial(n, rng.beta(rank, scores + 1 - rank, 200_000)) / n
    return float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))


def torchcp_sets(method: str, level: float, model: SetModel, fit: Any, measured: Any) -> tuple[float, float]:
    import torch

    ignore_unused_imports()
    from torchcp.classification.predictor import SplitPredictor
    from torchcp.classification.score import LAC, RAPS

    torch.manual_seed(0)
    score = LAC() if method == "lac" else RAPS(penalty=model.penalty, kreg=model.free_ranks)
    predictor = SplitPredictor(score, alpha=1 - level, device="cpu")
    predictor.calculate_threshold(torch.tensor(fit[0]), torch.tensor(fit[1]), alpha=1 - level)
    members = predictor.predict_with_logits(torch.tensor(measured[0])).numpy().astype(bool)
    return members[np.arange(len(members)), measured[1]].mean(), members.sum(1).mean()


def unknown(parts: dict[str, Arrays], model: str | None) -> dict[str, Any]:
    """Return AUROC and false positives of each score, and of pytorch-ood; refusals of genuine images."""
    test, train = parts["test"], parts["train"]
    fit, rest = halves(0, len(test["labels"]))
    temperature = fit_temperature(test["logits"][fit], test["labels"][fit])
    bundle = uncalibrated(load_bundle(ModelChoice(model)))
    outside = [name for name in parts if name not in KNOWN]
    document: dict[str, Any] = {"bank": len(train["logits"]), "n": len(rest)}
    for method in get_args(UnknownMethod):
        constants = method_constants(method, train["features"], train["logits"] / temperature)
        graph = with_known_score(with_temperature(bundle.model, temperature), method, constants)
        evaluator = ReferenceEvaluator(known_score_graph(graph))
        scores = {
            name: chunked(lambda features, logits, run=evaluator: run.run(
                None, {"features": features, "logits": logits / np.float32(temperature)})[0].ravel(), part)
            for name, part in parts.items() if name != "train"
        }  # fmt: skip
        stored = quantiles(-scores["test"][fit])
        refused = sum(stored.p_value(-score) < 0.01 for score in scores["test"][rest].tolist())
        document[method] = {
            "refused_genuine": 100 * refused / len(rest),
            "interval95": [100 * limit for limit in wilson_interval(refused, len(rest))],
            **{name: separation(scores["test"][rest], scores[name], stored) for name in outside},
        }
    for name, detector in outside_detectors(train, bundle, temperature):
        scores = {part: chunked(detector, parts[part]) for part in ("test", *outside)}
        document[f"pytorch-ood {name}"] = {
            part: separation(scores["test"][rest], scores[part]) for part in outside
        }
    return document


def chunked(score: Any, part: Arrays) -> np.ndarray:
    pairs = ((part["features"][i : i + 500], part["logits"][i : i + 500]) for i in range(0, len(part["logits"]), 500))
    return np.concatenate([np.asarray(score(*pair), np.float64) for pair in pairs])


def separation(known: np.ndarray, other: np.ndarray, stored: Any = None) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    pairs = [(rng.choice(known, len(known)), rng.choice(other, len(other))) for _ in range(200)]
    document: dict[str, Any] = {"n": len(other)}
    for name, measure, interval in (("auroc", auroc, "interval95"), ("fpr95", fpr95, "fpr95_interval95")):
        drawn = [measure(*pair) for pair in pairs]
        document |= {name: measure(known, other), interval: np.quantile(drawn, (0.025, 0.975)).tolist()}
    if stored is not None:
        refused = sum(stored.p_value(-score) < 0.01 for score in other.tolist())
        interval = [100 * limit for limit in wilson_interval(refused, len(other))]
        document |= {"refused": 100 * refused / len(other), "refused_interval95": interval}
    return document


def auroc(known: np.ndarray, other: np.ndarray) -> float:
    ordered = np.sort(other)
    wins = np.searchsorted(ordered, known, "left") + np.searchsorted(ordered, known, "right")
    return 100 * float(wins.mean()) / 2 / len(other)


def fpr95(known: np.ndarray, other: np.ndarray) -> float:
    """Return how many of the others pass, in percent, where 95 % of the known images do."""
    return 100 * float((other >= np.quantile(known, 0.05)).mean())


def outside_detectors(train: Arrays, bundle: Any, temperature: float) -> Any:
    """Yield detectors of pytorch-ood, negated: functions of features and logits with large values for known images."""
    import torch

    ignore_unused_imports()
    from pytorch_ood.detector import KNN, RMD, EnergyBased, MaxLogit, MaxSoftmax, ViM

    from wideresnet.graph.outputs import read_classifier

    tensor = lambda values: torch.tensor(np.asarray(values, np.float32))  # noqa: E731
    features, labels = tensor(train["features"]), torch.tensor(train["logits"].argmax(1))
    weight, bias = (tensor(values / np.float32(temperature)) for values in read_classifier(bundle.model))
    k = int(method_constants("knn", train["features"], train["logits"])["k"][0])
    fitted = {
        f"KNN k={k}": KNN(None, k=k, normalize=True).fit_features(features, labels),
        "ViM": ViM(None, d=features.shape[1] // 2, w=weight, b=bias).fit_features(features, labels),
        "RMD": RMD(None).fit_features(features, labels),
    }
    for name, detector in fitted.items():
        yield name, lambda x, _, run=detector: -run.predict_features(tensor(x)).numpy()
    for kind in (EnergyBased, MaxLogit, MaxSoftmax):
        yield kind.__name__, lambda _, z, run=kind: -run.score(tensor(z / temperature)).numpy()


def ignore_unused_imports() -> None:
    """Let TorchCP and pytorch-ood import without packages that only other functions of theirs need."""
    if not any(isinstance(finder, _Absent) for finder in sys.meta_path):
        sys.meta_path.append(_Absent())


class _Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    NAMES = ("torchsort", "transformers", "torchvision", "torch_geometric", "torch_sparse", "torch_scatter")

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname.partition(".")[0] in self.NAMES:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> Any:
        module = MagicMock(name=spec.name)
        module.__path__, module.__spec__, module.__name__ = [], spec, spec.name
        return module

    def exec_module(self, module: Any) -> None:
        """There is nothing to run."""


if __name__ == "__main__":
    main()
