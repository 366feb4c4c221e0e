"""Detection of labels that are in another order than the classes of the network.

Such labels give chance accuracy although the network is confident. Nothing crashes, so the counts have to show it:
the images of a class get the same answer, each class another one, but not the label.

The number of images needed depends on the network (see ``images_needed``). With ten classes, a known order (off by
one, alphabetical, ...) shows from about 25 images on for a network that is 90 % accurate, from about 80 for one of
50 %. Any other order needs ten classes with six images each at 90 %, thirty at 50 %. With fewer images, signs of
another order are a warning. Orders that leave half of the images correct are not detected.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from wideresnet.errors import DataError
from wideresnet.records import BILLION, EvalReport, Labels, wilson_interval

MIN_IMAGES = 30                                    # for a statement on chance level
GAP = 0.2                                          # by which mean confidence must exceed accuracy
MIN_EXPLAINED = 0.4                                # fraction of images that an order must explain
MAX_CLASHES = 0.1                                  # fraction of classes whose answer another class has, too
FIRST_IMAGENET = "n01440764"

# ILSVRC2012_ID of some classes in the development kit's meta.mat, as quoted in the documentation of MLDatasets.jl:
# enough to recognise the order.
DEVKIT = {
    1: "n02119789", 2: "n02100735", 3: "n02110185", 4: "n02096294", 5: "n02102040", 6: "n02066245",
    7: "n02509815", 8: "n02124075", 9: "n02417914", 10: "n02123394", 48: "n02441942", 192: "n02100877",
    469: "n01689811", 569: "n04371774", 741: "n07717410", 768: "n07693725", 829: "n03775546", 919: "n03347037",
}  # fmt: skip

_BY_LIST = "give each image its class by id or by its place in the network's own list"
_BY_TEXT = "numbered folders were read in the order of text (0, 1, 10, 11, …, 2, 20, …)"
_BY_NAME = "they count the classes in the alphabetical order of their names"
_AS_NUMBERS = "read the folders' names as numbers; 'wrn evaluate' does"
_DEVKIT = "ids of the ILSVRC2012 development kit, read as places in the list of sorted WordNet ids"
_DEVKIT_HINT = "'wrn data imagenet' reads the kit and writes an index in the right order"

Table = Mapping[int, Counter[int]]                 # label -> answer -> images


@dataclass(frozen=True)
class Evidence:
    """The conditions for concluding that the labels are in another order."""

    chance: float                                  # maximum probability that a known order fits by chance
    classes: int                                   # minimum of classes in such an order
    mapped: int                                    # for any other order: minimum of classes with an answer of their own
    margin: int                                    # images by which that answer is the most frequent of its class
    images: int                                    # minimum of images in all


PROOF = Evidence(chance=1e-9, classes=5, mapped=10, margin=2, images=60)
DOUBT = Evidence(chance=1e-3, classes=2, mapped=3, margin=1, images=0)


@dataclass(frozen=True)
class Order:
    """An order of labels: for each label the answer that a correct network would give.

    ``explained`` is the fraction of the ``images`` with these labels that got that answer.
    """

    cause: str
    hint: str
    answers: Mapping[int, int]
    explained: float = 0.0
    images: int = 0


def check_label_order(report: EvalReport, labels: Labels) -> None:
    """Raise DataError, with the likely cause, if the labels are in another order than the network's classes."""
    if order := wrong_order(report, labels):
        raise DataError(_message(report, "are", order), hint=order.hint)


def with_order_warning(report: EvalReport, labels: Labels) -> EvalReport:
    """Return the report, with a warning if the labels are or may be in another order, or the network at chance level.

    ``labels`` are the network's classes; empty if they are not known.
    """
    table = _table(report)
    if not labels.names:
        highest = max((index for label, row in table.items() for index in (label, *row)), default=0)
        labels = Labels(tuple(map(str, range(highest + 1))))
    if order := wrong_order(report, labels):
        return replace(report, order=f"{_message(report, 'are', order)}; {order.hint}")
    order = wrong_order(report, labels, DOUBT)
    if not order and not _is_suspicious(report, len(table)):
        return replace(report, order=_chance_warning(report, len(labels.names)))
    confidence = _confidence(report)
    needed = images_needed(0.5 if math.isnan(confidence) else confidence, len(table))
    power = (
        f"to be sure takes about {needed} images of {PROOF.classes} classes or more for an order that is known by name,"
        f" and 6 to 30 images of each of {PROOF.mapped} classes or more for any other"
    )
    hint = f"{order.hint}; " if order else ""
    return replace(report, order=f"{_message(report, 'may be', order)}; {hint}{power}")


def wrong_order(report: EvalReport, labels: Labels, evidence: Evidence = PROOF) -> Order | None:
    """Return the order that explains the answers better than the labels do, or None. Takes milliseconds."""
    # Not "less than GAP", which is false for the nan of answers without probabilities.
    if not report.n or _confidence(report) - report.top1 < GAP:
        return None
    table, answers = _table(report), Counter[int]()
    for row in table.values():
        answers.update(row)
    fits = [fit for order in known_orders(labels) if (fit := _fit_known(order, table, answers, evidence))]
    return max(fits, key=lambda fit: fit.explained) if fits else _fit_any(report, table, labels, evidence)


def images_needed(accuracy: float, classes: int) -> int:
    """Return the number of images that show a known order for a network of this accuracy; at most 9999.

    In at least nine of ten samples: since samples differ in accuracy, twice the evidence is required.
    """
    enough = (n for n in range(5, 9999) if _tail(accuracy * n, n, 1 / min(classes, n)) <= PROOF.chance**2)
    return next(enough, 9999)


def known_orders(labels: Labels) -> Iterator[Order]:
    """Return every known order that differs from that of ``labels``."""
    return (order for order in _orders(labels) if any(label != answer for label, answer in order.answers.items()))


def _orders(labels: Labels) -> Iterator[Order]:
    count = len(labels.names)
    indices = range(count)
    too_high = "they are one too high, as if counted from 1 or by a list that begins with a background class"
    too_low = "they are one too low, as if 1 had been subtracted from labels that count from 0"
    yield Order(too_high, "subtract 1 from every label", {label: (label - 1) % count for label in indices})
    yield Order(too_low, "add 1 to every label", {label: (label + 1) % count for label in indices})
    yield Order("they are in reverse", "reverse the list of classes", {label: count - 1 - label for label in indices})
    for cause, hint, keys in (
        (_BY_TEXT, _AS_NUMBERS, [str(index) for index in indices]),
        (_BY_TEXT, _AS_NUMBERS, [str(index + 1) for index in indices]),
        (_BY_NAME, _BY_LIST, labels.names),
        (_BY_NAME, _BY_LIST, [name.casefold() for name in labels.names]),
        ("they count the classes in the order of their sorted ids", _BY_LIST, labels.ids),
    ):
        order = sorted(range(len(keys)), key=keys.__getitem__)
        yield Order(cause, hint, dict(enumerate(order)))
        cause = f"the network's classes are not in the order of its list: {cause}"
        yield Order(cause, hint, {answer: label for label, answer in enumerate(order)})
    if _is_imagenet(labels):
        for first in (1, 0):                       # the kit counts from 1, which some subtract
            answers = {number - first: labels.ids.index(id_) for number, id_ in DEVKIT.items() if id_ in labels.ids}
            yield Order(f"they are {_DEVKIT}", _DEVKIT_HINT, answers)


def _message(report: EvalReport, are: str, order: Order | None) -> str:
    confidence, whose = _confidence(report), report.data or report.model
    cause = f": {order.cause}" if order else ""
    sure = "" if math.isnan(confidence) else f" although it is {100 * confidence:.0f} % sure of its answers"
    explained = f"; another order explains {100 * order.explained:.1f} % of {order.images}" if order else ""
    return (
        f"the labels of {whose} {are} in another order than the classes of {report.model}{cause}."
        f" By them it is right for {100 * report.top1:.2f} % of {report.n} images{sure}{explained}"
    )


def _is_imagenet(labels: Labels) -> bool:
    return len(labels.ids) == 1000 and labels.ids[0] == FIRST_IMAGENET


def _table(report: EvalReport) -> Table:
    """Return the number of images by label and answer."""
    table = {label: Counter({label: n.correct1} if n.correct1 else {}) for label, n in report.by_class.items()}
    for pair in report.confusions:
        table[pair.label][pair.answer] += pair.n
    return table


def _confidence(report: EvalReport) -> float:
    """Return the mean probability of the likeliest class; nan if it is not known."""
    n = sum(b.n for b in report.bins)
    return sum(b.billionths for b in report.bins) / BILLION / n if n else math.nan


def _is_suspicious(report: EvalReport, classes: int) -> bool:
    """Return whether the accuracy is too low for the confidence, with too few images to detect an order."""
    n, confidence = report.n, _confidence(report)
    if classes < 3 or n >= 5 * max(classes, PROOF.mapped) or not confidence - report.top1 >= GAP:
        return False
    by_chance = report.correct1 <= n / classes + math.sqrt(n / classes)
    return by_chance and _tail(n - report.correct1, n, max(1 - confidence, 0.001)) <= DOUBT.chance


def _chance_warning(report: EvalReport, classes: int) -> str:
    """Return a sentence if the accuracy is not above that of guesses; of few images nothing can be said."""
    if report.n < MIN_IMAGES or classes < 2 or wilson_interval(report.correct1, report.n)[0] > 1 / classes:
        return ""
    guesses = f"guesses among {classes:,} classes for {100 / classes:.3g} %"
    return f"{report.model} is at chance level: right for {100 * report.top1:.2f} % of {report.n:,} images, {guesses}"


def _tail(hits: float, n: int, chance: float) -> float:
    """Return a bound of the probability of ``hits`` or more in ``n`` trials (Chernoff, by relative entropy)."""
    rate = hits / n
    if rate <= chance:
        return 1.0
    misses = (1 - rate) * math.log((1 - rate) / (1 - chance)) if rate < 1 else 0.0
    return math.exp(-n * (rate * math.log(rate / chance) + misses))


def _fit_known(order: Order, table: Table, answers: Counter[int], evidence: Evidence) -> Order | None:
    """Return ``order`` with its fit if it explains far more than chance would; see ``_fit``."""
    rows = {label: table[label] for label in order.answers if label in table}
    fit = _fit(order, rows)
    if len(rows) < evidence.classes or not fit:
        return None
    # A network that uses few of the classes hits by chance more often than once in the number of classes.
    expected = sum(row.total() * answers[order.answers[label]] for label, row in rows.items()) / answers.total()
    chance = max(expected / fit.images, 1 / len(answers))
    return fit if _tail(fit.explained * fit.images, fit.images, chance) <= evidence.chance else None


def _fit(order: Order, rows: Table) -> Order | None:
    """Return ``order`` with its fit if it explains far more than the labels do."""
    images = sum(row.total() for row in rows.values())
    hits = sum(rows[label][answer] for label, answer in order.answers.items() if label in rows)
    correct = sum(row[label] for label, row in rows.items())
    fits = images and hits >= max(MIN_EXPLAINED * images, 2 * correct)
    return replace(order, explained=hits / images, images=images) if fits else None


def _fit_any(report: EvalReport, table: Table, labels: Labels, evidence: Evidence) -> Order | None:
    """Return an order in which every class has an answer of its own: the most frequent one of its images."""
    claims: list[tuple[int, int, int]] = []        # images, label, answer
    for label, row in table.items():
        (answer, n), (_, second) = (*row.most_common(2), (0, 0), (0, 0))[:2]
        if n > 1 and n - second >= evidence.margin:                      # 1 may be chance
            claims.append((n, label, answer))
    # If several classes have the same answer, the one with most images keeps it.
    label_of = {answer: label for _, label, answer in sorted(claims)}
    answers = {label: answer for answer, label in label_of.items()}
    clashes, few = len(claims) - len(answers), max(2 * len(table), evidence.images)
    if len(answers) < evidence.mapped or clashes > MAX_CLASHES * len(claims):
        return None
    present = report.conditions.present if report.conditions else len(table)
    if max(table) < present < len(labels.names):
        cause, hint = "they seem to count the classes of the data from 0, not those of the network", _BY_LIST
    elif _is_imagenet(labels):
        cause, hint = f"likely {_DEVKIT}", _DEVKIT_HINT
    else:
        cause, hint = "some other order of the classes", _BY_LIST
    shown = sorted((label, answer) for label, answer in answers.items() if label != answer)[:3]
    names = [[repr(labels.names[index].split(",")[0]) for index in pair] for pair in shown]
    examples = ", ".join(f"{name} is answered {answer}" for name, answer in names)
    fit = _fit(Order(f"{cause} ({examples}, …)", hint, answers), table)
    return fit if fit and fit.images >= few else None
