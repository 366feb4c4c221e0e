"""Sections of an evaluation for pages: classes, confusions, calibration, images of mistakes, failures, conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wideresnet.records import BILLION, Bin, ClassCounts, Conditions, Confusion, EvalReport, Example, Failure, Labels
from wideresnet.records.accuracy import wilson_interval
from wideresnet.records.evaluation import EXAMPLES
from wideresnet.report.calibration import sizes_text
from wideresnet.report.formats import interval_text, percent, rgb_text
from wideresnet.report.html import page as html
from wideresnet.report.html.charts import columns, heat_map
from wideresnet.report.names import ClassName, class_names, image_name

FEW = 30                                           # classes up to which each has a bar, a row and a cell of the map
WORST = 20                                         # of more classes, those that need no click
PAIRS = 20                                         # confused pairs in the table
MISTAKES = 24                                      # images in the first gallery
FIRST_PAIRS = 3                                    # confused pairs whose images need no click
MISTAKES_OF_PAIR = 3                               # images of one pair among the surest mistakes
LISTED = 100                                       # failures

CALIBRATION = (
    "Answers are put into {bins} bins by the probability of the likeliest class. A calibrated network is right as"
    " often as it is sure: it lies on the diagonal; below it, it is too sure. The expected calibration error (ECE) is"
    " the mean distance, each bin counted by its images."
)


SETS = (
    "Sets at {level} are promised to hold the right class of {level} of images like those of the calibration, over all"
    " classes together. Classes in a set: {sizes}."
)
P_VALUES = (
    "The p-value of an image is the fraction of the calibration images that the network knows as little or less. Of"
    " images like those of the calibration, all p-values are equally frequent; many small ones mean that the input has"
    " changed. An image with less than {refused} is called unknown."
)


def evaluation_sections(report: EvalReport, labels: Labels, images: Mapping[str, bytes]) -> list[str]:
    """Return the sections below a page's first figures."""
    name_of = class_names(labels)
    return [
        html.section("Classes", *_classes(report, name_of)),
        html.section("Confusions", *_confusions(report, name_of)),
        html.section("Calibration", *_calibration(report)),
        html.section("Sets and unknown images", *_uncertainty(report)),
        html.section("The surest mistakes", *_mistakes(report, name_of, images)),
        html.section("Images of the confusions", *_pairs(report, name_of, images)),
        html.section("Failures", *failure_table(report.failures)),
        html.section("Conditions", html.facts(condition_rows(report))),
    ]


def shown_paths(report: EvalReport) -> list[str]:
    """Return the paths of the images that the sections show, the most important first, without duplicates."""
    mistakes = [example for _, example in surest_mistakes(report)]
    pairs = shown_pairs(report)
    examples = [pair.examples[rank] for rank in range(EXAMPLES) for pair in pairs if rank < len(pair.examples)]
    return list(dict.fromkeys(example.path for example in (*mistakes, *examples)))


def surest_mistakes(report: EvalReport) -> list[tuple[Confusion, Example]]:
    """Return the known wrong answers of highest probability; none if probabilities are not known."""
    if not report.calibrated:
        return []
    mistakes = [(pair, example) for pair in report.confusions for example in pair.examples[:MISTAKES_OF_PAIR]]
    return sorted(mistakes, key=lambda mistake: (-mistake[1].probability, mistake[1].path))[:MISTAKES]


def shown_pairs(report: EvalReport) -> Sequence[Confusion]:
    """Return the confused pairs that are shown with images: those of the map of few classes, else the most frequent."""
    return report.confusions[: None if len(report.by_class) <= FEW else PAIRS]


def failure_table(failures: Sequence[Failure]) -> list[str]:
    """Return a table of the first images that could not be read, and the number of the others."""
    rows = [(failure.path, failure.error) for failure in failures[:LISTED]]
    more = len(failures) - len(rows)
    return [html.table(("image", "error"), rows), html.paragraph(f"… and {more:,} more.") if more else ""]


def condition_rows(report: EvalReport) -> list[tuple[str, str]]:
    """Return the conditions that the figures hold for, as names and values."""
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
    return rows + html.fact_rows(report.conditions.machine if report.conditions else {})


def _conditions(conditions: Conditions) -> list[tuple[str, str]]:
    spec = conditions.preprocess
    resize = "shorter side to" if spec.mode == "shortest" else "both sides to"
    mean, std = rgb_text(spec.mean), rgb_text(spec.std)
    return [
        ("images", f"{conditions.pictures:,} in the whole data set"),
        ("shards", ", ".join(conditions.shards) or "none: the whole data set"),
        ("classes", f"{conditions.present:,} of the network's {len(conditions.labels.names):,} have images"),
        ("data hash", f"{conditions.data_sha256} (names, labels and sizes)"),
        ("weights", conditions.weights_sha256 or "not known"),
        ("source of the weights", conditions.weights_source or "not known"),
        ("graph", conditions.graph_sha256 or "not known"),
        ("stored in", conditions.stored),
        ("transform", f"{resize} {spec.resize} px ({spec.interpolation}), centre {spec.crop} px"),
        ("normalised", f"mean {mean}, standard deviation {std}"),
        ("transparency", "dropped" if spec.alpha == "drop" else "laid on white"),
        ("EXIF orientation", "ignored" if conditions.exif == "ignore" else "applied"),
        *(("assumed", assumption) for assumption in conditions.assumed),
    ]


def _classes(report: EvalReport, name_of: ClassName) -> list[str]:
    """Return a bar and a row for each of few classes; of many a curve, and the rows of the worst and best."""
    worst = sorted(report.by_class.items(), key=lambda entry: (entry[1].correct1 / entry[1].n, -entry[1].n, entry[0]))
    accuracies = [(name_of(index), 100 * counts.correct1 / counts.n) for index, counts in worst]
    if len(worst) <= FEW:
        return [html.bars("Top-1, worst class first", accuracies, "%"), _class_table(worst, report, name_of)]
    heights = [accuracy for _, accuracy in accuracies]
    return [
        columns("Top-1 of each class", heights, (0, len(heights)), ("classes, worst first", "top-1, %")),
        html.subsection(f"The {WORST} worst", _class_table(worst[:WORST], report, name_of)),
        html.folded(f"All {len(worst):,} classes, worst first", _class_table(worst, report, name_of)),
    ]


def _class_table(classes: Sequence[tuple[int, ClassCounts]], report: EvalReport, name_of: ClassName) -> str:
    commonest = {pair.label: pair for pair in reversed(report.confusions)}       # they come most frequent first
    scores, rows, covered = report.class_scores, [], report.covered
    for index, counts in classes:
        pair, score = commonest.get(index), scores.get(index)
        top5 = percent(counts.correct5 / counts.n if report.max_k >= 5 else None, 1)
        interval = interval_text(wilson_interval(counts.correct1, counts.n), 1)
        mistaken = f"{name_of(pair.answer)} ({pair.n:,})" if pair else ""
        precision, f1 = (percent(value, 1) for value in ((score.precision, score.f1) if score else (None, None)))
        recall = percent(counts.correct1 / counts.n, 1)
        row = [name_of(index), f"{counts.n:,}", recall, interval, precision, f1, top5, mistaken]
        if covered:
            row.insert(-1, percent(covered[index] / counts.n, 1))
        rows.append(tuple(row))
    heads = ["class", "images", "recall (top-1)", "95 % interval", "precision", "F1", "top-5", "most often taken for"]
    if covered:
        heads.insert(-1, "in its set")
    return html.table(heads, rows, set(range(1, len(heads) - 1)))


def _confusions(report: EvalReport, name_of: ClassName) -> list[str]:
    rows = [
        (name_of(pair.label), name_of(pair.answer), f"{pair.n:,}", percent(pair.n / report.by_class[pair.label].n, 1))
        for pair in report.confusions[:PAIRS]
    ]
    more = len(report.confusions) - len(rows)
    note = html.paragraph(f"{more:,} other pairs of classes were confused, none more often.") if more > 0 else ""
    heads = ("is", "taken for", "images", "of its class")
    return [_confusion_matrix(report, name_of), html.table(heads, rows, {2, 3}), note]


def _confusion_matrix(report: EvalReport, name_of: ClassName) -> str:
    """Return all answers of few classes; answers outside of them are one column at the end."""
    present = sorted(report.by_class)
    if not report.confusions or not 2 <= len(present) <= FEW:
        return ""
    confused = {(pair.label, pair.answer): pair.n for pair in report.confusions}
    rows = []
    for label in present:
        counts = report.by_class[label]
        cells = [counts.correct1 if answer == label else confused.get((label, answer), 0) for answer in present]
        rows.append([*cells, counts.n - sum(cells)])
    heads = [*map(name_of, present), "other"]
    if not any(row[-1] for row in rows):
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    named = [(name_of(label), row) for label, row in zip(present, rows, strict=True)]
    links = {
        (present.index(pair.label), present.index(pair.answer)): _anchor(pair)
        for pair in shown_pairs(report) if pair.answer in report.by_class
    }  # fmt: skip
    return heat_map("Answers to the images of each class", heads, named, "is ↓ taken for →", links)


def reliability_curve(bins: Sequence[Bin], fewest: int = 1) -> list[tuple[float, float]]:
    """Return the mean probability and the accuracy of the bins with at least ``fewest`` images, in percent."""
    return [(100 * bin_.confidence, 100 * bin_.accuracy) for bin_ in bins if bin_.n >= fewest]


def _calibration(report: EvalReport) -> list[str]:
    if not report.calibrated:
        return []
    series = {"this network": reliability_curve(report.bins), "perfect calibration": [(0.0, 0.0), (100.0, 100.0)]}
    axis = "probability of the answer, %"
    right, wrong = [bin_.correct for bin_ in report.bins], [bin_.n - bin_.correct for bin_ in report.bins]
    return [
        html.paragraph(CALIBRATION.format(bins=len(report.bins))),
        html.lines("Reliability", series, axis, "right, %"),
        html.side_by_side(
            columns("Confidence of right answers", right, (0, 100), (axis, "images"), colour=2),
            columns("Confidence of wrong answers", wrong, (0, 100), (axis, "images"), colour=1),
        ),
        html.table(("probability", "images", "mean", "right", "ECE's part"), _bin_rows(report.bins), {1, 2, 3, 4}),
    ]


def _uncertainty(report: EvalReport) -> list[str]:
    """Return the sizes of the sets, and the p-values of the images, of a calibrated network."""
    if (counts := report.uncertainty) is None:
        return []
    sets, refused = counts.sets, f"{100 * counts.refused:g} %"
    charts = [columns("P-values of the images", counts.p_values, (0, 1), ("p-value", "images"))]
    notes = [html.paragraph(P_VALUES.format(refused=refused))]
    if sets:
        last = len(sets.sizes)
        charts.insert(0, columns("Classes in a set", sets.sizes, (0.5, last + 0.5), ("classes", "images"), colour=2))
        notes.insert(0, html.paragraph(SETS.format(level=f"{100 * sets.level:g} %", sizes=sizes_text(sets))))
    return [*notes, html.side_by_side(*charts)]


def _bin_rows(bins: Sequence[Bin]) -> list[tuple[str, ...]]:
    n = sum(bin_.n for bin_ in bins)
    return [
        (
            f"{100 * index / len(bins):.0f} to {100 * (index + 1) / len(bins):.0f} %", f"{bin_.n:,}",
            percent(bin_.confidence, 1), percent(bin_.accuracy, 1),
            percent(abs(bin_.billionths / BILLION - bin_.correct) / n, 2),
        )
        for index, bin_ in enumerate(bins)
        if bin_.n
    ]  # fmt: skip


def _mistakes(report: EvalReport, name_of: ClassName, images: Mapping[str, bytes]) -> list[str]:
    figures = [
        html.Figure(
            images.get(example.path),
            f"{name_of(pair.label)}, taken for {name_of(pair.answer)}",
            (f"{percent(example.probability, 1)} sure", image_name(example.path)),
        )
        for pair, example in surest_mistakes(report)
    ]
    if not figures:
        return []
    note = f"At most {MISTAKES_OF_PAIR} of each pair of classes, as the network saw them. A click enlarges an image."
    return [html.paragraph(note), html.gallery(figures)]


def _pairs(report: EvalReport, name_of: ClassName, images: Mapping[str, bytes]) -> list[str]:
    pairs = shown_pairs(report)
    if not pairs:
        return []
    paths, mistakes = shown_paths(report), report.n - report.correct1
    embedded = sum(path in images for path in paths)
    note = (
        f"{embedded:,} of {mistakes:,} mistakes are in this page as images, at most {EXAMPLES} of each pair of classes"
        f"{', the surest first' if report.calibrated else ''}: the crop that the network saw, not the complete image."
    )
    if embedded < len(paths):
        note += f" {len(paths) - embedded:,} others have only their names: no room was left, or no image to read."
    return [html.paragraph(note), *(
        html.folded(
            f"{name_of(pair.label)}, taken for {name_of(pair.answer)}: {pair.n:,}"
            + (f" ({len(pair.examples)} shown)" if pair.n > len(pair.examples) else ""),
            html.gallery([_figure(example, report.calibrated, images) for example in pair.examples]),
            anchor=_anchor(pair),
            unfolded=rank < FIRST_PAIRS,
        )
        for rank, pair in enumerate(pairs)
    )]


def _anchor(pair: Confusion) -> str:
    return f"pair-{pair.label}-{pair.answer}"


def _figure(example: Example, calibrated: bool, images: Mapping[str, bytes]) -> html.Figure:
    name = image_name(example.path)
    title, notes = (f"{percent(example.probability, 1)} sure", (name,)) if calibrated else (name, ())
    return html.Figure(images.get(example.path), title, notes)
