"""The page of a shadow: two models on the images of a running service."""

from __future__ import annotations

from wideresnet.records import Labels, mcnemar
from wideresnet.records.shadow import ShadowReport
from wideresnet.report.formats import interval_text, percent
from wideresnet.report.html import page as html
from wideresnet.report.html.charts import interval
from wideresnet.report.names import class_names

SHOWN = 20                                         # pairs of classes on the page
HEAD = '<link rel="icon" href="static/icon.svg" type="image/svg+xml">\n'
HEADS = ("difference", "A says", "sure", "B says", "sure", "is", "request")
ABOUT = (
    "Without labels nothing here tells which model is right. What is certain: on these images their top-1 differs by"
    " at most the fraction of different answers. Images whose class a client sends as X-Label give the accuracies,"
    " Zou and Donner's interval for paired proportions, and McNemar's exact p. The sample is compared in idle"
    " moments: images from busy times are dropped more often. No image is stored."
)


def to_html(report: ShadowReport, labels: Labels) -> str:
    """Return the page, for a service that sends its own policy."""
    name_of, graphs = class_names(labels), [f"{graph[:12]}…" for graph in report.graphs]
    low, same, high = report.agreement
    ends, title = (100 - 100 * high, 100 - 100 * low), "Images with different answers, and the 95 % interval"
    pairs = [(f"{name_of(a)} → {name_of(b)}", n) for (a, b), n in report.pairs.most_common(SHOWN)]
    largest = [
        (
            f"{image.distance:.3f}", name_of(a), percent(sure_a, 1), name_of(b), percent(sure_b, 1),
            "–" if image.label is None else name_of(image.label), image.request,
        )
        for image in report.largest for (a, b), (sure_a, sure_b) in [(image.answers, image.probabilities)]
    ]  # fmt: skip
    facts = [
        *zip(("A answers", "B, its shadow"), map("{}, graph {}".format, report.models, graphs), strict=True),
        ("since", report.since), *[("paused", report.paused)] * bool(report.paused),
        ("decoded twice", f"{report.decoded_again:,}"),
    ]  # fmt: skip
    dropped = [(reason, f"{count:,}") for reason, count in report.dropped.most_common()]
    return html.page("{} and its shadow {}".format(*report.models), [
        html.section("", html.tiles(_tiles(report)), html.facts(facts), html.paragraph(ABOUT)),
        html.section("Different answers", interval(title, ends, 100 - 100 * same, None, "%") if report.n else ""),
        html.section("Different answers by class", html.bars("Images by A's class → B's class", pairs, "")),
        html.section("Largest differences", html.table(HEADS, largest, {0, 2, 4})),
        html.section("Sampled and not compared", html.table(("reason", "images"), dropped, {1})),
    ], HEAD)  # fmt: skip


def _tiles(report: ShadowReport) -> list[tuple[str, str, str]]:
    (low, same, high), right = report.agreement, report.right
    tiles = [
        ("images compared", f"{report.n:,}", f"{report.dropped.total():,} sampled and not compared"),
        ("same answer", percent(same, 2), f"95 %: {interval_text((low, high))}"),
        ("different answers", f"{report.n - report.agreements:,}", ""),
        ("confidence, B − A, points", f"{100 * report.mean_change:+.2f}" if report.n else "–", ""),
    ]  # fmt: skip
    if not (n := right.total()):
        return tiles
    only_a, only_b = right[True, False], right[False, True]
    low, difference, high = report.difference
    tiles += [
        (f"top-1 of {side}", percent((right[True, True] + only) / n, 2), f"{n:,} labelled images")
        for side, only in (("A", only_a), ("B", only_b))
    ]
    return [
        *tiles, ("top-1, B − A, points", f"{100 * difference:+.2f}", f"95 %: {interval_text((low, high))}"),
        ("only A right, only B", f"{only_a:,}, {only_b:,}", f"McNemar's p = {mcnemar(only_a, only_b):.2g}"),
    ]  # fmt: skip
