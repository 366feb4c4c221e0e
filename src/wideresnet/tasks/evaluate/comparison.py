"""Two sets of answers held against each other, paired by image: from two files, or two models over one data set."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import tee

from wideresnet.classifier import Classifier
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.text import nfc
from wideresnet.errors import DataError
from wideresnet.images.loader import load_batches
from wideresnet.machine import available_cpus
from wideresnet.records import ComparisonReport, EvalReport, Failure, Flip, Labels, Scored
from wideresnet.tasks.evaluate.evaluate import BATCH, score, score_logits
from wideresnet.tasks.evaluate.label_order import with_order_warning
from wideresnet.tasks.evaluate.metrics import EvaluationAccumulator

Answer = Scored | Failure
Pair = tuple[Scored, Scored]
UNNAMED = Labels(())                               # the classes of files, where nobody names them
UNKNOWN = -1                                       # the class of an answer that a file does not tell


def compare_answers(
    first: Iterable[Answer],
    second: Iterable[Answer],
    blanks: tuple[EvalReport, EvalReport],
    labels: Labels = UNNAMED,
) -> ComparisonReport:
    """A's and B's answers in any order, paired by path. ``blanks`` say what is known of each besides.

    ``labels`` are the classes of both.
    Accuracy among the classes of the data is given where both answered images of the same classes, and not of all.
    Raises DataError where a path comes twice, where two labels of an image differ, or where no image is in both.
    """
    ours, theirs = _composed(_by_path(first, blanks[0].model), _by_path(second, blanks[1].model))
    pairs = list(_pairs(ours, theirs))
    if not pairs:
        raise DataError(
            f"no image is answered in both {blanks[0].model} and {blanks[1].model}",
            hint="they are paired by path: evaluate both with the same words for the data, from the same folder",
        )
    classes = _masked_classes(ours, theirs)
    counts = EvaluationAccumulator(classes), EvaluationAccumulator(classes)
    for pair in pairs:
        for tally, answer in zip(counts, pair, strict=True):
            tally.add(answer)
    for tally, answers in zip(counts, (ours, theirs), strict=True):
        tally.failures.extend(each for each in answers.values() if isinstance(each, Failure))
    flips = (_flip(*pair) for pair in pairs if (pair[0].rank == 1) != (pair[1].rank == 1))
    return ComparisonReport(
        a=with_order_warning(counts[0].report(blanks[0]), labels),
        b=with_order_warning(counts[1].report(blanks[1]), labels),
        same=sum(_answer(one) == _answer(other) != UNKNOWN for one, other in pairs),
        flips=tuple(sorted(flips, key=_surest_first)),
        only_a=tuple(sorted(ours[path].path for path in ours.keys() - theirs.keys())),
        only_b=tuple(sorted(theirs[path].path for path in theirs.keys() - ours.keys())),
    )


def score_both(
    a: Classifier, b: Classifier, data: LabelledData, batch_size: int = BATCH
) -> Iterator[tuple[Answer, Answer]]:
    """Both models' scores of each image, in order; it is decoded once where both want to see the same of it.

    Raises DataError for models of other classes than each other's.
    """
    refuse_other_classes(a, b)
    spec, other = a.card.preprocess, b.card.preprocess
    if replace(other, mean=spec.mean, std=spec.std) != spec:           # those two are inside the graphs
        yield from zip(score(a, data, batch_size), score(b, data, batch_size), strict=True)
        return
    batches = load_batches(data.items, spec, batch_size=batch_size, threads=available_cpus(), exif=data.exif)
    streams = (each.stream(copy) for each, copy in zip((a, b), tee(batches), strict=True))
    for (batch, logits), (_, others) in zip(*streams, strict=True):
        scores = (batch.in_order(score_logits(batch.items, each, data.present)) for each in (logits, others))
        yield from zip(*scores, strict=True)


def refuse_other_classes(a: Classifier, b: Classifier) -> None:
    """Raises DataError where a class index means something else in one model than in the other."""
    one, other = a.labels, b.labels
    if len(one.names) != len(other.names):
        raise DataError(
            f"{a.card.name} knows {len(one.names)} classes, {b.card.name} {len(other.names)}",
            hint="only models of the same classes can be compared",
        )
    both = bool(one.ids and other.ids)
    keys, others = (one.ids, other.ids) if both else (one.names, other.names)
    if keys != others and (both or set(keys) == set(others)):
        raise DataError(
            f"the classes of {a.card.name} and {b.card.name} are others, or in another order",
            hint="only models with the same classes at the same indices can be compared",
        )


def _by_path(answers: Iterable[Answer], name: str) -> dict[str, Answer]:
    found: dict[str, Answer] = {}
    for answer in answers:
        if answer.path in found:
            raise DataError(f"{name} holds two answers to {answer.path}", hint="every image may be there once")
        found[answer.path] = answer
    return found


def _composed(*sides: Mapping[str, Answer]) -> list[dict[str, Answer]]:
    """Answers by paths with their accents composed, where on no side these alone tell two files apart."""
    doubled = {path for side in sides for path, times in Counter(map(nfc, side)).items() if times > 1}
    return [{path if nfc(path) in doubled else nfc(path): answer for path, answer in side.items()} for side in sides]


def _pairs(ours: Mapping[str, Answer], theirs: Mapping[str, Answer]) -> Iterator[Pair]:
    """What both answered, in A's order."""
    for path, one in ours.items():
        other = theirs.get(path)
        if not isinstance(one, Scored) or not isinstance(other, Scored):
            continue
        if one.label != other.label:
            raise DataError(
                f"{path} is of class {one.label} in one and {other.label} in the other",
                hint="evaluate both on the same labelled data",
            )
        yield one, other


def _masked_classes(ours: Mapping[str, Answer], theirs: Mapping[str, Answer]) -> int:
    """How many classes the data holds where it is a subset for both, and the same; else 0."""
    classes, others = (
        {each.label for each in answers.values() if isinstance(each, Scored)} for answers in (ours, theirs)
    )
    scored = (each for each in (*ours.values(), *theirs.values()) if isinstance(each, Scored))
    subset = any(each.masked_rank != each.rank for each in scored)
    return len(classes) if subset and classes == others else 0


def _flip(one: Scored, other: Scored) -> Flip:
    return Flip(
        path=one.path,
        label=one.label,
        right="A" if one.rank == 1 else "B",
        answers=(_answer(one), _answer(other)),
        probabilities=(_probability(one), _probability(other)),
    )


def _answer(scored: Scored) -> int:
    if scored.top:
        return scored.top[0]
    return scored.label if scored.rank == 1 else UNKNOWN


def _probability(scored: Scored) -> float:
    return scored.probabilities[0] if scored.probabilities else math.nan


def _surest_first(flip: Flip) -> tuple[float, str]:
    known = flip.mistake == flip.mistake
    return (-flip.mistake if known else 0.0, flip.path)
