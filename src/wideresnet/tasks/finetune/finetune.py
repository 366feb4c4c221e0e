"""Fine-tuning: from class folders to a bundle for their classes, in a run folder.

    RUN/bundle/          the result            RUN/train.csv, val.csv     the split, as indices for 'wrn evaluate'
    RUN/report.html      the evaluation        RUN/settings.toml          the settings
    RUN/log.jsonl        epochs or strengths   RUN/run.json               the identity: source weights and images

To resume, the probe keeps features/, the full mode checkpoint.pt, best.safetensors and recipe.toml.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wideresnet.bundle import Bundle, make_bundle, network_of, read_bundle, write_bundle
from wideresnet.bundle.derive import as_float32, with_preprocess
from wideresnet.classifier import Classifier
from wideresnet.config import as_toml
from wideresnet.datasets.copies import notes_on_shared, sample_hash
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.layout import check_outside
from wideresnet.datasets.open import open_labelled
from wideresnet.datasets.shards import HELD_OUT, find_shards, labelled_shards
from wideresnet.datasets.splits import Split, with_exif, with_note, with_warnings
from wideresnet.datasets.train_val_split import open_split, to_index
from wideresnet.errors import ConfigError, TrainingError
from wideresnet.output.atomic import save_text
from wideresnet.records import FinetuneReport, Images, InferenceSettings, ModelCard, PathPoint, RunIdentity, Skipped
from wideresnet.records.accuracy import Measured, wilson_interval
from wideresnet.records.evaluation import EvalReport, by_path
from wideresnet.records.progress import Progress, follow, map_events
from wideresnet.report.escape import json_text, printable
from wideresnet.report.finetuning import shown_evaluation, to_html
from wideresnet.tasks.calibrate.automatic import calibrate_in_place
from wideresnet.tasks.classify.thumbnails import thumbnails
from wideresnet.tasks.evaluate.evaluate import count
from wideresnet.tasks.evaluate.model import source_of_model
from wideresnet.tasks.finetune.probe import run_probe
from wideresnet.tasks.finetune.result import FinetuneResult
from wideresnet.tasks.finetune.settings import ComputeOptions, FinetuneSettings, read_settings
from wideresnet.tasks.finetune.source import small_source
from wideresnet.tasks.load.assumed_card import ASSUMED_LABELS
from wideresnet.tasks.load.load import bundle_of
from wideresnet.tasks.load.resolve import DEFAULT_MODEL

if TYPE_CHECKING:
    from wideresnet.training.loop import Epoch

__all__ = ["ComputeOptions", "FinetuneSettings", "finetune", "read_settings", "run_finetune"]

BUNDLE = "bundle"
NOT_CALIBRATED = "that takes labelled images that chose nothing, as of --test"


def finetune(
    data: Path | str,
    run: Path | str,
    model: Classifier | Path | str | None = None,
    *,
    mode: Literal["probe", "full"] | None = None,
    test: Path | str | None = None,
    settings: Mapping[str, Any] | None = None,
    compute: ComputeOptions | None = None,
) -> FinetuneReport:
    """Fine-tune ``model`` on the class folders in ``data``; the bundle is ``run``/bundle.

    ``model`` None is the network of the package, for images of at most 64 pixels a side. ``data`` contains one folder
    per class, splits of such folders, or shards. "probe" fits a new classifier to features, "full" trains the whole
    network (extra ``train``). ``settings`` has the keys of a settings file, ``mode`` among them (None: as there, else
    "probe"); ``test`` are class folders for a final evaluation, which select nothing; ``compute`` is for the full mode.
    Raises WrnError, also for larger images without a model.
    """
    if mode and settings and settings.get("mode", mode) != mode:
        raise ConfigError(f"mode is set twice: to {mode} and to {settings['mode']}", hint="leave out one mode")
    checked = read_settings(None, {**(settings or {}), **({"mode": mode} if mode else {})})
    test_folder = None if test is None else Path(test)
    source = small_source(Path(data), DEFAULT_MODEL) if model is None else model
    return follow(run_finetune(bundle_of(source, headless=True), Path(data), Path(run), checked, test_folder, compute))


def run_finetune(
    source: Bundle, data: Path, run: Path, settings: FinetuneSettings, test: Path | None = None,
    compute: ComputeOptions | None = None,
) -> Generator[Progress | Images | PathPoint | Epoch, None, FinetuneReport]:  # fmt: skip
    """Fine-tune ``source`` on ``data`` in the folder ``run``, or resume there, and return the report.

    After an interruption every file in ``run`` is complete. Raises ConfigError for an int8 source, a probe with
    ``compute`` and folders among those of classes, DataError for unusable images, TrainingError if ``run`` holds
    another run or a loss is not finite.
    """
    compute = compute or ComputeOptions()
    if settings.mode == "probe" and (compute.cache or compute.device == "cuda"):
        option, work = ("--cache", "stores features, not images") if compute.cache else ("--device", "uses the CPU")
        raise ConfigError(f"{option} has no effect on a probe, which {work}", hint="leave it out")
    started = time.perf_counter()
    source = _as_trainable(source, settings)
    split, test_set = _open_data(data, settings, test, run, compute.cache)
    _write_inputs(run, source, split, settings)
    architecture = replace(network_of(source.card), classes=len(split.labels.names))
    if settings.mode == "probe":
        result = yield from run_probe(source, architecture, split, run, settings)
    else:
        from wideresnet.tasks.finetune.full import run_full  # imports torch, which a probe does not need

        result = yield from run_full(source, architecture, split, run, settings, compute)
    save_text(run / "settings.toml", _as_toml(settings))
    seconds = time.perf_counter() - started
    card = _make_card(source, split, settings, result)
    write_bundle(run / BUNDLE, make_bundle(architecture, result.tensors, card, split.labels))
    val_set = replace(split.val, name=f"{split.name} val")
    unused = test_set or (val_set if settings.mode == "probe" else None)
    calibration = yield from calibrate_in_place(run / BUNDLE, unused, split.train.items, NOT_CALIBRATED)
    bundle = read_bundle(run / BUNDLE)
    val = yield from _evaluate(bundle, val_set)
    test_report = (yield from _evaluate(bundle, test_set)) if test_set else None
    train = len({item.path for item in split.train.items} - {failure.path for failure in result.failures})
    write_bundle(run / BUNDLE, replace(bundle, card=_with_accuracy(bundle.card, train, val, test_report)))
    failures = {failure.path: failure for part in (result, val, test_report) if part for failure in part.failures}
    report = FinetuneReport(
        run=str(run), bundle=str(run / BUNDLE), model=card.name, mode=settings.mode, source=source.card.name,
        data=split.name, labels=split.labels, train=train, val=val.n, evaluation=val,
        test=test_report, failures=by_path(failures.values()), path=result.path, log=result.log,
        notes=card.notes | {"calibration": calibration}, chosen=result.chosen, seconds=seconds,
        skipped=split.skipped + (test_set.skipped if test_set else Skipped()),
        class_counts=split.train.class_counts, first_images=result.first_images,
    )  # fmt: skip
    sources = {item.path: item for item in (test_set or split.val).items}
    save_text(run / "report.html", to_html(report, thumbnails(shown_evaluation(report), sources)))
    return report


def _open_data(
    data: Path, settings: FinetuneSettings, test: Path | None, *outputs: Path | None
) -> tuple[Split, LabelledData | None]:
    """Open training and validation set, and the test set if there is one; no ``outputs`` are among class folders."""
    if not find_shards(data):
        check_outside(data, *outputs)
    split = with_warnings(with_exif(open_split(data, settings.val_fraction, settings.seed, test), settings.exif))
    if not split.divided and settings.val_fraction != FinetuneSettings.model_fields["val_fraction"].default:
        raise ConfigError(f"--val-fraction has no effect: {data} is divided already", hint="leave it out")
    test_set = None
    if test:
        files = find_shards(test)
        test_set = labelled_shards(files, split.labels, HELD_OUT[::-1]) if files else open_labelled(test, split.labels)
        test_set = replace(test_set, name=f"{split.name} test", exif=settings.exif)
    sets = split.train, split.val, *([test_set] if test_set else [])
    return with_note(split, *notes_on_shared(*sets)), test_set


def _as_trainable(source: Bundle, settings: FinetuneSettings) -> Bundle:
    """Return the source in float32, with the preprocessing that the settings change."""
    if source.card.precision == "int8":
        problem = f"cannot train {source.card.name}: its weights are int8"
        raise ConfigError(problem, hint="fine-tune the model that it was compiled from, then compile the result")
    spec = source.card.preprocess.at(settings.resolution)
    spec = replace(spec, alpha=settings.alpha or spec.alpha)
    if spec == source.card.preprocess and source.card.precision == "fp32":
        return source
    return as_float32(with_preprocess(source, spec))


def _evaluate(bundle: Bundle, data: LabelledData) -> Generator[Progress, None, EvalReport]:
    work = count(source_of_model(bundle, data, InferenceSettings(batch_size=0, exif=data.exif)), check_order=False)
    return (yield from map_events(work, lambda event: replace(event, activity=f"evaluating {data.name}")))


def _write_inputs(run: Path, source: Bundle, split: Split, settings: FinetuneSettings) -> None:
    """Write run.json and the split. Raises TrainingError if ``run`` belongs to other weights, images or mode."""
    path = run / "run.json"
    identity = RunIdentity({
        "mode": settings.mode,
        "source": source.card.name,
        "graph": source.sha256,
        "classes": list(split.labels.ids or split.labels.names),
        "train": split.train.sha256,
        "val": split.val.sha256,
        "sample": (sample := sample_hash([*split.train.items, *split.val.items])),
        "exif": split.val.exif,
        "alpha": source.card.preprocess.alpha,
    })  # fmt: skip
    if path.exists():
        # Older versions wrote neither.
        previous = {"alpha": "drop", "sample": sample} | json.loads(path.read_text("utf-8"))
        if changes := identity.differences(previous):
            names = ", ".join(change.key for change in changes)
            raise TrainingError(f"{run} holds another run; different: {names}", hint="name another folder with -o")
    save_text(path, json_text(identity.as_json(), indent=1) + "\n")
    for data, file in ((split.train, "train.csv"), (split.val, "val.csv")):
        save_text(run / file, to_index(data, split.labels))


def _as_toml(settings: FinetuneSettings) -> str:
    values = settings.model_dump(mode="json")
    return as_toml(values.pop("recipe") | values)


def _make_card(source: Bundle, split: Split, settings: FinetuneSettings, result: FinetuneResult) -> ModelCard:
    card, val = source.card, len(split.val.items)
    fraction = val / (val + len(split.train.items))
    division = f"made: {settings.val_fraction:g} of each class, seed {settings.seed}: {fraction:.3f} of all images"
    return ModelCard(
        name=f"{card.architecture}.{printable(split.name)}",
        architecture=card.architecture,
        classes=len(split.labels.names),
        preprocess=card.preprocess,
        precision="fp32",
        licence=card.licence,
        weights_source=f"fine-tuned from {card.name}",
        assumed=tuple(assumption for assumption in card.assumed if not assumption.startswith(ASSUMED_LABELS)),
        notes={
            "fine-tuned": f"{settings.mode}, from {card.name}",
            "source weights": card.weights_sha256 or "not known",
            "source graph": source.sha256,
            "split": division if split.divided else "; ".join(("as it was found", *split.skipped.notes)),
            "train data hash": split.train.sha256,
            "val data hash": split.val.sha256,
            "chosen": result.chosen,
            "settings": _as_toml(settings),
            **({"recipe": result.recipe} if result.recipe else {}),
        },
    )


def _with_accuracy(card: ModelCard, train: int, val: EvalReport, test: EvalReport | None) -> ModelCard:
    """Add the numbers of readable images and the measured accuracies to ``card``."""
    measured, notes = [], {**card.notes, "pictures": f"{train:,} for training, {val.n:,} for validation"}
    for report in (val, test):
        if report and report.n and report.engine:
            low, high = wilson_interval(report.correct1, report.n)
            notes[f"top-1 on {report.data}"] = f"{report.top1:.4f} (95 %: {low:.4f} to {high:.4f}), n = {report.n:,}"
            counts = report.n, report.correct1, report.correct5
            measured.append(Measured(report.data, *counts, report.engine.runtime, report.engine.precision))
    return replace(card, measured=tuple(measured), notes=notes)
