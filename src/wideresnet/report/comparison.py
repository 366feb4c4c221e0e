"""A comparison of two sets of answers: as text, as a JSON document, and as a page with the images that flipped"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from wideresnet.records import ComparisonReport, EvalReport, Flip, Labels
from wideresnet.report.document import percent as points
from wideresnet.report.evaluation import conditions, failures, percent
from wideresnet.report.html.page import Shown, facts, gallery, page, paragraph, section, subsection, table, tiles
from wideresnet.report.names import ClassName, class_names, image_name
from wideresnet.report.text import columns

FLIPS = 20                                         # in the text; the document has all
CHANGES = 20                                       # classes in the text and on the page
SHOWN = 12                                         # images on the page of those that only one got right
LISTED = 200                                       # paths on the page, of each kind

FLIP_HEADS = ("right", "image", "is", "A says", "sure", "B says", "sure")
CHANGE_HEADS = ("class", "images", "A right", "B right", "B − A")
PAIRED = (
    "Paired by path over the images that both answered. The interval is Agresti and Min's for paired shares; p is"
    " McNemar's exact one: how likely a split as uneven as this one, between images that only A and only B got"
    " right, would be if neither were better."
)


def text(report: ComparisonReport, labels: Labels) -> str:
    """The figures side by side, how sure the difference is, the classes that changed most, and the first flips."""
    name = class_names(labels)
    low, high = (100 * end for end in report.interval95)
    flips = [_flip(flip, flip.path, name) for flip in report.flips[:FLIPS]]
    more = len(report.flips) - len(flips)
    changes = _changes(report, name)
    parts = [
        f"A: {report.a.model}\nB: {report.b.model}\n{_counts(report)}\n",
        columns([("", "A", "B", "B − A"), *_measures(report)], right={1, 2, 3}),
        f"difference {_signed(report.difference)} points of top-1 (95 % interval {low:+.3f} to {high:+.3f},"
        f" McNemar's exact p = {report.p_value:.2g})",
        f"same answer for {percent(report.agreement, 2)}; only A is right: {report.lost:,}, only B: {report.gained:,}",
        "\n" + columns([CHANGE_HEADS, *changes], right={1, 2, 3, 4}) if changes else "",
        "\n" + columns([FLIP_HEADS, *flips], right={4, 6}) if flips else "",
        f"… and {more:,} more; --format json lists all" if more else "",
    ]
    return "\n".join(filter(None, parts))


def document(report: ComparisonReport) -> dict[str, Any]:
    """Field names are stable. Accuracies in percent, differences (B - A) in percentage points, classes by index.

    ``flips`` are all images that only one got right, the surest mistake first; probabilities are null where a file
    does not tell them.
    """
    return {
        "schema": 1,
        "a": _side(report.a),
        "b": _side(report.b),
        "n": report.n,
        "difference": points(report.difference),
        "interval95": [points(end) for end in report.interval95],
        "p_value": report.p_value,
        "agreement": points(report.agreement),
        "only_a_right": report.lost,
        "only_b_right": report.gained,
        "classes": [
            {"label": each.label, "n": each.n, "correct_a": each.correct[0], "correct_b": each.correct[1]}
            for each in report.changes
        ],
        "flips": [_flip_document(flip) for flip in report.flips],
        "only_in_a": list(report.only_a),
        "only_in_b": list(report.only_b),
        "skipped": asdict(report.a.skipped),
        "warnings": list(report.warnings),
    }


def draw_comparison(report: ComparisonReport, labels: Labels, images: Mapping[str, bytes]) -> str:
    """One page (HTML) that needs nothing else. ``pictures``: JPEG or PNG by path, of those in ``shown_paths``."""
    name = class_names(labels)
    flips = [_flip(flip, image_name(flip.path), name) for flip in report.flips[:LISTED]]
    heads = ("", "A", "B", "B − A")
    return page(
        f"{report.a.model} and {report.b.model}",
        [
            section("", tiles(_figures(report)), facts([("A", report.a.model), ("B", report.b.model)])),
            section("", paragraph(_counts(report) + "."), table(heads, _measures(report), {1, 2, 3})),
            section("", paragraph(PAIRED)),
            section("Classes that changed most", table(CHANGE_HEADS, _changes(report, name), {1, 2, 3, 4})),
            section(
                "Images that only one got right",
                *(_gallery(side, report, name, images) for side in ("A", "B")),
                subsection("All of them", table(FLIP_HEADS, flips, {4, 6}), _more(len(report.flips))),
            ),
            _missing("Only in A", report.only_a),
            _missing("Only in B", report.only_b),
            section("Failed in A", *failures(report.a.failures)),
            section("Failed in B", *failures(report.b.failures)),
            section("Conditions of A", facts(conditions(report.a))),
            section("Conditions of B", facts(conditions(report.b))),
        ],
    )


def shown_paths(report: ComparisonReport) -> list[str]:
    """The images that the page shows."""
    return [flip.path for side in ("A", "B") for flip in shown_flips(report, side)]


def shown_flips(report: ComparisonReport, right: str) -> Sequence[Flip]:
    """The images that only A, or only B, got right, as far as the page shows them: surest mistake first."""
    return [flip for flip in report.flips if flip.right == right][:SHOWN]


def _counts(report: ComparisonReport) -> str:
    a, b = report.a, report.b
    rest = {
        "only in A": len(report.only_a), "only in B": len(report.only_b), "failed in A": len(a.failures),
        "failed in B": len(b.failures),
    }  # fmt: skip
    left = ", ".join(f"{count:,} {what}" for what, count in rest.items() if count)
    return f"{report.n:,} images that both answered" + (f"; besides them {left}" if left else "")


def _measures(report: ComparisonReport) -> list[tuple[str, ...]]:
    """Name, A, B, difference in points."""
    a, b, n = report.a, report.b, report.n
    rows = [("top-1", a.correct1, b.correct1), ("top-5", a.correct5, b.correct5)]
    if a.masked and b.masked:
        among = f"masked to {a.masked.classes} classes"
        rows += [
            (f"top-1, {among}", a.masked.correct1, b.masked.correct1),
            (f"top-5, {among}", a.masked.correct5, b.masked.correct5),
        ]
    return [(what, percent(one / n), percent(two / n), _signed((two - one) / n)) for what, one, two in rows]


def _figures(report: ComparisonReport) -> list[tuple[str, str, str]]:
    low, high = (100 * end for end in report.interval95)
    return [
        ("top-1 of A", percent(report.a.top1), f"{report.a.correct1:,} of {report.n:,}"),
        ("top-1 of B", percent(report.b.top1), f"{report.b.correct1:,} of {report.n:,}"),
        ("B − A, points", _signed(report.difference), f"95 %: {low:+.2f} to {high:+.2f}; p = {report.p_value:.2g}"),
        ("same answer", percent(report.agreement, 2), f"only A right {report.lost:,}, only B {report.gained:,}"),
    ]


def _changes(report: ComparisonReport, name: ClassName) -> list[tuple[str, ...]]:
    return [
        (name(each.label), f"{each.n:,}", f"{each.correct[0]:,}", f"{each.correct[1]:,}", f"{each.difference:+,}")
        for each in report.changes[:CHANGES]
    ]


def _flip(flip: Flip, image: str, name: ClassName) -> tuple[str, ...]:
    """A row by ``FLIP_HEADS``."""
    (one, other), (sure, as_sure) = flip.answers, flip.probabilities
    says = [name(answer) if answer >= 0 else "–" for answer in (one, other)]
    return (flip.right, image, name(flip.label), says[0], percent(sure, 1), says[1], percent(as_sure, 1))


def _gallery(right: str, report: ComparisonReport, name: ClassName, images: Mapping[str, bytes]) -> str:
    shown = []
    for flip in shown_flips(report, right):
        _, image, label, one, sure, other, as_sure = _flip(flip, image_name(flip.path), name)
        lines = (f"A: {one}, {sure}", f"B: {other}, {as_sure}", image)
        shown.append(Shown(images.get(flip.path), label, lines))
    count = report.lost if right == "A" else report.gained
    return subsection(f"Right in {right} only: {count:,}", gallery(shown))


def _missing(heading: str, paths: Sequence[str]) -> str:
    return section(heading, table(("image",), [(path,) for path in paths[:LISTED]]), _more(len(paths)))


def _more(count: int) -> str:
    return paragraph(f"… and {count - LISTED:,} more.") if count > LISTED else ""


def _side(of: EvalReport) -> dict[str, Any]:
    engine, masked = of.engine, of.masked
    return {
        "model": of.model,
        "data": of.data or None,
        "top1": points(of.top1),
        "top5": points(of.top5),
        "correct1": of.correct1,
        "correct5": of.correct5,
        "masked_correct1": masked.correct1 if masked else None,
        "masked_correct5": masked.correct5 if masked else None,
        "failures": [{"path": each.path, "error": each.error} for each in of.failures],
        "engine": engine.runtime if engine else None,
        "engine_version": engine.version if engine else None,
        "precision": engine.precision if engine else None,
    }


def _flip_document(flip: Flip) -> dict[str, Any]:
    answers = [answer if answer >= 0 else None for answer in flip.answers]
    sure = [share if share == share else None for share in flip.probabilities]
    return {
        "path": flip.path,
        "label": flip.label,
        "right": flip.right,
        "answer_a": answers[0],
        "probability_a": sure[0],
        "answer_b": answers[1],
        "probability_b": sure[1],
    }


def _signed(share: float) -> str:
    return f"{100 * share:+.3f}"
