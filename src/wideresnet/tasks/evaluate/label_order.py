"""Whether the labels of a data set are in another order than the classes of the network.

Such labels give an accuracy of chance from a network that is sure of its answers. Nothing crashes, so it has to be
seen in the counts: the images of a class are answered alike, and every class in its own way, but not as labelled.

How many images that takes depends on the network (see ``images_needed``). Of ten classes, an order that is known by
name shows from about 25 images on where the network is right for 90 %, from about 80 where it is right for half. Any
other order takes ten classes with several images each: six where it is right for 90 %, thirty where it is right for
half. With less, what looks like another order is a warning. Orders that leave half of the images right are not found.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from wideresnet.errors import DataError
from wideresnet.records import BILLION, EvalReport, Labels

GAP = 0.2                                          # by which confidence exceeds the share of right answers
SHARE = 0.4                                        # of the images that an order must explain
CLASHES = 0.1                                      # of the classes may share their answer with another
FIRST_IMAGENET = "n01440764"

# Where the development kit of ILSVRC2012 puts some classes (field ILSVRC2012_ID of its meta.mat), as quoted in the
# documentation of MLDatasets.jl. Enough to know the order by; the whole of it is read from the kit where it is there.
DEVKIT = {
    1: "n02119789", 2: "n02100735", 3: "n02110185", 4: "n02096294", 5: "n02102040", 6: "n02066245",
    7: "n02509815", 8: "n02124075", 9: "n02417914", 10: "n02123394", 48: "n02441942", 192: "n02100877",
    469: "n01689811", 569: "n04371774", 741: "n07717410", 768: "n07693725", 829: "n03775546", 919: "n03347037",
}  # fmt: skip

Answers = Mapping[int, Mapping[int, int]]          # label -> answer -> images


@dataclass(frozen=True)
class Evidence:
    """What must come together before another order is taken for the cause."""

    luck: float                                    # the most that chance may have to do with an order known by name
    classes: int                                   # that such an order is about, at least
    mapped: int                                    # for any other order: classes with an answer of their own, at least
    margin: int                                    # images by which that answer is the commonest of its class
    images: int                                    # in all, at least: chance may give each of few an answer of its own


PROOF = Evidence(luck=1e-9, classes=5, mapped=10, margin=2, images=60)
DOUBT = Evidence(luck=1e-3, classes=2, mapped=3, margin=1, images=0)


@dataclass(frozen=True)
class Order:
    """A way in which labels may be wrong: for each label the answer that a right network would give."""

    cause: str
    hint: str
    answers: Mapping[int, int]


@dataclass(frozen=True)
class WrongOrder:
    """What the counts show. ``undone`` is the share of images that the order explains, in [0, 1]."""

    cause: str
    hint: str
    undone: float
    images: int                                  # that ``undone`` is a share of


def refuse_wrong_order(report: EvalReport, labels: Labels) -> None:
    """Raise DataError, with the likely cause, when the labels are in another order than the network's classes."""
    found = wrong_order(report, labels)
    if found is not None:
        raise DataError(_words(report, "are", found), hint=found.hint)


def with_order_warning(report: EvalReport, labels: Labels) -> EvalReport:
    """The report with a warning where the labels are in another order, or may be and there are too few images to tell.

    ``labels`` are the network's; empty where nothing is known of them.
    """
    table = _answers(report)
    if not labels.names:
        highest = max((index for label, row in table.items() for index in (label, *row)), default=0)
        labels = Labels(tuple(map(str, range(highest + 1))))
    if order := wrong_order(report, labels):
        words = f"{_words(report, 'are', order)}; {order.hint}"
    elif order := wrong_order(report, labels, DOUBT):
        words = f"{_words(report, 'may be', order)}; {order.hint}; {_power(report, table)}"
    elif _unlikely(report, table):
        words = f"{_words(report, 'may be')}; {_power(report, table)}"
    else:
        return report
    return replace(report, order=words)


def wrong_order(report: EvalReport, labels: Labels, evidence: Evidence = PROOF) -> WrongOrder | None:
    """The order that explains the answers where the labels do not, or None. ``labels`` are the network's.

    Takes milliseconds, so that it can be asked in the middle of an evaluation.
    """
    table = _answers(report)
    # Not "less than GAP", which is false for the nan of answers without probabilities.
    if not report.n or _confidence(report) - report.top1 < GAP:
        return None
    given = Counter[int]()
    for row in table.values():
        given.update(row)
    fits = [found for order in known_orders(labels) if (found := _fit(order, table, given, evidence))]
    return max(fits, key=lambda fit: fit.undone) if fits else _any_order(report, table, labels, evidence)


def images_needed(accuracy: float, classes: int) -> int:
    """How many images show an order that is known by name for a network of this accuracy, in [0, 1]; at most 9999.

    In nine of ten samples at least: these differ in accuracy, so that they get twice the evidence that is asked for.
    """
    enough = (n for n in range(5, 9999) if _tail(accuracy * n, n, 1 / min(classes, n)) <= PROOF.luck**2)
    return next(enough, 9999)


def _words(report: EvalReport, are: str, order: WrongOrder | None = None) -> str:
    confidence, whose = _confidence(report), report.data or report.model
    cause = f": {order.cause}" if order else ""
    sure = "" if math.isnan(confidence) else f" although it is {100 * confidence:.0f} % sure of its answers"
    undone = f"; another order explains {100 * order.undone:.1f} % of {order.images}" if order else ""
    return (
        f"the labels of {whose} {are} in another order than the classes of {report.model}{cause}."
        f" By them it is right for {100 * report.top1:.2f} % of {report.n} images{sure}{undone}"
    )


def _power(report: EvalReport, table: Answers) -> str:
    """From how many images on the check is sure."""
    confidence = _confidence(report)
    needed = images_needed(0.5 if math.isnan(confidence) else confidence, len(table))
    return (
        f"to be sure takes about {needed} images of {PROOF.classes} classes or more for an order that is known by name,"
        f" and 6 to 30 images of each of {PROOF.mapped} classes or more for any other"
    )


def _unlikely(report: EvalReport, table: Answers) -> bool:
    """Whether so sure a network would hardly be right so seldom, and there are too few images to see an order in."""
    n, confidence = report.n, _confidence(report)
    if len(table) < 3 or n >= 5 * max(len(table), PROOF.mapped) or not confidence - report.top1 >= GAP:
        return False
    by_chance = report.correct1 <= n / len(table) + math.sqrt(n / len(table))
    return by_chance and _tail(n - report.correct1, n, max(1 - confidence, 0.001)) <= DOUBT.luck


def known_orders(labels: Labels) -> Iterator[Order]:
    """Every order that is known by name and differs from that of ``labels``."""
    for order in _possible(labels):
        if any(label != answer for label, answer in order.answers.items()):
            yield order


def _possible(labels: Labels) -> Iterator[Order]:
    places = range(len(labels.names))
    count = len(places)
    yield Order(
        "they are one too high, as if counted from 1 or by a list that begins with a background class",
        "subtract 1 from every label",
        {label: (label - 1) % count for label in places},
    )
    yield Order(
        "they are one too low, as if 1 had been subtracted from labels that count from 0",
        "add 1 to every label",
        {label: (label + 1) % count for label in places},
    )
    yield Order("they are in reverse", "reverse the list of classes", {label: count - 1 - label for label in places})
    by_text = "numbered folders were read in the order of text (0, 1, 10, 11, …, 2, 20, …)"
    hint = "read the folders' names as numbers; 'wrn evaluate' does"
    for first in (0, 1):
        yield from _sorted([str(place + first) for place in places], by_text, hint)
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
    """Labels that are places among the sorted ``keys``; and the other way round, where the network's outputs are."""
    order = sorted(range(len(keys)), key=lambda place: keys[place])
    yield Order(cause, hint, dict(enumerate(order)))
    yield Order(f"the network's classes are not in the order of its list: {cause}", hint, _inverse(order))


def _inverse(order: Sequence[int]) -> dict[int, int]:
    return {answer: label for label, answer in enumerate(order)}


def _devkit(labels: Labels) -> Iterator[Order]:
    places = {id_: place for place, id_ in enumerate(labels.ids)}
    known = {number: places[id_] for number, id_ in DEVKIT.items() if id_ in places}
    for lowered in (1, 0):                         # ids count from 1; some subtract it, some do not
        yield Order(_DEVKIT, _DEVKIT_HINT, {number - lowered: place for number, place in known.items()})


def _is_imagenet(labels: Labels) -> bool:
    return len(labels.ids) == 1000 and labels.ids[0] == FIRST_IMAGENET


def _answers(report: EvalReport) -> Answers:
    """How often each class was answered to each label."""
    table = {label: Counter({label: each.correct1} if each.correct1 else {}) for label, each in report.by_class.items()}
    for pair in report.confusions:
        table[pair.label][pair.answer] += pair.n
    return table


def _confidence(report: EvalReport) -> float:
    """Mean probability of the likeliest class; nan where it is not known."""
    n = sum(each.n for each in report.bins)
    return sum(each.billionths for each in report.bins) / BILLION / n if n else math.nan


def _fit(order: Order, table: Answers, given: Counter[int], evidence: Evidence) -> WrongOrder | None:
    """What ``order`` explains, where that is far more than the labels do and than chance would."""
    rows = {label: table[label] for label in order.answers if label in table}
    images = sum(sum(row.values()) for row in rows.values())
    hits = sum(row.get(order.answers[label], 0) for label, row in rows.items())
    right = sum(row.get(label, 0) for label, row in rows.items())
    if not images or len(rows) < evidence.classes or hits < SHARE * images or hits < 2 * right:
        return None
    # A network that gives few answers hits by chance more often than once in as many classes as there are.
    everything = given.total()
    expected = sum(sum(row.values()) * given[order.answers[label]] / everything for label, row in rows.items())
    if _tail(hits, images, max(expected / images, 1 / len(given))) > evidence.luck:
        return None
    return WrongOrder(order.cause, order.hint, hits / images, images)


def _tail(hits: float, n: int, chance: float) -> float:
    """Bound of the probability of ``hits`` or more in ``n`` trials (Chernoff, by relative entropy)."""
    share = hits / n
    if share <= chance:
        return 1.0
    rest = (1 - share) * math.log((1 - share) / (1 - chance)) if share < 1 else 0.0
    return math.exp(-n * (share * math.log(share / chance) + rest))


def _any_order(report: EvalReport, table: Answers, labels: Labels, evidence: Evidence) -> WrongOrder | None:
    """Some order that gives every class an answer of its own, foretold for each image by the others of its class."""
    claims: list[tuple[int, int, int]] = []        # images, label, answer
    for label, row in table.items():
        first, second = (*Counter(row).most_common(2), (0, 0), (0, 0))[:2]
        if first[1] > 1 and first[1] - second[1] >= evidence.margin:     # 2: without the image itself it still is
            claims.append((first[1], label, first[0]))
    # Of several classes that are answered alike, the one with most images keeps the answer.
    mapped = {answer: (count, label) for count, label, answer in sorted(claims)}
    images = sum(sum(row.values()) for row in table.values())
    hits = sum(count for count, _ in mapped.values())
    right = sum(row.get(label, 0) for label, row in table.items())
    clashes, few = len(claims) - len(mapped), max(2 * len(table), evidence.images)
    if images < few or len(mapped) < evidence.mapped or clashes > CLASHES * len(claims):
        return None
    if hits < SHARE * images or hits < 2 * right:
        return None
    present = report.conditions.present if report.conditions else len(table)
    cause, hint = _guess(max(table), present, labels)
    shown = sorted(((label, answer) for answer, (_, label) in mapped.items() if label != answer))[:3]
    examples = ", ".join(f"{_name(labels, label)} is answered {_name(labels, answer)}" for label, answer in shown)
    return WrongOrder(f"{cause} ({examples}, …)", hint, hits / images, images)


def _guess(highest: int, present: int, labels: Labels) -> tuple[str, str]:
    """The likely cause of an order that has no name, and what to do. ``present``: classes that the data holds."""
    if highest < present < len(labels.names):
        return "they seem to count the classes of the data from 0, not those of the network", _BY_LIST
    if _is_imagenet(labels):
        return f"likely {_DEVKIT.removeprefix('they are ')}", _DEVKIT_HINT
    return "some other order of the classes", _BY_LIST


def _name(labels: Labels, index: int) -> str:
    return repr(labels.names[index].split(",")[0])
