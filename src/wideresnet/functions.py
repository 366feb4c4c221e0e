"""The commands as functions of the package: thin calls of the same tasks, which return records.

Functions print nothing. What a command would say on stderr (unreadable images, skipped files, notes) is in the record.
Fractions are fractions here (0.002), not the percentage points of the command line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wideresnet import records
from wideresnet.classifier import Classifier
from wideresnet.config import toml_text
from wideresnet.errors import ConfigError, needs_extra
from wideresnet.output.progress import run_shown
from wideresnet.precision import stored_name
from wideresnet.tasks.load.cifar_archive import locate_data
from wideresnet.tasks.load.load import bundle_of
from wideresnet.tasks.load.resolve import DEFAULT_MODEL

if TYPE_CHECKING:
    from torch import nn

    from wideresnet.architectures import Architecture
    from wideresnet.tasks.bench.options import BenchPrecision, Measurement

Model = Classifier | str | Path
SAMPLES = records.QuantiseSettings().samples


def bench(
    models: Model | Sequence[Model] = DEFAULT_MODEL, *, measurements: Sequence[Measurement] = ("engine",),
    engines: Sequence[str] = ("openvino",), precisions: Sequence[BenchPrecision] = (), batches: Sequence[int] = (8,),
    streams: Sequence[int] = (0,), threads: Sequence[int] = (0,), seconds: float = 10.0, rounds: int = 5,
    data: str | Path | None = None, profile: bool = False, tune: bool = False, progress: bool = False,
) -> records.BenchReport:  # fmt: skip
    """Measure the speed of models, interleaved in one run, as ``wrn bench`` does: the product of the sequences.

    ``measurements`` are "engine" (pixels to logits), "end-to-end" (image files of the folder ``data`` to answers),
    "latency" (one image at a time) and "startup". No ``precisions``: the one that a model is stored in. ``batches`` are
    images; ``streams`` and ``threads`` 0 leave the choice to the engine. Each candidate is measured for ``seconds`` in
    ``rounds`` turns. ``profile`` times each layer; ``tune`` finds and stores the fastest settings for this machine.

    Rows state images per second and latencies in milliseconds. Raises WrnError if no candidate can run, and for
    settings that have no effect on the ``measurements``.
    """
    from wideresnet.tasks.bench.options import BenchSettings, check_settings
    from wideresnet.tasks.bench.run import bench as measure

    settings = BenchSettings(
        _as_tuple(measurements), _as_tuple(engines), _as_tuple(precisions), _as_tuple(batches),
        _as_tuple(streams), _as_tuple(threads), rounds=rounds, seconds=seconds, data=Path(data) if data else None,
        profile=profile, tune=tune,
    )  # fmt: skip
    check_settings(settings)
    several = [models] if isinstance(models, Classifier | str | Path) else models
    return run_shown(measure([bundle_of(model) for model in several], settings), "measuring", progress)


def _as_tuple(values: Any) -> tuple[Any, ...]:
    """Return a sequence, or a single text or number, as a tuple."""
    return (values,) if isinstance(values, str | int) else tuple(values)


def cascade(
    output: str | Path, members: Sequence[Model], data: str | Path, *, max_drop: float = 0.003,
    precision: Literal["f32", "bf16"] = "f32", batch_size: int = 0, progress: bool = False,
) -> records.CascadeReport:  # fmt: skip
    """Write a cascade of ``members``, the fastest first, as the bundle ``output``, if one passes, as ``wrn cascade``.

    Members are open classifiers, names as for ``load``, or NAME@PIXELS, at another resolution. ``data`` are images that
    no member was trained on: half of them choose the rule, the other half certify that it loses at most ``max_drop`` of
    top-1 (a fraction of 1) against the last member; without labels the fraction of other answers. ``precision`` is that
    of the arithmetic; ``batch_size`` 0 as tuned, or 8.

    Where no rule can be certified nothing is written: ``report.bundle`` is "" and ``report.needed`` says how many
    images could. Raises ConfigError for members that make no cascade, DataError for too few images.
    """
    from wideresnet.bundle.derive import at_resolution
    from wideresnet.tasks.cascade.cascade import make_cascade, split_member
    from wideresnet.tasks.quantize.calibration_data import gate_images

    if not 0 < max_drop <= 1:
        raise ConfigError(f"max_drop is a fraction above 0, at most 1, got {max_drop}", hint="0.003 is 0.3 points")
    if isinstance(members, str | Path | Classifier) or not members:
        raise ConfigError("a cascade has two networks or more", "name the fastest first, the most accurate last")
    chosen = [(member, 0) if isinstance(member, Classifier) else split_member(str(member)) for member in members]
    bundles = [at_resolution(bundle_of(model), side) for model, side in chosen]
    images = gate_images(locate_data(Path(data)), bundles[-1].labels)
    settings = records.InferenceSettings(precision=precision, batch_size=batch_size)
    return run_shown(make_cascade(bundles, images, max_drop, settings, Path(output)), "certifying", progress)


def compare(
    a: Model, b: Model, data: str | Path | None = None, *, labels: str = "", batch_size: int = 0, progress: bool = False
) -> records.ComparisonReport:
    """Compare two models on the same labelled images, or two files of scores, paired by path, as ``wrn compare`` does.

    Models are open classifiers, which keep engine and precision, or names as for ``load``; they are evaluated on
    ``data`` (see ``evaluate``). ``batch_size`` 0 is as tuned for ``a``, or 8. Files are those of ``wrn evaluate -o``
    (.csv, .jsonl, .parquet); where they state no class names, ``labels`` does: a list such as "imagenet" or "cifar10",
    or a file. Differences are fractions of 1.

    Raises ConfigError for a file and a model, and DataError for models of different classes.
    """
    from wideresnet.datasets.labels.formats import read_list_or_file
    from wideresnet.datasets.open import open_labelled
    from wideresnet.tasks.evaluate.comparison import compare_files, compare_models

    names = [model.card.name if isinstance(model, Classifier) else str(model) for model in (a, b)]
    files = [name.lower().endswith((".csv", ".jsonl", ".parquet")) for name in names]
    if any(files):
        if not all(files) or data is not None:
            raise ConfigError("compare takes two files of scores, or two models and data", hint="leave out the rest")
        if batch_size:
            raise ConfigError("batch_size has no effect on files of scores", hint="leave out batch_size")
        classes = read_list_or_file(labels)
        report = compare_files(Path(names[0]), Path(names[1]), classes.labels).report
        return replace(report, a=replace(report.a, notes=(*classes.notes, *report.a.notes)))
    if data is None or labels:
        raise ConfigError("comparing two models needs labelled data of their classes", hint="give data= and no labels")
    models = a if isinstance(a, Classifier) else bundle_of(a), b if isinstance(b, Classifier) else bundle_of(b)
    images = open_labelled(locate_data(Path(data)), models[0].labels)
    settings = records.InferenceSettings(batch_size=batch_size)
    return run_shown(compare_models((names[0], names[1]), models, images, settings), "comparing", progress).report


def compile(
    output: str | Path, model: Model = DEFAULT_MODEL, *, precision: Literal["int8", "f16", "f32"] = "int8",
    calibration: str | Path | None = None, data: str | Path | None = None, max_drop: float | None = 0.002,
    min_agreement: float = 0.95, samples: int = SAMPLES, search_minutes: float | None = None, progress: bool = False,
) -> records.CompileReport:  # fmt: skip
    """Write a model in another precision as the bundle ``output``, verified and behind a gate, as ``wrn compile`` does.

    ``calibration`` are images for int8 (extra "compile"), of which ``samples`` are used: class folders, any folder, an
    archive of CIFAR, "cifar10" or "cifar100"; None: the training split of ``data``. ``data`` are images for the gate;
    None: spare calibration images. With labels the gate accepts a loss of top-1 up to ``max_drop``, without labels it
    demands the same answers on ``min_agreement`` of the images; both are fractions of 1, ``max_drop`` None is no gate.
    ``search_minutes``: if the gate fails, the time to search for other settings.

    A bundle that fails its gate is written too: see ``report.gate``. Raises BundleError if logits deviate too far from
    float32, ConfigError or DataError for missing or unusable images.
    """
    from wideresnet.bundle import check_target
    from wideresnet.tasks.calibrate.automatic import compile_calibrated
    from wideresnet.tasks.quantize.calibration_data import holds_both_sets
    from wideresnet.tasks.quantize.compile import CompileSettings

    for name, value in (("max_drop", max_drop or 0.0), ("min_agreement", min_agreement)):
        if not 0 <= value <= 1:
            raise ConfigError(f"{name} is a fraction from 0 to 1, got {value}", hint="0.002 is 0.2 points of top-1")
    if calibration is not None and stored_name(precision) != "int8":
        raise ConfigError(f"calibration has no effect with {precision}", hint="leave out calibration: it is for int8")
    if samples != SAMPLES and stored_name(precision) != "int8":
        raise ConfigError(f"samples has no effect with {precision}", hint="leave out samples: it is for int8")
    if samples < 2:
        raise ConfigError(f"samples are 2 or more calibration images, got {samples}", hint="300 are usual")
    if search_minutes is not None and not search_minutes >= 0:       # NaN is none either
        raise ConfigError(f"search_minutes are 0 or more, got {search_minutes}", hint="None does not search")
    bundle = bundle_of(model)
    check_target(Path(output), bundle.folder, bundle.source)
    images, gate = (locate_data(Path(path)) if path else None for path in (calibration, data))
    if precision == "int8" and images is None:
        if gate is None or not holds_both_sets(gate, bundle.labels):
            raise ConfigError("int8 needs images to calibrate with", hint="give calibration=, a folder of images")
        images = gate
    settings = CompileSettings(
        stored_name(precision), images, gate, max_drop, min_agreement, quantise=records.QuantiseSettings(samples),
        search=search_minutes,
    )  # fmt: skip
    return run_shown(compile_calibrated(bundle, settings, Path(output)), "compiling", progress)


def create_model(name: str | Architecture, num_classes: int | None = None, dropout: float | None = None) -> nn.Module:
    """Create a torch module of the named architecture with fresh weights, in training mode (extra "train").

    It takes normalised float32 [N, 3, S, S] and returns logits [N, C]. The state dicts of ImageNet networks have
    torchvision's and timm's keys in the same order. ``num_classes`` None: as usual for the architecture. ``dropout``
    (a fraction) is for WRN-n-k only. Raises ConfigError for an unknown name or impossible numbers.
    """
    with needs_extra("create_model", "train"):
        from wideresnet.models.create import create_model as create
    return create(name, num_classes, dropout)


def export(
    output: str | Path, model: Model = DEFAULT_MODEL, *,
    library: Literal["torchvision", "timm", "safetensors"] | None = None, storage: Literal["f32", "f16"] | None = None,
) -> records.ModelCard:  # fmt: skip
    """Write a model as the bundle ``output`` (model.onnx, card.json, labels.txt), as ``wrn export`` does.

    With ``library`` a float32 weights file that torchvision, timm or this package ("safetensors") loads; .pth and .bin
    need the extra "train". ``storage`` of a bundle: "f16" has half the size; None: as the model is stored. Returns the
    card of what was written; its note "export" says what a weights file leaves out. Raises ConfigError for a network
    that the library does not have.
    """
    from wideresnet.bundle import check_target
    from wideresnet.bundle.derive import uncalibrated
    from wideresnet.tasks.load.weights_file import check_weights_target, write_file
    from wideresnet.tasks.quantize.compile import export_bundle

    path = Path(output)
    if library is None:
        bundle = bundle_of(model)
        check_target(path, bundle.folder, bundle.source)
        return export_bundle(bundle, path, stored_name(storage))
    if storage:
        raise ConfigError("storage has no effect on weights files: they are float32", hint="leave out storage")
    source = (model.bundle.source if model.bundle else None) if isinstance(model, Classifier) else model
    check_weights_target(path, library, source)
    bundle = bundle_of(model)
    notes = write_file(path, bundle, library)
    card = uncalibrated(bundle).card
    return replace(card, precision="fp32", notes=card.notes | ({"export": "; ".join(notes)} if notes else {}))


def train(
    recipe: str | Path, run: str | Path, data: str | Path | None = None, *, changes: Mapping[str, object] | None = None,
    cache: str | Path | None = None, device: Literal["auto", "cpu", "cuda"] = "auto", progress: bool = False,
) -> records.TrainReport:  # fmt: skip
    """Train a network in the folder ``run``, or continue there, as ``wrn train`` does (extra "train").

    ``recipe`` is the name of a recipe of this package or a TOML file; ``changes`` override its settings, such as
    ``{"epochs": 10}``. ``data`` is a folder with train/ and val/, the archive of CIFAR (None: downloaded) or SVHN's
    folder. ``cache`` is a folder for decoded images of class folders, which otherwise stay in memory.

    ``load(report.model)`` opens the result. Raises WrnError, also for a ``run`` that holds another training.
    """
    from wideresnet.tasks.load.cifar_archive import ARCHIVES
    from wideresnet.tasks.train.train import FILE_NAME, join, read_log, read_recipe, run_training

    texts = {key: toml_text(key, value) for key, value in (changes or {}).items()}
    with join(device) as group:
        settings = read_recipe(Path(recipe), texts)
        if data is None and settings.data not in ARCHIVES:
            raise ConfigError(f"{recipe} trains on your own images", hint="give data=, their folder")
        images, folder = locate_data(Path(data or settings.data)), Path(cache) if cache else None
        done = run_shown(run_training(settings, images, Path(run), group, folder), "training", progress)
    return records.TrainReport(str(run), str(Path(run) / FILE_NAME), done, read_log(Path(run)))
