"""Paired comparison of two models: of two files of scores, or of both over one data set."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import tee
from pathlib import Path

from wideresnet.bundle import Bundle
from wideresnet.classifier import Classifier
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.pairing import pair_by_path
from wideresnet.errors import DataError
from wideresnet.images.loader import load_batches
from wideresnet.output.scores import read_origin, read_scores
from wideresnet.records import EvalReport, Failure, InferenceSettings, Item, Labels, Preprocess, Progress, Scored
from wideresnet.records.comparison import ComparisonReport, Flip
from wideresnet.tasks.evaluate.evaluate import BATCH, blank_report, score, score_logits
from wideresnet.tasks.evaluate.label_order import with_order_warning
from wideresnet.tasks.evaluate.metrics import accumulate
from wideresnet.tasks.evaluate.model import open_for_many
from wideresnet.tasks.evaluate.training_images import with_warnings

Outcome = Scored | Failure
NO_LABELS = Labels(())                             # for files of scores without a list of class names
UNKNOWN_CLASS = -1                                 # where a file does not contain the likeliest class


@dataclass(frozen=True)
class Comparison:
    """A comparison with the inputs of its page: class names, images by path, and their preprocessing."""

    report: ComparisonReport
    labels: Labels
    items: Mapping[str, Item]
    spec: Preprocess | None = None


def compare_files(a: Path, b: Path, labels: Labels = NO_LABELS) -> Comparison:
    """Compare two files of scores; see ``compare_answers``. The classes are those that a file states, or ``labels``.

    Raises DataError for files that state different classes, or others than ``labels``.
    """
    origins = read_origin(a), read_origin(b)
    stated = list(dict.fromkeys(origin.labels for origin in origins if origin.labels.names))
    if len(stated) > 1:
        raise DataError(f"{a} and {b} are of different classes", hint="compare models of the same classes")
    if labels.names and stated and labels.names != stated[0].names:
        problem = f"{a} or {b} states other class names than the labels that were given"
        raise DataError(problem, hint="leave out the labels: they are for files without class names")
    labels = stated[0] if stated else labels
    same = origins[0].model == origins[1].model        # the files tell them apart
    blank_a, blank_b = (
        EvalReport(origin.model + f" ({file})" * same if origin.model else str(file), origin.data, None, 0, 0, 0)
        for file, origin in zip((a, b), origins, strict=True)
    )
    if blank_a.data and blank_b.data and blank_a.data != blank_b.data:
        blank_a = replace(blank_a, notes=(f"A was evaluated on {blank_a.data}, B on {blank_b.data}",))
    return Comparison(compare_answers(read_scores(a), read_scores(b), (blank_a, blank_b), labels), labels, {})


def compare_models(
    names: tuple[str, str], models: Sequence[Bundle | Classifier], data: LabelledData, settings: InferenceSettings
) -> Generator[Progress, None, Comparison]:
    """Score both models on ``data``, reporting progress after each image, and compare the scores.

    Open models keep their engine, precision and threads. ``names`` replace those of the cards if these are equal.
    Raises DataError for models with different classes.
    """
    (a, bundle_a, settings), (b, bundle_b, _) = [open_for_many(model, settings) for model in models]
    outcomes = []
    for done, pair in enumerate(score_both(a, b, data, settings.batch_size), start=1):
        outcomes.append(pair)
        yield Progress("comparing", done, len(data.items))
    blanks = [blank_report(model, data) for model in (a, b)]
    # No calibration is shown here.
    blanks = [blank if blank.passed_on else replace(blank, notes=data.notes) for blank in blanks]
    blank_a, blank_b = (
        with_warnings(blank, bundle, data) if bundle else blank
        for blank, bundle in zip(blanks, (bundle_a, bundle_b), strict=True)
    )
    if a.card.name == b.card.name:                 # the folders tell them apart
        blank_a, blank_b = replace(blank_a, model=names[0]), replace(blank_b, model=names[1])
    report = compare_answers((x for x, _ in outcomes), (y for _, y in outcomes), (blank_a, blank_b), a.labels)
    return Comparison(report, a.labels, {item.path: item for item in data.items}, a.card.preprocess)


def compare_answers(
    outcomes_a: Iterable[Outcome],
    outcomes_b: Iterable[Outcome],
    blanks: tuple[EvalReport, EvalReport],
    labels: Labels = NO_LABELS,
) -> ComparisonReport:
    """Compare the scores of A and B, in any order, paired by path.

    ``blanks`` are the metadata of both reports, ``labels`` the classes of both models. Masked accuracy is reported
    where both have scores for the same subset of the classes. Raises DataError if a path occurs twice, if the two
    labels of an image differ, if no image is in both, or if a class has no name.
    """
    a, b = _by_path(outcomes_a, blanks[0].model), _by_path(outcomes_b, blanks[1].model)
    paths = pair_by_path(a, b)
    pairs = list(_scored_pairs(a, b, paths))
    if not pairs:
        hint = "images are paired by path: evaluate both with the same path of the data, from the same folder"
        raise DataError(f"no image is answered in both {blanks[0].model} and {blanks[1].model}", hint)
    highest = max(index for pair in pairs for scored in pair for index in (scored.label, *scored.top))
    if labels.names and highest >= len(labels.names):
        problem = f"the answers are of classes up to {highest} (from 0), and there are {len(labels.names)} class names"
        raise DataError(problem, hint="name the list of the classes that were answered")
    report = compare_pairs(pairs, blanks, _masked_classes(a, b), (_failures(a), _failures(b)))
    return replace(
        report,
        a=with_order_warning(report.a, labels),
        b=with_order_warning(report.b, labels),
        only_a=tuple(sorted(a.keys() - paths.keys())),
        only_b=tuple(sorted(b.keys() - set(paths.values()))),
    )


def compare_pairs(
    pairs: Sequence[tuple[Scored, Scored]], blanks: tuple[EvalReport, EvalReport], present: int = 0,
    failures: tuple[Sequence[Failure], Sequence[Failure]] = ((), ()),
) -> ComparisonReport:  # fmt: skip
    """Compare the scores of the same images by A and B, at least one; ``present`` as for ``EvaluationAccumulator``."""
    a = accumulate([*(x for x, _ in pairs), *failures[0]], blanks[0], present)
    b = accumulate([*(y for _, y in pairs), *failures[1]], blanks[1], present)
    flips = [_flip(x, y) for x, y in pairs if (x.rank == 1) != (y.rank == 1)]
    agreements = sum(_likeliest(x) == _likeliest(y) != UNKNOWN_CLASS for x, y in pairs)
    # The most confident mistake first.
    flips.sort(key=lambda flip: (0.0 if math.isnan(flip.mistake) else -flip.mistake, flip.path))
    return ComparisonReport(a, b, agreements, tuple(flips))


def score_both(
    a: Classifier, b: Classifier, data: LabelledData, batch_size: int = BATCH
) -> Iterator[tuple[Outcome, Outcome]]:
    """Yield both models' scores of each image, in order.

    Two networks, neither of them a cascade, decode images once if the preprocessing is the same. Raises DataError for
    models with different classes.
    """
    check_same_classes(a, b)
    spec, spec_b = a.card.preprocess, b.card.preprocess
    if not spec.same_crop(spec_b) or a.card.cascade or b.card.cascade:
        yield from zip(score(a, data, batch_size), score(b, data, batch_size), strict=True)
        return
    copy_a, copy_b = tee(load_batches(data.items, spec, batch_size=batch_size, exif=data.exif))
    for (batch, logits_a), (_, logits_b) in zip(a.stream(copy_a), b.stream(copy_b), strict=True):
        scores = (batch.in_order(score_logits(batch.items, logits, data.present)) for logits in (logits_a, logits_b))
        yield from zip(*scores, strict=True)


def check_same_classes(a: Classifier | Bundle, b: Classifier | Bundle) -> None:
    """Raise DataError if a class index stands for different classes in the two models."""
    labels_a, labels_b = a.labels, b.labels
    if len(labels_a.names) != len(labels_b.names):
        problem = f"{a.card.name} has {len(labels_a.names)} classes, {b.card.name} {len(labels_b.names)}"
        raise DataError(problem, hint="compare models of the same classes")
    both_have_ids = bool(labels_a.ids and labels_b.ids)
    keys_a, keys_b = (labels_a.ids, labels_b.ids) if both_have_ids else (labels_a.names, labels_b.names)
    if keys_a != keys_b and (both_have_ids or set(keys_a) == set(keys_b)):
        problem = f"{a.card.name} and {b.card.name} have different classes, or the same in another order"
        raise DataError(problem, hint="compare models with the same classes at the same indices")


def _by_path(outcomes: Iterable[Outcome], name: str) -> dict[str, Outcome]:
    by_path: dict[str, Outcome] = {}
    for outcome in outcomes:
        if outcome.path in by_path:
            raise DataError(f"{name} holds two answers to {outcome.path}", hint="remove one of the two")
        by_path[outcome.path] = outcome
    return by_path


def _failures(outcomes: Mapping[str, Outcome]) -> list[Failure]:
    return [outcome for outcome in outcomes.values() if isinstance(outcome, Failure)]


def _scored_pairs(
    a: Mapping[str, Outcome], b: Mapping[str, Outcome], paths: Mapping[str, str]
) -> Iterator[tuple[Scored, Scored]]:
    """Yield the scores of the images that both models answered, in A's order."""
    for path_a, path_b in paths.items():
        x, y = a[path_a], b[path_b]
        if not isinstance(x, Scored) or not isinstance(y, Scored):
            continue
        if x.label != y.label:
            problem = f"{path_a} is of class {x.label} in one and {y.label} in the other"
            raise DataError(problem, hint="evaluate both on the same labelled data")
        yield x, y


def _masked_classes(*sides: Mapping[str, Outcome]) -> int:
    """Return the number of classes in the data where both sides have the same subset of the model's, else 0."""
    scored_a, scored_b = ([s for s in side.values() if isinstance(s, Scored)] for side in sides)
    classes_a, classes_b = ({scored.label for scored in scores} for scores in (scored_a, scored_b))
    is_subset = any(scored.masked_rank != scored.rank for scored in (*scored_a, *scored_b))
    return len(classes_a) if is_subset and classes_a == classes_b else 0


def _flip(a: Scored, b: Scored) -> Flip:
    return Flip(
        path=a.path,
        label=a.label,
        right="A" if a.rank == 1 else "B",
        answers=(_likeliest(a), _likeliest(b)),
        probabilities=(_probability(a), _probability(b)),
    )


def _likeliest(scored: Scored) -> int:
    if scored.top:
        return scored.top[0]
    return scored.label if scored.rank == 1 else UNKNOWN_CLASS


def _probability(scored: Scored) -> float:
    return scored.probabilities[0] if scored.probabilities else math.nan
