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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from wideresnet.errors import DataError
from wideresnet.records import BILLION, EvalReport, Labels

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

Answers = Mapping[int, Mapping[int, int]]          # label -> answer -> images


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
    """A known order of labels: for each label the answer that a correct network would give."""

    cause: str
    hint: str
    answers: Mapping[int, int]


@dataclass(frozen=True)
class WrongOrder:
    """The order that explains the answers. ``explained`` is the fraction of the ``images`` that it explains."""

    cause: str
    hint: str
    explained: float
    images: int


def check_label_order(report: EvalReport, labels: Labels) -> None:
    """Raise DataError, with the likely cause, if the labels are in another order than the network's classes."""
    order = wrong_order(report, labels)
    if order is not None:
        raise DataError(_message(report, "are", order), hint=order.hint)


def with_order_warning(report: EvalReport, labels: Labels) -> EvalReport:
    """Return the report, with a warning if the labels are or may be in another order.

    ``labels`` are the network's classes; empty if they are not known.
    """
    table = _answers(report)
    if not labels.names:
        highest = max((index for label, row in table.items() for index in (label, *row)), default=0)
        labels = Labels(tuple(map(str, range(highest + 1))))
    if order := wrong_order(report, labels):
        warning = f"{_message(report, 'are', order)}; {order.hint}"
    elif order := wrong_order(report, labels, DOUBT):
        warning = f"{_message(report, 'may be', order)}; {order.hint}; {_power(report, table)}"
    elif _unlikely(report, table):
        warning = f"{_message(report, 'may be')}; {_power(report, table)}"
    else:
        return report
    return replace(report, order=warning)


def wrong_order(report: EvalReport, labels: Labels, evidence: Evidence = PROOF) -> WrongOrder | None:
    """Return the order that explains the answers better than the labels do, or None. Takes milliseconds."""
    table = _answers(report)
    # Not "less than GAP", which is false for the nan of answers without probabilities.
    if not report.n or _confidence(report) - report.top1 < GAP:
        return None
    answers = Counter[int]()
    for row in table.values():
        answers.update(row)
    fits = [fit for order in known_orders(labels) if (fit := _fit(order, table, answers, evidence))]
    return max(fits, key=lambda fit: fit.explained) if fits else _any_order(report, table, labels, evidence)


def images_needed(accuracy: float, classes: int) -> int:
    """Return the number of images that show a known order for a network of this accuracy; at most 9999.

    In at least nine of ten samples: since samples differ in accuracy, twice the evidence is required.
    """
    enough = (n for n in range(5, 9999) if _tail(accuracy * n, n, 1 / min(classes, n)) <= PROOF.chance**2)
    return next(enough, 9999)


def _message(report: EvalReport, are: str, order: WrongOrder | None = None) -> str:
    confidence, whose = _confidence(report), report.data or report.model
    cause = f": {order.cause}" if order else ""
    sure = "" if math.isnan(confidence) else f" although it is {100 * confidence:.0f} % sure of its answers"
    explained = f"; another order explains {100 * order.explained:.1f} % of {order.images}" if order else ""
    return (
        f"the labels of {whose} {are} in another order than the classes of {report.model}{cause}."
        f" By them it is right for {100 * report.top1:.2f} % of {report.n} images{sure}{explained}"
    )


def _power(report: EvalReport, table: Answers) -> str:
    """Return a sentence with the number of images needed to be sure."""
    confidence = _confidence(report)
    needed = images_needed(0.5 if math.isnan(confidence) else confidence, len(table))
    return (
        f"to be sure takes about {needed} images of {PROOF.classes} classes or more for an order that is known by name,"
        f" and 6 to 30 images of each of {PROOF.mapped} classes or more for any other"
    )


def _unlikely(report: EvalReport, table: Answers) -> bool:
    """Return whether the accuracy is too low for the confidence, with too few images to detect an order."""
    n, confidence = report.n, _confidence(report)
    if len(table) < 3 or n >= 5 * max(len(table), PROOF.mapped) or not confidence - report.top1 >= GAP:
        return False
    by_chance = report.correct1 <= n / len(table) + math.sqrt(n / len(table))
    return by_chance and _tail(n - report.correct1, n, max(1 - confidence, 0.001)) <= DOUBT.chance


def known_orders(labels: Labels) -> Iterator[Order]:
    """Yield every known order that differs from that of ``labels``."""
    for order in _orders(labels):
        if any(label != answer for label, answer in order.answers.items()):
            yield order


def _orders(labels: Labels) -> Iterator[Order]:
    count = len(labels.names)
    indices = range(count)
    yield Order(
        "they are one too high, as if counted from 1 or by a list that begins with a background class",
        "subtract 1 from every label",
        {label: (label - 1) % count for label in indices},
    )
    yield Order(
        "they are one too low, as if 1 had been subtracted from labels that count from 0",
        "add 1 to every label",
        {label: (label + 1) % count for label in indices},
    )
    yield Order("they are in reverse", "reverse the list of classes", {label: count - 1 - label for label in indices})
    by_text = "numbered folders were read in the order of text (0, 1, 10, 11, …, 2, 20, …)"
    hint = "read the folders' names as numbers; 'wrn evaluate' does"
    for first in (0, 1):
        yield from _sorted([str(index + first) for index in indices], by_text, hint)
    for names in (labels.names, [name.casefold() for name in labels.names]):
        yield from _sorted(names, "they count the classes in the alphabetical order of their names", _BY_LIST)
    if labels.ids:
        yield from _sorted(labels.ids, "they count the classes in the order of their sorted ids", _BY_LIST)
    if _is_imagenet(labels):
        yield from _devkit(labels)


_BY_LIST = "give each image its class by id or by its place in the network's own list"
_DEVKIT = "they are ids of the ILSVRC2012 development kit, read as places in the list of sorted WordNet ids"
_DEVKIT_HINT = "'wrn data imagenet' reads the kit and writes an index in the right order"


def _sorted(keys: Sequence[str], cause: str, hint: str) -> Iterator[Order]:
    """Yield the orders in which the labels, or the network's outputs, are indices into the sorted ``keys``."""
    order = sorted(range(len(keys)), key=lambda index: keys[index])
    yield Order(cause, hint, dict(enumerate(order)))
    yield Order(f"the network's classes are not in the order of its list: {cause}", hint, _inverse(order))


def _inverse(order: Sequence[int]) -> dict[int, int]:
    return {answer: label for label, answer in enumerate(order)}


def _devkit(labels: Labels) -> Iterator[Order]:
    index_of = {id_: index for index, id_ in enumerate(labels.ids)}
    indices = {number: index_of[id_] for number, id_ in DEVKIT.items() if id_ in index_of}
    for first in (1, 0):                           # the kit counts from 1, which some subtract
        yield Order(_DEVKIT, _DEVKIT_HINT, {number - first: index for number, index in indices.items()})


def _is_imagenet(labels: Labels) -> bool:
    return len(labels.ids) == 1000 and labels.ids[0] == FIRST_IMAGENET


def _answers(report: EvalReport) -> Answers:
    """Return the number of images by label and answer."""
    correct = {label: counts.correct1 for label, counts in report.by_class.items()}
    table = {label: Counter({label: n} if n else {}) for label, n in correct.items()}
    for pair in report.confusions:
        table[pair.label][pair.answer] += pair.n
    return table


def _confidence(report: EvalReport) -> float:
    """Return the mean probability of the likeliest class; nan if it is not known."""
    n = sum(b.n for b in report.bins)
    return sum(b.billionths for b in report.bins) / BILLION / n if n else math.nan


def _fit(order: Order, table: Answers, answers: Counter[int], evidence: Evidence) -> WrongOrder | None:
    """Return the fit of ``order`` if it explains far more than the labels do, and than chance would."""
    rows = {label: table[label] for label in order.answers if label in table}
    images = sum(sum(row.values()) for row in rows.values())
    hits = sum(row.get(order.answers[label], 0) for label, row in rows.items())
    correct = sum(row.get(label, 0) for label, row in rows.items())
    if not images or len(rows) < evidence.classes or hits < MIN_EXPLAINED * images or hits < 2 * correct:
        return None
    # A network that uses few of the classes hits by chance more often than once in the number of classes.
    total = answers.total()
    expected = sum(sum(row.values()) * answers[order.answers[label]] / total for label, row in rows.items())
    if _tail(hits, images, max(expected / images, 1 / len(answers))) > evidence.chance:
        return None
    return WrongOrder(order.cause, order.hint, hits / images, images)


def _tail(hits: float, n: int, chance: float) -> float:
    """Return a bound of the probability of ``hits`` or more in ``n`` trials (Chernoff, by relative entropy)."""
    rate = hits / n
    if rate <= chance:
        return 1.0
    misses = (1 - rate) * math.log((1 - rate) / (1 - chance)) if rate < 1 else 0.0
    return math.exp(-n * (rate * math.log(rate / chance) + misses))


def _any_order(report: EvalReport, table: Answers, labels: Labels, evidence: Evidence) -> WrongOrder | None:
    """Return an order in which every class has an answer of its own: the most frequent one of its images."""
    claims: list[tuple[int, int, int]] = []        # images, label, answer
    for label, row in table.items():
        first, second = (*Counter(row).most_common(2), (0, 0), (0, 0))[:2]
        if first[1] > 1 and first[1] - second[1] >= evidence.margin:     # 1 may be chance
            claims.append((first[1], label, first[0]))
    # Of several classes with the same answer, the one with most images keeps it.
    mapped = {answer: (count, label) for count, label, answer in sorted(claims)}
    images = sum(sum(row.values()) for row in table.values())
    hits = sum(count for count, _ in mapped.values())
    correct = sum(row.get(label, 0) for label, row in table.items())
    clashes, few = len(claims) - len(mapped), max(2 * len(table), evidence.images)
    if images < few or len(mapped) < evidence.mapped or clashes > MAX_CLASHES * len(claims):
        return None
    if hits < MIN_EXPLAINED * images or hits < 2 * correct:
        return None
    present = report.conditions.present if report.conditions else len(table)
    cause, hint = _guess(max(table), present, labels)
    shown = sorted(((label, answer) for answer, (_, label) in mapped.items() if label != answer))[:3]
    examples = ", ".join(f"{_name(labels, label)} is answered {_name(labels, answer)}" for label, answer in shown)
    return WrongOrder(f"{cause} ({examples}, …)", hint, hits / images, images)


def _guess(highest: int, present: int, labels: Labels) -> tuple[str, str]:
    """Return the likely cause of an order that is not a known one, and a hint. ``present``: classes in the data."""
    if highest < present < len(labels.names):
        return "they seem to count the classes of the data from 0, not those of the network", _BY_LIST
    if _is_imagenet(labels):
        return f"likely {_DEVKIT.removeprefix('they are ')}", _DEVKIT_HINT
    return "some other order of the classes", _BY_LIST


def _name(labels: Labels, index: int) -> str:
    return repr(labels.names[index].split(",")[0])
