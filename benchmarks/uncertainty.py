"""Calibration, prediction sets and unknown images, measured over many splits and beside TorchCP and pytorch-ood.

    python uncertainty.py compute CACHE --cifar10 FILE --cifar100 FILE --imagenette TAR [-m MODEL] [--tag TAG]
    python uncertainty.py measure CACHE --tag f32 wrn_16_4.cifar10 --tag int8 int8/ -o FILE.json

``compute`` runs a CIFAR-10 model over its test set, 2,000 training images, and images of other kinds, and stores
logits and features. ``measure`` needs ``pip install torch torchcp pytorch-ood scikit-learn``; it runs no network.

Unknown images: every fifth test image of CIFAR-100 (near; it has relatives of the ten classes), Imagenette's validation
images at 32 pixels without English springer and garbage truck (far), uniform noise, and synthetic textures: noise of
three spectra, gratings and checkerboards, in random colours.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.machinery
import io
import json
import sys
import tarfile
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import Any, get_args
from unittest.mock import MagicMock

import numpy as np
from onnx.reference import ReferenceEvaluator

from wideresnet.bundle.derive import uncalibrated
from wideresnet.datasets.cifar import cifar_test, cifar_train, detect_cifar
from wideresnet.datasets.sample import balanced_sample
from wideresnet.engines import EngineOptions
from wideresnet.engines.features import open_features
from wideresnet.graph.calibrated import known_score_part, with_known_score, with_temperature
from wideresnet.images.decode import decode
from wideresnet.images.preprocess import preprocess
from wideresnet.machine import machine_facts
from wideresnet.prediction_sets import prediction_sets, set_scores
from wideresnet.records import MarginScale, SetModel, UnknownMethod, wilson_interval
from wideresnet.tasks.calibrate.conformal import fit_sets, quantiles
from wideresnet.tasks.calibrate.temperature import fit_margin, fit_temperature, reliability
from wideresnet.tasks.calibrate.unknown import bank_size, method_constants
from wideresnet.tasks.load.load import ModelChoice, load_bundle

RELATIVES = ("n02102040", "n03417042")             # English springer, a dog; garbage truck, a truck
OF_A_CLASS = 125                                   # images of Imagenette
LEVELS = (0.90, 0.95, 0.99)
SPLITS, COVERAGE_SPLITS, COMPARED_SPLITS = 20, 100, 10
OUTSIDE = ("cifar100", "imagenette", "noise", "textures")
PARTS = ("test", "train", *OUTSIDE)
Arrays = dict[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure calibrated answers over many splits.")
    commands = parser.add_subparsers(dest="command", required=True)
    compute = commands.add_parser("compute")
    measure = commands.add_parser("measure")
    for command in (compute, measure):
        command.add_argument("cache", type=Path)
    for name in ("--cifar10", "--cifar100", "--imagenette"):
        compute.add_argument(name, type=Path, required=True)
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
        parts = {name: read(arguments.cache, tag, name) for name in PARTS}
        document[tag] = {
            "calibration": calibration(parts["test"]), "coverage": coverage(parts["test"]),
            "unknown": unknown(parts, model),
        }  # fmt: skip
    arguments.output.write_text(json.dumps(document, indent=1) + "\n")


def compute_outputs(arguments: argparse.Namespace) -> None:
    """Store logits and features of all images, part by part; those that are there are not computed again."""
    bundle = uncalibrated(load_bundle(ModelChoice(arguments.model)))
    ten, hundred = detect_cifar(arguments.cifar10, 10), detect_cifar(arguments.cifar100, 100)
    assert ten is not None
    assert hundred is not None
    spec, side = bundle.card.preprocess, bundle.card.preprocess.crop
    sources = {
        "test": lambda: cifar_test(arguments.cifar10, ten).items,
        "train": lambda: balanced_sample(cifar_train(arguments.cifar10, ten).items, 10_000)[: bank_size(10)],
        "cifar100": lambda: cifar_test(arguments.cifar100, hundred, verify=False).items[::5],
    }
    engine = open_features(bundle, ["features"], options=EngineOptions(hint="throughput"))
    arguments.cache.mkdir(parents=True, exist_ok=True)
    for name in PARTS:
        file = arguments.cache / f"{arguments.tag}-{name}.npz"
        if file.exists():
            continue
        labels = np.zeros(0, np.int64)
        if name in sources:
            items = sources[name]()
            pixels, labels = np.stack([item.source for item in items]), np.array([item.label for item in items])
        elif name == "noise":
            pixels = np.random.default_rng(0).integers(0, 256, (500, side, side, 3), dtype=np.uint8)
        elif name == "textures":
            pixels = textures(side)
        else:
            pixels = np.stack([preprocess(decode(data), spec) for data in imagenette(arguments.imagenette)])
        outputs = list(engine.stream(pixels[first : first + 64] for first in range(0, len(pixels), 64)))
        arrays = {key: np.concatenate([output[key] for output in outputs]) for key in ("logits", "features")}
        np.savez(file, labels=labels, **arrays)


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


def imagenette(path: Path) -> list[bytes]:
    """Return encoded validation images of the classes that CIFAR-10 has nothing like."""
    counts, images = Counter[str](), []
    with tarfile.open(path) as archive:
        for member in archive:
            folder = Path(member.name).parent.name
            if member.isfile() and member.name.startswith("val/") and folder not in RELATIVES:
                counts[folder] += 1
                file = archive.extractfile(member)
                if counts[folder] <= OF_A_CLASS and file:
                    images.append(io.BytesIO(file.read()).getvalue())
    return images


def read(cache: Path, tag: str, name: str) -> Arrays:
    with np.load(cache / f"{tag}-{name}.npz") as arrays:
        return {key: arrays[key] for key in ("logits", "features", "labels")}


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
        "splits": SPLITS, "n_fit": len(test["labels"]) // 2, "n_test": len(test["labels"]) // 2,
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
    bank = slice(0, bank_size(test["logits"].shape[1]))
    bundle = uncalibrated(load_bundle(ModelChoice(model)))
    document: dict[str, Any] = {"bank": bank.stop, "n": len(rest)}
    for method in get_args(UnknownMethod):
        constants = method_constants(method, train["features"][bank], train["logits"][bank] / temperature)
        graph = with_known_score(with_temperature(bundle.model, temperature), method, constants)
        evaluator = ReferenceEvaluator(known_score_part(graph))
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
            **{name: separation(scores["test"][rest], scores[name], stored) for name in OUTSIDE},
        }
    for name, detector in outside_detectors(train, bank, bundle, temperature):
        scores = {part: chunked(detector, parts[part]) for part in ("test", *OUTSIDE)}
        document[f"pytorch-ood {name}"] = {
            part: separation(scores["test"][rest], scores[part]) for part in OUTSIDE
        }
    return document


def chunked(score: Any, part: Arrays) -> np.ndarray:
    pairs = ((part["features"][i : i + 500], part["logits"][i : i + 500]) for i in range(0, len(part["logits"]), 500))
    return np.concatenate([np.asarray(score(*pair), np.float64) for pair in pairs])


def separation(known: np.ndarray, other: np.ndarray, stored: Any = None) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    drawn = [auroc(rng.choice(known, len(known)), rng.choice(other, len(other))) for _ in range(200)]
    document = {
        "n": len(other), "auroc": auroc(known, other), "interval95": np.quantile(drawn, (0.025, 0.975)).tolist(),
        "fpr95": 100 * float((other >= np.quantile(known, 0.05)).mean()),
    }  # fmt: skip
    if stored is not None:
        document["refused"] = 100 * float(np.mean([stored.p_value(-score) < 0.01 for score in other.tolist()]))
    return document


def auroc(known: np.ndarray, other: np.ndarray) -> float:
    ordered = np.sort(other)
    wins = np.searchsorted(ordered, known, "left") + np.searchsorted(ordered, known, "right")
    return 100 * float(wins.mean()) / 2 / len(other)


def outside_detectors(train: Arrays, bank: slice, bundle: Any, temperature: float) -> Any:
    """Yield detectors of pytorch-ood, negated: functions of features and logits with large values for known images."""
    import torch

    ignore_unused_imports()
    from pytorch_ood.detector import KNN, RMD, EnergyBased, MaxLogit, MaxSoftmax, ViM

    from wideresnet.graph.outputs import read_classifier

    tensor = lambda values: torch.tensor(np.asarray(values, np.float32))  # noqa: E731
    features, labels = tensor(train["features"][bank]), torch.tensor(train["logits"][bank].argmax(1))
    weight, bias = (tensor(values / np.float32(temperature)) for values in read_classifier(bundle.model))
    k = int(method_constants("knn", train["features"][bank], train["logits"][bank])["k"][0])
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
