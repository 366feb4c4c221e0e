"""Scores of the model zoo's outputs (``result.txt`` and arrays of logits), and the zoo's preprocessing."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wideresnet.bundle import Bundle
from wideresnet.bundle.derive import with_preprocess
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.lookup import ClassLookup
from wideresnet.datasets.pairing import folder_of, pair_by_name
from wideresnet.datasets.zoo_npz import NPZ
from wideresnet.errors import DataError, ImageError
from wideresnet.images.decode import read_regular
from wideresnet.images.files import is_ignored
from wideresnet.images.npz import read_array
from wideresnet.logits import brier
from wideresnet.records import EvalReport, Failure, Item, Labels, Preprocess, Scored
from wideresnet.tasks.evaluate.evaluate import TOP, AnswerSource, score_logits, source_of_data
from wideresnet.tasks.zoo.results import Answer, Results, read_results

OUTPUT = "output_0"                                # the zoo's name for the logits
SUM_TOLERANCE = 0.01                               # of 1000 probabilities in float16
# The preprocessing in the zoo's build files; its README states another (docs/from-the-zoo.md).
ZOO = Preprocess(resize=256, crop=224, interpolation="opencv-bilinear", mode="squash")


def zoo_transform(bundle: Bundle) -> Bundle:
    """Return the bundle with the zoo's preprocessing: squashed, by OpenCV's bilinear resize. The graph stays.

    256 and 224 pixels, or the same ratio for a network of another resolution.
    """
    spec = bundle.card.preprocess
    return with_preprocess(bundle, replace(ZOO.at(spec.crop), mean=spec.mean, std=spec.std, alpha=spec.alpha))


def source_of_results(
    file: Path, labels: Labels, labels_name: str, data: LabelledData | None
) -> tuple[AnswerSource, int]:
    """Return the scores of the answers in ``file``, and the number of lines that it holds twice.

    Without ``data`` the folder of each image is its class.
    """
    results = read_results(file)
    blank = _blank(file, str(file), data)
    blank = replace(blank, max_k=5 if results.max_k >= len(labels.names) else min(5, results.max_k))
    scores = score_results(results, labels, data)
    if data is None:
        source = AnswerSource(scores, blank, labels, len(results.answers), labels_name=labels_name)
    else:
        source = source_of_data(scores, blank, labels, data, labels_name)
    return source, results.doubled


def source_of_outputs(folder: Path, labels: Labels, labels_name: str, data: LabelledData) -> AnswerSource:
    """Return the scores of the arrays in ``folder``."""
    return source_of_data(score_outputs(folder, data), _blank(folder, data.name, data), labels, data, labels_name)


def _blank(answers: Path, name: str, data: LabelledData | None) -> EvalReport:
    blank = EvalReport(f"answers in {answers}", name, None, 0, 0, 0)
    return replace(blank, data=data.name, notes=data.notes, skipped=data.skipped) if data else blank


def score_results(results: Results, labels: Labels, data: LabelledData | None = None) -> Iterator[Scored | Failure]:
    """Yield one score or failure for each image of ``data``, in order, then a failure for each unmatched answer.

    Classes are compared by index, never by name. Answers and images are paired by path (see ``pair_by_name``); without
    ``data`` the class of an image is that of its folder. Ranks are among the answers in the file (at least
    ``results.max_k``), 0 if the correct class is not one of them. Raises DataError if no answer fits, and for answers
    of another network.
    """
    worst = max(index for answer in results.answers.values() for index, _ in answer)
    if worst >= len(labels.names):
        problem = f"{results.file} answers class {worst}, there are {len(labels.names)} (from 0)"
        raise DataError(problem, hint="name the network that answered, or one of the same classes, with -m")
    lookup, probable = ClassLookup(labels), results.probable
    if data is None:
        return _by_folder(results, lookup, probable)

    def score(item: Item, path: str) -> Scored | Failure:
        folder = folder_of(path)
        label = lookup.ids.get(folder, lookup.names.get(folder, item.label))
        if label is None or label != item.label:
            return Failure(item.path, f"class {item.label} in the data, and called {path} in {results.file}")
        return _scored(item.path, label, results.answers[path], probable)

    return _score_pairs(data, results.answers, results.file, score)


def score_outputs(folder: Path, data: LabelledData) -> Iterator[Scored | Failure]:
    """Yield one score or failure for each image of ``data``, in order, then a failure for each unmatched output.

    ``folder`` has one .npz file per image, named like it (see ``pair_by_name``), with ``output_0``: logits [C] or
    [1, C] of any float type. Values that are not negative and sum to 1 are taken as probabilities. Raises DataError if
    no file has the name of an image.
    """
    names = (str(file.relative_to(folder)) for file in sorted(folder.rglob(f"*{NPZ}")))
    outputs = {name: folder / name for name in names if not any(map(is_ignored, Path(name).parts))}
    if not outputs:
        raise DataError(f"{folder} holds no {NPZ} files", hint="expected one for each image, with its name")

    def score(item: Item, name: str) -> Scored | Failure:
        file = outputs[name]
        try:
            values = _values(read_array(io.BytesIO(read_regular(file)), OUTPUT), data.classes)
        except ImageError as error:
            return Failure(item.path, f"{file}: {error.message}", error.hint)
        (scored,) = score_logits([item], values, data.present)
        is_softmax = values.min() >= 0 and abs(values.sum() - 1) <= SUM_TOLERANCE
        return _of_probabilities(scored, values[0].astype(np.float64)) if is_softmax else scored

    return _score_pairs(data, outputs, folder, score)


def _of_probabilities(scored: Scored, values: NDArray[np.float64]) -> Scored:
    """Return a score, made as if of logits, with the figures of the probabilities [C]; 0 is the smallest float32."""
    least = float(np.finfo(np.float32).tiny)
    return replace(
        scored, probabilities=tuple(values[list(scored.top)].tolist()), nll=-math.log(max(values[scored.label], least)),
        brier=float(brier(values[None], np.array([scored.label]))[0]),
    )  # fmt: skip


def _by_folder(results: Results, lookup: ClassLookup, probable: bool) -> Iterator[Scored | Failure]:
    labels = {path: lookup.find(folder_of(path)) for path in results.answers}
    if all(label is None for label in labels.values()):
        raise DataError(
            f"no folder in {results.file} names one of the {lookup.count} classes, such as that of"
            f" {next(iter(labels))}",
            hint="give the labelled images too",
        )
    for path, label in labels.items():
        if label is None:
            yield Failure(path, "its folder names no class", hint="give the labelled images too")
        else:
            yield _scored(path, label, results.answers[path], probable)


def _score_pairs(
    data: LabelledData, answers: Collection[str], where: Path, score: Callable[[Item, str], Scored | Failure]
) -> Iterator[Scored | Failure]:
    """Yield the score of each image from its answer, or a failure, then a failure for each answer without an image.

    Of shards, which add up, only the first has the latter. Raises DataError if no image has an answer.
    """
    images = [item.path for item in data.full_set.items]
    pairs = pair_by_name(images, answers)
    if not pairs:
        raise DataError(
            f"no image of {data.name} has one of the {len(answers):,} answers in {where}: those are called"
            f" {next(iter(answers))}, the images {images[0]}",
            hint="give the answers the names of the images: their order alone would be a guess",
        )
    for item in data.items:
        name = pairs.get(item.path)
        yield Failure(item.path, f"no answer in {where}") if name is None else score(item, name)
    if not data.part or data.part.startswith("1/"):
        for answer in sorted(set(answers) - set(pairs.values())):
            yield Failure(answer, f"no image of {data.name} has its name")


def _scored(path: str, label: int, answer: tuple[Answer, ...], probable: bool) -> Scored:
    classes = [index for index, _ in answer]
    return Scored(
        path=path,
        label=label,
        rank=classes.index(label) + 1 if label in classes else 0,
        masked_rank=0,
        top=tuple(classes[:TOP]),
        probabilities=tuple(probability for _, probability in answer[:TOP]) if probable else (),
    )


def _values(output: NDArray[np.generic], classes: int) -> NDArray[np.float32]:
    """Return an output as float32 [1, C]. Raises ImageError for another shape or type, and for non-finite values."""
    if not np.issubdtype(output.dtype, np.floating) or output.shape not in ((classes,), (1, classes)):
        raise ImageError(f"{OUTPUT} is {output.dtype} {list(output.shape)}, expected floats [{classes}]")
    with np.errstate(over="ignore"):
        values: NDArray[np.float32] = output.reshape(1, classes).astype(np.float32)
    if not np.isfinite(values).all():
        raise ImageError(f"{OUTPUT} holds values that are not finite")
    return values
