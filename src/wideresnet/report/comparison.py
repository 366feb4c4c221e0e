"""A comparison of two sets of answers as text, JSON and a page with the images that flipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wideresnet.records import ComparisonReport, EvalReport, Flip, Labels
from wideresnet.records.comparison import images_to_exclude
from wideresnet.report.escape import json_text
from wideresnet.report.formats import percent, pick, pick_engine, pick_percent, text_table
from wideresnet.report.html import page as html
from wideresnet.report.html.evaluation import condition_rows, failure_table
from wideresnet.report.names import ClassName, class_names, image_name

FLIPS = 20                                         # in the text; the JSON has all
CHANGES = 20                                       # classes in the text and on the page
SHOWN = 12                                         # images on the page that only one side got right
LISTED = 200                                       # paths on the page, of each kind

FLIP_HEADS = ("right", "image", "is", "A says", "sure", "B says", "sure")
CHANGE_HEADS = ("class", "images", "A right", "B right", "B − A")
PAIRED = (
    "Paired by path over the images that both answered. The interval is Zou and Donner's for paired proportions; p is"
    " McNemar's exact one: how likely a split as uneven as this one, between images that only A and only B got"
    " right, would be if neither were better."
)


def to_text(report: ComparisonReport, labels: Labels) -> str:
    """Return both accuracies, the difference and its significance, the most changed classes, and the first flips."""
    name_of = class_names(labels)
    low, high = (100 * end for end in report.interval95)
    flips = [_flip(flip, flip.path, name_of) for flip in report.flips[:FLIPS]]
    changes = _changes(report, name_of)
    blocks = [
        f"A: {_side(report.a)}\nB: {_side(report.b)}\n{_counts(report)}\n",
        text_table([("", "A", "B", "B − A"), *_measures(report)], right={1, 2, 3}),
        f"difference {_signed(report.difference)} points of top-1 (95 % interval {low:+.3f} to {high:+.3f},"
        f" McNemar's exact p = {report.p_value:.2g})",
        f"same answer for {percent(report.agreement, 2)}; only A is right: {report.only_a_correct:,}, only B:"
        f" {report.only_b_correct:,}",
        "\n" + text_table([CHANGE_HEADS, *changes], right={1, 2, 3, 4}) if changes else "",
        f"… and {more:,} more; --format json lists all" if (more := len(report.changes) - len(changes)) else "",
        "\n" + text_table([FLIP_HEADS, *flips], right={4, 6}) if flips else "",
        f"… and {more:,} more; --format json lists all" if (more := len(report.flips) - len(flips)) else "",
    ]
    return "\n".join(filter(None, blocks))


def describe_drop(report: ComparisonReport, points: float) -> str:
    """Return why B is not shown to be at most ``points`` percentage points of top-1 below A; empty if it is."""
    below, end = f"more than {points:g} points of top-1 below A", -100 * report.interval95[0]
    # The small term is for rounding: 0.7 points of 1,000 are 7 images.
    if report.only_a_correct - report.only_b_correct > points / 100 * report.n + 1e-6:
        return f"B is {below}"
    if end <= points:
        return ""
    needed = images_to_exclude(points / 100, -report.difference, len(report.flips) / report.n)
    could = "no number of images could" if needed is None else f"about {needed:,} could"
    images = f"{report.n:,} images cannot exclude that B is {below}"
    return f"undecided: {images} (95 % interval ends at {end:.3f} points); {could}"


def to_json(report: ComparisonReport) -> dict[str, Any]:
    """Return JSON values: accuracies in percent, differences (B - A) in percentage points, classes by index.

    ``flips`` are all images that only one side got right, the surest mistake first; probabilities that a file does
    not hold are null.
    """
    return {
        "schema": 1,
        "a": _side_json(report.a),
        "b": _side_json(report.b),
        "n": report.n,
        **pick_percent(report, "difference", "interval95"),
        **pick(report, "p_value"),
        **pick_percent(report, "agreement"),
        "only_a_right": report.only_a_correct,
        "only_b_right": report.only_b_correct,
        "classes": [
            {"label": change.label, "n": change.n, "correct_a": change.correct[0], "correct_b": change.correct[1]}
            for change in report.changes
        ],
        "flips": [flip_json(flip) for flip in report.flips],
        "only_in_a": list(report.only_a),
        "only_in_b": list(report.only_b),
        **pick(report.a, "skipped"),
        **pick(report, "warnings"),
    }


def to_html(report: ComparisonReport, labels: Labels, images: Mapping[str, bytes]) -> str:
    """Return one self-contained page. ``images`` holds JPEG or PNG by path, of those in ``shown_paths``."""
    name_of = class_names(labels)
    measures = html.table(("", "A", "B", "B − A"), _measures(report), {1, 2, 3})
    changes = html.table(CHANGE_HEADS, _changes(report, name_of), {1, 2, 3, 4})
    files = html.downloads({"comparison.json": json_text(to_json(report))})
    return html.page(
        f"{report.a.model} and {report.b.model}",
        [
            html.section("", html.tiles(_tiles(report)), html.facts([("A", report.a.model), ("B", report.b.model)])),
            html.section("", html.paragraph(_counts(report) + "."), measures, files),
            html.section("", html.paragraph(PAIRED)),
            html.section("Classes that changed most", changes, _more(len(report.changes), CHANGES)),
            flip_section(report, labels, images),
            _missing("Only in A", report.only_a),
            _missing("Only in B", report.only_b),
            html.section("Failed in A", *failure_table(report.a.failures)),
            html.section("Failed in B", *failure_table(report.b.failures)),
            html.section("Conditions of A", html.facts(condition_rows(report.a))),
            html.section("Conditions of B", html.facts(condition_rows(report.b))),
        ],
    )


def flip_section(report: ComparisonReport, labels: Labels, images: Mapping[str, bytes]) -> str:
    """Return the section of the page with the images that only one side got right."""
    name_of = class_names(labels)
    flips = [_flip(flip, image_name(flip.path), name_of) for flip in report.flips[:LISTED]]
    return html.section(
        "Images that only one got right",
        *(_gallery(side, report, name_of, images) for side in ("A", "B")),
        html.subsection("All of them", html.table(FLIP_HEADS, flips, {4, 6}), _more(len(report.flips))),
    )


def shown_paths(report: ComparisonReport) -> list[str]:
    """Return the paths of the images that the page shows."""
    return [flip.path for side in ("A", "B") for flip in shown_flips(report, side)]


def shown_flips(report: ComparisonReport, right: str) -> Sequence[Flip]:
    """Return the images on the page that only the side ``right`` (A or B) got right, surest mistake first."""
    return [flip for flip in report.flips if flip.right == right][:SHOWN]


def _side(side: EvalReport) -> str:
    return f"{side.model} on {side.data}" if side.data else side.model


def _counts(report: ComparisonReport) -> str:
    a, b = report.a, report.b
    unpaired = {
        "only in A": len(report.only_a), "only in B": len(report.only_b), "failed in A": len(a.failures),
        "failed in B": len(b.failures),
    }  # fmt: skip
    remainder = ", ".join(f"{count:,} {kind}" for kind, count in unpaired.items() if count)
    return f"{report.n:,} images that both answered" + (f"; besides them {remainder}" if remainder else "")


def _measures(report: ComparisonReport) -> list[tuple[str, ...]]:
    """Return rows of a measure's name, A, B, and the difference in points."""
    a, b, n = report.a, report.b, report.n
    rows = [("top-1", a.top1, b.top1), ("top-5", a.top5, b.top5)]
    if a.masked and b.masked:
        among = f"masked to {a.masked.classes} classes"
        rows += [
            (f"top-1, {among}", a.masked.correct1 / n, b.masked.correct1 / n),
            (f"top-5, {among}", a.masked.correct5 / n, b.masked.correct5 / n),
        ]
    return [(name, percent(in_a), percent(in_b), _signed(in_b - in_a)) for name, in_a, in_b in rows]


def _tiles(report: ComparisonReport) -> list[tuple[str, str, str]]:
    low, high = (100 * end for end in report.interval95)
    return [
        ("top-1 of A", percent(report.a.top1), f"{report.a.correct1:,} of {report.n:,}"),
        ("top-1 of B", percent(report.b.top1), f"{report.b.correct1:,} of {report.n:,}"),
        ("B − A, points", _signed(report.difference), f"95 %: {low:+.2f} to {high:+.2f}; p = {report.p_value:.2g}"),
        (
            "same answer", percent(report.agreement, 2),
            f"only A right {report.only_a_correct:,}, only B {report.only_b_correct:,}",
        ),
    ]


def _changes(report: ComparisonReport, name_of: ClassName) -> list[tuple[str, ...]]:
    return [
        (name_of(change.label), f"{change.n:,}", *(f"{n:,}" for n in change.correct), f"{change.difference:+,}")
        for change in report.changes[:CHANGES]
    ]


def _flip(flip: Flip, image: str, name_of: ClassName) -> tuple[str, ...]:
    """Return a row by ``FLIP_HEADS``."""
    answers = zip(flip.answers, flip.probabilities, strict=True)
    cells = ((name_of(answer) if answer >= 0 else "–", percent(probability, 1)) for answer, probability in answers)
    return (flip.right, image, name_of(flip.label), *(cell for pair in cells for cell in pair))


def _gallery(right: str, report: ComparisonReport, name_of: ClassName, images: Mapping[str, bytes]) -> str:
    figures = []
    for flip in shown_flips(report, right):
        _, image, label, answer_a, percent_a, answer_b, percent_b = _flip(flip, image_name(flip.path), name_of)
        lines = (f"A: {answer_a}, {percent_a}", f"B: {answer_b}, {percent_b}", image)
        figures.append(html.Figure(images.get(flip.path), label, lines))
    count = report.only_a_correct if right == "A" else report.only_b_correct
    return html.subsection(f"Right in {right} only: {count:,}", html.gallery(figures))


def _missing(heading: str, paths: Sequence[str]) -> str:
    return html.section(heading, html.table(("image",), [(path,) for path in paths[:LISTED]]), _more(len(paths)))


def _more(count: int, shown: int = LISTED) -> str:
    return html.paragraph(f"… and {count - shown:,} more.") if count > shown else ""


def _side_json(report: EvalReport) -> dict[str, Any]:
    masked = report.masked
    return {
        "model": report.model,
        "data": report.data or None,
        **pick_percent(report, "top1", "top5"),
        **pick(report, "correct1"),
        "correct5": report.correct5 if report.max_k >= 5 else None,
        "masked_correct1": masked and masked.correct1,
        "masked_correct5": masked and masked.correct5,
        "failures": [pick(failure, "path", "error") for failure in report.failures],
        **pick_engine(report.engine),
    }


def flip_json(flip: Flip) -> dict[str, Any]:
    """Return JSON values; see ``to_json``."""
    values = pick(flip, "path", "label", "right")
    for side, answer, probability in zip("ab", flip.answers, flip.probabilities, strict=True):
        values[f"answer_{side}"] = answer if answer >= 0 else None
        values[f"probability_{side}"] = probability if probability == probability else None
    return values


def _signed(fraction: float) -> str:
    return f"{100 * fraction:+.3f}" if fraction == fraction else "–"
