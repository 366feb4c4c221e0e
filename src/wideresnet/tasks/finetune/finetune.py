"""A network for a person's own classes: from their class folders to a bundle, in a folder of its own.

    RUN/bundle/          the result            RUN/train.csv, val.csv     the images: indices for 'wrn evaluate'
    RUN/report.html      how it was judged     RUN/settings.toml          what was asked for
    RUN/log.jsonl        epochs or strengths   RUN/run.json               from which weights, on which images

The probe keeps features/ to go on from, the full mode checkpoint.pt, best.safetensors and recipe.toml.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from wideresnet.architectures import Architecture, get_architecture
from wideresnet.bundle import Bundle, make_bundle, write_bundle
from wideresnet.bundle.derive import as_float32, read_weights, with_preprocess
from wideresnet.classifier import Classifier
from wideresnet.config import as_toml
from wideresnet.datasets.labelled import LabelledData, notes_on_shared
from wideresnet.datasets.open import open_labelled
from wideresnet.datasets.shards import find_shards, labelled_shards
from wideresnet.datasets.splits import Split, with_exif, with_note
from wideresnet.datasets.train_val_split import open_split, to_index
from wideresnet.engines.throughput import throughput_options
from wideresnet.errors import ConfigError, TrainingError
from wideresnet.output.atomic import save_text
from wideresnet.records import (
    EvalReport,
    Failure,
    FinetuneReport,
    Images,
    Measured,
    ModelCard,
    PathPoint,
    Progress,
    Skipped,
    by_path,
    follow,
    wilson_interval,
)
from wideresnet.report.escape import json_text, printable
from wideresnet.report.finetuning import shown_evaluation, to_html
from wideresnet.tasks.classify.thumbnails import thumbnails
from wideresnet.tasks.evaluate.evaluate import blank_report, masked_classes, score
from wideresnet.tasks.evaluate.label_order import with_order_warning
from wideresnet.tasks.evaluate.metrics import EvaluationAccumulator
from wideresnet.tasks.finetune.probe import run_probe
from wideresnet.tasks.finetune.settings import FinetuneSettings, read_settings
from wideresnet.tasks.load.load import ASSUMED_LABELS, bundle_of, open_classifier
from wideresnet.tasks.load.resolve import DEFAULT_MODEL

if TYPE_CHECKING:
    from wideresnet.training.loop import Epoch

__all__ = ["FinetuneSettings", "Means", "finetune", "read_settings", "run_finetune"]

BUNDLE = "bundle"
Tensors = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Means:
    """What a run of the full mode may use, whatever comes of it: a probe needs neither.

    ``cache``: a folder that keeps the decoded images. ``device``: "cpu", "cuda", or "auto": a GPU if torch finds one.
    """

    cache: Path | None = None
    device: str = "auto"


@dataclass(frozen=True, eq=False)
class _Learnt:
    """What either mode comes to."""

    tensors: Tensors
    failures: tuple[Failure, ...]
    chosen: str
    path: tuple[PathPoint, ...] = ()
    log: tuple[Mapping[str, float], ...] = ()
    recipe: str = ""


def finetune(
    data: Path | str,
    run: Path | str,
    model: Classifier | Path | str = DEFAULT_MODEL,
    *,
    mode: Literal["probe", "full"] = "probe",
    test: Path | str | None = None,
    settings: Mapping[str, Any] | None = None,
    means: Means | None = None,
) -> FinetuneReport:
    """Fine-tune ``model`` on the class folders in ``data``; the bundle is ``run``/bundle.

    ``data`` holds a folder a class, splits with them (see ``data.layout``), or shards. "probe" fits a new classifier to
    features, "full" trains the whole network (extra ``train``). ``settings``: keys as in a settings file. ``test``:
    class folders that nothing is chosen by. ``means``: what a full run may use. Raises WrnError.
    """
    chosen = read_settings(None, {**(settings or {}), "mode": mode})
    judges = None if test is None else Path(test)
    return follow(run_finetune(bundle_of(model), Path(data), Path(run), chosen, judges, means))


def run_finetune(
    source: Bundle, data: Path, run: Path, settings: FinetuneSettings, test: Path | None = None,
    means: Means | None = None,
) -> Generator[Progress | Images | PathPoint | Epoch, None, FinetuneReport]:  # fmt: skip
    """Fine-tune ``source`` on ``data`` in folder ``run``, or go on with it, and return the report.

    Raises ConfigError for an int8 source and a probe with a cache, DataError for images that are not as they should
    be, TrainingError where ``run`` holds another run or the loss is no number. What is in ``run`` after an interruption
    is whole.
    """
    means = means or Means()
    if means.cache and settings.mode == "probe":
        raise ConfigError("a probe keeps features, and no images", hint="--cache is for --mode full: leave it out")
    started = time.perf_counter()
    source = _prepared(source, settings)
    split = with_exif(open_split(data, settings.share, settings.seed, test), settings.exif)
    if not split.divided and settings.share != FinetuneSettings.model_fields["share"].default:
        raise ConfigError(f"--share has no effect: {data} is divided already", hint="leave out --share")
    tested = None
    if test:
        shards = find_shards(test)
        tested = labelled_shards(shards, split.labels) if shards else open_labelled(test, split.labels)
    tested = replace(tested, name=f"{split.name} test", exif=settings.exif) if tested else None
    for note in notes_on_shared(split.train, split.val, *([tested] if tested else [])):
        split = with_note(split, note)
    _keep(run, source, split, settings)
    architecture = get_architecture(source.card.architecture, len(split.labels.names))
    learn = _probe if settings.mode == "probe" else partial(_full, means=means)
    learnt = yield from learn(source, architecture, split, run, settings)
    save_text(run / "settings.toml", _as_toml(settings))
    seconds = time.perf_counter() - started
    card = _card(source, split, settings, learnt)
    bundle = make_bundle(architecture, learnt.tensors, card, split.labels)
    val = yield from _judged(bundle, replace(split.val, name=f"{split.name} val"))
    judged = (yield from _judged(bundle, tested)) if tested else None
    train = len({item.path for item in split.train.items} - {each.path for each in learnt.failures})
    write_bundle(run / BUNDLE, replace(bundle, card=_with_figures(bundle.card, train, val, judged)))
    failed = {each.path: each for report in (learnt, val, judged) if report for each in report.failures}
    report = FinetuneReport(
        run=str(run), bundle=str(run / BUNDLE), model=card.name, mode=settings.mode, source=source.card.name,
        data=split.name, labels=split.labels, train=train, val=val.n, evaluation=val,
        test=judged, failures=by_path(failed.values()), path=learnt.path, log=learnt.log, notes=card.notes,
        chosen=learnt.chosen, seconds=seconds, skipped=split.skipped + (tested.skipped if tested else Skipped()),
    )  # fmt: skip
    sources = {item.path: item for item in (tested or split.val).items}
    images = thumbnails(shown_evaluation(report), sources)
    save_text(run / "report.html", to_html(report, images))
    return report


def _prepared(source: Bundle, settings: FinetuneSettings) -> Bundle:
    """The source in float32, to be shown images of the size asked for."""
    if source.card.precision == "int8":
        raise ConfigError(
            f"{source.card.name} is int8: its weights are rounded, and cannot be trained on",
            hint="fine-tune the model that it was compiled from, then compile the result",
        )
    spec = source.card.preprocess.at(settings.resolution)
    spec = replace(spec, alpha=settings.alpha or spec.alpha)
    if spec == source.card.preprocess and source.card.precision == "fp32":
        return source
    return as_float32(with_preprocess(source, spec))


def _probe(
    source: Bundle, architecture: Architecture, split: Split, run: Path, settings: FinetuneSettings
) -> Generator[Progress | Images | PathPoint, None, _Learnt]:
    found = yield from run_probe(source, split, run, settings)
    head = {"fc.weight": found.head.weight, "fc.bias": found.head.bias}
    weights = read_weights(source)
    tensors = {key: head.get(key, weights[key]) for key in architecture.tensors()}
    return _Learnt(tensors, found.failures, found.chosen, path=found.path)


def _full(
    source: Bundle, architecture: Architecture, split: Split, run: Path, settings: FinetuneSettings, means: Means
) -> Generator[Progress | Images | Epoch, None, _Learnt]:
    from wideresnet.tasks.finetune.full import run_full  # with torch; a probe needs none

    result = yield from run_full(source, architecture, split, run, settings, means.cache, means.device)
    return _Learnt(result.tensors, result.failures, result.chosen, log=result.log, recipe=result.recipe.to_toml())


def _judged(bundle: Bundle, data: LabelledData) -> Generator[Progress, None, EvalReport]:
    """``evaluate``, with news of how far it is."""
    options, batch = throughput_options(bundle, "f32")
    classifier = open_classifier(bundle, options=options)
    counts = EvaluationAccumulator(masked_classes(data))
    for answer in score(classifier, data, batch):
        counts.add(answer)
        yield Progress(f"evaluating {data.name}", counts.n + len(counts.failures), len(data.items))
    return with_order_warning(counts.report(blank_report(classifier, data)), bundle.labels)


def _keep(run: Path, source: Bundle, split: Split, settings: FinetuneSettings) -> None:
    """Write down what is learnt from what, or refuse to go on with something else."""
    path = run / "run.json"
    now = {
        "mode": settings.mode,
        "source": source.card.name,
        "graph": source.sha256,
        "classes": list(split.labels.ids or split.labels.names),
        "train": split.train.sha256,
        "val": split.val.sha256,
        "exif": split.val.exif,
        "alpha": source.card.preprocess.alpha,
    }
    if path.exists():
        before = {"alpha": "drop"} | json.loads(path.read_text("utf-8"))   # which older runs do not say
        changed = [key for key, value in now.items() if before.get(key) != value]
        if changed:
            raise TrainingError(
                f"{run} holds another run; different: {', '.join(changed)}", hint="name another folder with -o"
            )
    save_text(path, json_text(now, indent=1) + "\n")
    for data, file in ((split.train, "train.csv"), (split.val, "val.csv")):
        save_text(run / file, to_index(data, split.labels))


def _as_toml(settings: FinetuneSettings) -> str:
    values = settings.model_dump(mode="json")
    return as_toml(values.pop("recipe") | values)


def _card(source: Bundle, split: Split, settings: FinetuneSettings, learnt: _Learnt) -> ModelCard:
    before, val = source.card, len(split.val.items)
    of_all = val / (val + len(split.train.items))
    made = f"{settings.share:g} of each class, seed {settings.seed}; it came to {of_all:.3f} of all"
    return ModelCard(
        name=f"{before.architecture}.{printable(split.name)}",
        architecture=before.architecture,
        classes=len(split.labels.names),
        preprocess=before.preprocess,
        precision="fp32",
        licence=before.licence,
        weights_source=f"fine-tuned from {before.name}",
        assumed=tuple(each for each in before.assumed if not each.startswith(ASSUMED_LABELS)),
        notes={
            "fine-tuned": f"{settings.mode}, from {before.name}",
            "source weights": before.weights_sha256 or "not known",
            "source graph": source.sha256,
            "split": f"made: {made}" if split.divided else "; ".join(("as it was found", *split.skipped.notes)),
            "train data hash": split.train.sha256,
            "val data hash": split.val.sha256,
            "chosen": learnt.chosen,
            "settings": _as_toml(settings),
            **({"recipe": learnt.recipe} if learnt.recipe else {}),
        },
    )


def _with_figures(card: ModelCard, train: int, val: EvalReport, test: EvalReport | None) -> ModelCard:
    """The card with what could be read, and how right the network was on it."""
    measured, notes = [], {**card.notes, "pictures": f"{train:,} to learn from, {val.n:,} in val"}
    for each in (val, test):
        if each and each.n and each.engine:
            low, high = wilson_interval(each.correct1, each.n)
            notes[f"top-1 on {each.data}"] = f"{each.top1:.4f} (95 %: {low:.4f} to {high:.4f}), n = {each.n:,}"
            counts = each.n, each.correct1, each.correct5
            measured.append(Measured(each.data, *counts, each.engine.runtime, each.engine.precision))
    return replace(card, measured=tuple(measured), notes=notes)
