"""An evaluation as a page: figures, classes, confusions, calibration, images of mistakes, conditions"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wideresnet.records import (
    BILLION,
    Bin,
    ClassCounts,
    Conditions,
    Confusion,
    EvalReport,
    Example,
    Failure,
    Labels,
    wilson_interval,
)
from wideresnet.report.html.charts import columns, counts
from wideresnet.report.html.page import (
    Shown,
    bars,
    beside,
    facts,
    gallery,
    lines,
    page,
    paragraph,
    section,
    subsection,
    table,
    tiles,
    words,
)
from wideresnet.report.names import ClassName, class_names, image_name

FEW = 30                                           # classes up to which each has a bar, a row and a place on the map
WORST, BEST = 20, 5                                # of more classes, those in the table
PAIRS = 20                                         # confused pairs in the table
MISTAKES = 24                                      # images in the first gallery
SHOWN_PAIRS = 8                                    # confused pairs with images
LISTED = 100                                       # failures

MASKED = (
    "The images are of {present} of the network's classes. Unmasked, it may answer any class; masked, only those"
    " {present}, which is an easier question. Say which of the two you quote."
)
CALIBRATION = (
    "Answers are put into {bins} bins by the probability of the likeliest class. A calibrated network is right as"
    " often as it is sure: it lies on the diagonal; below it, it is too sure. The expected calibration error (ECE) is"
    " the mean distance, each bin counted by its images."
)


def draw_evaluation(report: EvalReport, labels: Labels, images: Mapping[str, bytes]) -> str:
    """One page (HTML) that needs nothing else. ``pictures``: JPEG or PNG by path, of those in ``shown_paths``.

    An image that is not among them is left at its caption.
    """
    head = section("", tiles(_figures(report)), paragraph(_summary(report)), _masked_words(report))
    return page(f"{report.model} on {report.data}", [head, *evaluation_sections(report, labels, images)])


def evaluation_sections(report: EvalReport, labels: Labels, images: Mapping[str, bytes]) -> list[str]:
    """What the page shows below its first figures, for pages that show more than an evaluation."""
    name = class_names(labels)
    return [
        section("Classes", *_classes(report, name)),
        section("Confusions", *_confusions(report, name)),
        section("Calibration", *_calibration(report)),
        section("The surest mistakes", *_mistakes(report, name, images)),
        section("The most frequent confusions", *_pairs(report, name, images)),
        section("Failures", *failures(report.failures)),
        section("Conditions", facts(conditions(report))),
    ]


def shown_paths(report: EvalReport) -> list[str]:
    """The images that the page shows, each once."""
    surest = [example.path for _, example in surest_mistakes(report)]
    return list(dict.fromkeys([*surest, *(each.path for pair in shown_pairs(report) for each in pair.examples)]))


def surest_mistakes(report: EvalReport) -> list[tuple[Confusion, Example]]:
    """The wrong answers of highest probability that are known; none where probabilities are not."""
    if not _sure(report):
        return []
    known = [(pair, example) for pair in report.confusions for example in pair.examples]
    return sorted(known, key=lambda one: (-one[1].probability, one[1].path))[:MISTAKES]


def shown_pairs(report: EvalReport) -> Sequence[Confusion]:
    """The confused pairs of which the page shows images."""
    return report.confusions[:SHOWN_PAIRS]


def percent(share: float, digits: int = 3) -> str:
    """A fraction in percent; nan is a dash."""
    return f"{100 * share:.{digits}f} %" if share == share else "–"


def failures(failed: Sequence[Failure]) -> list[str]:
    """The first of the images that could not be read, and how many more there are."""
    rows = [(each.path, each.error) for each in failed[:LISTED]]
    more = len(failed) - len(rows)
    return [table(("image", "error"), rows), paragraph(f"… and {more:,} more.") if more else ""]


def conditions(report: EvalReport) -> list[tuple[str, str]]:
    """What the figures hold for, as names and values."""
    rows = [("model", report.model), ("data", report.data), *(("warning", warning) for warning in report.warnings)]
    if report.conditions:
        rows += _conditions(report.conditions)
    if report.engine:
        engine = report.engine
        rows += [
            ("engine", f"{engine.runtime} {engine.version}, {engine.device}"),
            ("precision executed", engine.precision),
            ("threads", f"{engine.threads}" + (f", {engine.streams} streams" if engine.streams > 1 else "")),
        ]
    if report.seconds:
        rows.append(("time", f"{report.seconds:.1f} s"))
    machine = report.conditions.machine.items() if report.conditions else ()
    return rows + [(key.replace("_", " "), words(value)) for key, value in machine if value]


def _conditions(of: Conditions) -> list[tuple[str, str]]:
    spec = of.preprocess
    resize = "shorter side to" if spec.mode == "shortest" else "both sides to"
    mean, std = (" ".join(f"{value:.4g}" for value in values) for values in (spec.mean, spec.std))
    return [
        ("images", f"{of.pictures:,} in the whole data set"),
        ("shards", ", ".join(of.shards) or "none: the whole data set"),
        ("classes", f"{of.present:,} of the network's {len(of.labels.names):,} have images"),
        ("data hash", f"{of.data_sha256} (names, labels and sizes)"),
        ("weights", of.weights_sha256 or "not known"),
        ("graph", of.graph_sha256 or "not known"),
        ("stored in", of.stored),
        ("transform", f"{resize} {spec.resize} px ({spec.interpolation}), centre {spec.crop} px"),
        ("normalised", f"mean {mean}, standard deviation {std}"),
        ("transparency", "dropped" if spec.alpha == "drop" else "laid on white"),
        ("EXIF orientation", "ignored" if of.exif == "ignore" else "applied"),
        *(("assumed", assumption) for assumption in of.assumed),
    ]


def _figures(report: EvalReport) -> list[tuple[str, str, str]]:
    among = f", unmasked ({len(report.conditions.labels.names):,} classes)" if report.conditions else ", unmasked"
    which = among if report.masked else ""
    found = [
        share_tile(f"top-1{which}", report.correct1, report.n),
        share_tile(f"top-5{which}", report.correct5, report.n),
    ]
    if report.masked:
        which = f", masked ({report.masked.classes:,} classes)"
        found += [
            share_tile(f"top-1{which}", report.masked.correct1, report.n),
            share_tile(f"top-5{which}", report.masked.correct5, report.n),
        ]
    failed = f"{len(report.failures):,} could not be read" if report.failures else "none failed"
    found.append(("images", f"{report.n:,}", failed))
    if _sure(report):
        found.append(("calibration error", percent(report.calibration_error, 2), f"ECE, {len(report.bins)} bins"))
    return found


def share_tile(name: str, correct: int, n: int) -> tuple[str, str, str]:
    """A tile for an accuracy with its interval."""
    if not n:
        return name, "–", "no image was answered"
    return name, percent(correct / n), f"95 %: {_interval(correct, n)}; {correct:,} right"


def _interval(correct: int, n: int, digits: int = 2) -> str:
    low, high = wilson_interval(correct, n)
    return f"{100 * low:.{digits}f} to {100 * high:.{digits}f}"


def _summary(report: EvalReport) -> str:
    if report.engine is None:
        return "Answers were read from a file; what gave them is not known. Intervals are Wilson's."
    engine = report.engine
    how = f"{engine.runtime} {engine.version} in {engine.precision}, {engine.threads} threads. Intervals are Wilson's."
    shards = report.conditions.shards if report.conditions else ()
    return how + (f" Only these shards of the data set: {', '.join(shards)}." if shards else "")


def _masked_words(report: EvalReport) -> str:
    return paragraph(MASKED.format(present=report.masked.classes)) if report.masked else ""


def _classes(report: EvalReport, name: ClassName) -> list[str]:
    """Few classes: a bar and a row each. Many: a curve, and the rows of the worst and best."""
    worst = sorted(report.by_class.items(), key=lambda one: (one[1].correct1 / one[1].n, -one[1].n, one[0]))
    if len(worst) <= FEW:
        shares = [(name(index), 100 * each.correct1 / each.n) for index, each in worst]
        return [bars("Top-1, worst class first", shares, "%"), _class_table(worst, report, name)]
    heights = [100 * each.correct1 / each.n for _, each in worst]
    axes = ("classes, worst first", "top-1, %")
    return [
        columns("Top-1 of each class", heights, (0, len(heights)), axes),
        subsection(f"The {WORST} worst", _class_table(worst[:WORST], report, name)),
        subsection(f"The {BEST} best", _class_table(worst[: -BEST - 1 : -1], report, name)),
    ]


def _class_table(some: Sequence[tuple[int, ClassCounts]], report: EvalReport, name: ClassName) -> str:
    mistaken: dict[int, Confusion] = {}
    for pair in report.confusions:                 # most frequent first
        mistaken.setdefault(pair.label, pair)
    rows = []
    for index, each in some:
        worst = mistaken.get(index)
        often = f"{name(worst.answer)} ({worst.n:,})" if worst else ""
        top1, top5 = percent(each.correct1 / each.n, 1), percent(each.correct5 / each.n, 1)
        rows.append((name(index), f"{each.n:,}", top1, _interval(each.correct1, each.n, 1), top5, often))
    return table(("class", "images", "top-1", "95 % interval", "top-5", "most often taken for"), rows, {1, 2, 3, 4})


def _confusions(report: EvalReport, name: ClassName) -> list[str]:
    rows = []
    for pair in report.confusions[:PAIRS]:
        share = pair.n / report.by_class[pair.label].n
        rows.append((name(pair.label), name(pair.answer), f"{pair.n:,}", percent(share, 1)))
    more = len(report.confusions) - len(rows)
    rest = paragraph(f"{more:,} other pairs of classes were confused, none more often.") if more > 0 else ""
    return [_map(report, name), table(("is", "taken for", "images", "of its class"), rows, {2, 3}), rest]


def _map(report: EvalReport, name: ClassName) -> str:
    """All answers of few classes; what was answered besides them is one column at the end."""
    present = sorted(report.by_class)
    if not report.confusions or not 2 <= len(present) <= FEW:
        return ""
    found = {(pair.label, pair.answer): pair.n for pair in report.confusions}
    rows = []
    for label in present:
        each = report.by_class[label]
        inside = [each.correct1 if answer == label else found.get((label, answer), 0) for answer in present]
        rows.append([*inside, each.n - sum(inside)])
    heads = [*map(name, present), "other"]
    if not any(row[-1] for row in rows):
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    named = [(name(label), row) for label, row in zip(present, rows, strict=True)]
    return counts("Answers to the images of each class", heads, named, "is ↓ taken for →")


def _calibration(report: EvalReport) -> list[str]:
    if not _sure(report):
        return []
    known = [each for each in report.bins if each.n]
    curve = [(100 * each.confidence, 100 * each.accuracy) for each in known]
    series = {"this network": curve, "as often right as sure": [(0.0, 0.0), (100.0, 100.0)]}
    sure = "probability of the answer, %"
    right, wrong = [each.correct for each in report.bins], [each.n - each.correct for each in report.bins]
    return [
        paragraph(CALIBRATION.format(bins=len(report.bins))),
        lines("Reliability", series, sure, "right, %"),
        beside(
            columns("Right answers by how sure they were", right, (0, 100), (sure, "images"), colour=2),
            columns("Wrong answers by how sure they were", wrong, (0, 100), (sure, "images"), colour=1),
        ),
        table(("probability", "images", "mean", "right", "ECE's part"), _bins(report.bins), {1, 2, 3, 4}),
    ]


def _bins(bins: Sequence[Bin]) -> list[tuple[str, ...]]:
    n = sum(each.n for each in bins)
    rows: list[tuple[str, ...]] = []
    for place, each in enumerate(bins):
        if each.n:
            edges = f"{100 * place / len(bins):.0f} to {100 * (place + 1) / len(bins):.0f} %"
            part = abs(each.billionths / BILLION - each.correct) / n
            shares = (percent(each.confidence, 1), percent(each.accuracy, 1), percent(part, 2))
            rows.append((edges, f"{each.n:,}", *shares))
    return rows


def _mistakes(report: EvalReport, name: ClassName, images: Mapping[str, bytes]) -> list[str]:
    found = surest_mistakes(report)
    if not found:
        return []
    shown = [
        Shown(
            images.get(example.path),
            f"{name(pair.label)}, taken for {name(pair.answer)}",
            (f"{percent(example.probability, 1)} sure", image_name(example.path)),
        )
        for pair, example in found
    ]
    return [paragraph("At most three of each pair of classes, as the network saw them."), gallery(shown)]


def _pairs(report: EvalReport, name: ClassName, images: Mapping[str, bytes]) -> list[str]:
    return [
        subsection(
            f"{name(pair.label)}, taken for {name(pair.answer)}: {pair.n:,}",
            gallery([_example(example, _sure(report), images) for example in pair.examples]),
        )
        for pair in shown_pairs(report)
    ]


def _example(example: Example, sure: bool, images: Mapping[str, bytes]) -> Shown:
    title = f"{percent(example.probability, 1)} sure" if sure else image_name(example.path)
    return Shown(images.get(example.path), title, (image_name(example.path),) if sure else ())


def _sure(report: EvalReport) -> bool:
    """Whether the probabilities of answers are known."""
    return any(each.n for each in report.bins)
