"""The log of a training run as charts and as a page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from wideresnet.records import Images, Labels, TrainingImage
from wideresnet.report.formats import percent
from wideresnet.report.html import page as html
from wideresnet.report.html.charts import columns
from wideresnet.report.html.evaluation import FEW
from wideresnet.report.html.overlay import encoded_crop
from wideresnet.report.names import ClassName, class_names

Log = Sequence[Mapping[str, float]]                # of each epoch, as in ``Epoch``; nan or absent: not measured
FIRST_IMAGES = (
    "The first images of the first batch as the network is trained on them: cropped, mirrored and changed at random,"
    " in each epoch anew."
)


def to_json(run: str, log: str, images: Images) -> dict[str, Any]:
    """Return the JSON document of the run in the folder ``run``; ``log`` is the text of its log.jsonl."""
    last = json.loads(log.splitlines()[-1])
    document = {"run": run, "epochs": last["epoch"] + 1, "top1": 100 * last["top1"]}
    return {**document, "failures": len(images.failures), "skipped": asdict(images.skipped)}


def to_html(
    title: str, log: Log, images: Images, first: Sequence[TrainingImage], conditions: Mapping[str, object]
) -> str:
    """Return a page with the curves, the classes, the ``first`` images of the first batch, and the conditions."""
    top1 = [line["top1"] for line in log if line["top1"] == line["top1"]]
    last = f", test accuracy {percent(top1[-1], 2)}" if top1 else ""
    summary = f"{len(log)} epochs in {sum(line['seconds'] for line in log) / 60:.0f} minutes{last}."
    return html.page(
        title,
        [
            html.section("", html.paragraph(summary)),
            html.section("Training", *epoch_charts(log, "test")),
            html.section("Images", *training_images(images.labels, images.class_counts, first)),
            html.section("Conditions", html.facts(html.fact_rows(conditions))),
        ],
    )


def epoch_charts(log: Log, held_out: str) -> list[str]:
    """Return curves of loss, accuracy and learning rate and their values; ``held_out`` is the set of ``top1``."""
    if not log:
        return []
    epochs = _table(log, held_out)
    if len(log) == 1:                              # one point is no curve
        return [epochs]
    training = "training, augmented images"
    return [
        html.side_by_side(
            html.lines("Loss", _curves(log, {training: "loss", held_out: "val_loss"}), "epoch", "loss"),
            html.lines("Accuracy", _curves(log, {training: "train_top1", held_out: "top1"}, 100), "epoch", "top-1, %"),
            html.lines("Learning rate", _curves(log, {"learning rate": "learning_rate"}), "epoch", "at the last step"),
        ),
        html.folded("The epochs as a table", epochs),
    ]


def training_images(labels: Labels, counts: Sequence[int], first: Sequence[TrainingImage]) -> list[str]:
    """Return the number of training images of each class, and the first images of the first batch."""
    name_of = class_names(labels)
    figures = [html.Figure(encoded_crop(image.pixels), " + ".join(_target(image, name_of))) for image in first]
    batch = html.subsection("The first batch", html.paragraph(FIRST_IMAGES), html.gallery(figures)) if figures else ""
    return [*_class_counts(labels, counts), batch]


def _target(image: TrainingImage, name_of: ClassName) -> list[str]:
    """Return ``cat``, or ``60 % cat`` and ``40 % dog`` of a mixed image."""
    if len(image.target) == 1:
        return list(map(name_of, image.target))
    return [f"{percent(fraction, 0)} {name_of(index)}" for index, fraction in image.target.items()]


def _class_counts(labels: Labels, counts: Sequence[int]) -> list[str]:
    if not counts:
        return []
    name_of, order = class_names(labels), sorted(range(len(counts)), key=lambda index: -counts[index])
    least, most = order[-1], order[0]
    note = html.paragraph(
        f"{sum(counts):,} training images of {len(counts):,} classes: from {counts[least]:,} ({name_of(least)}) to"
        f" {counts[most]:,} ({name_of(most)}) a class."
    )
    title, heights = "Training images of each class", [counts[index] for index in order]
    if len(counts) <= FEW:
        return [note, html.bars(title, [(name_of(index), counts[index]) for index in order], "")]
    return [note, columns(title, heights, (0, len(heights)), ("classes, largest first", "images"))]


def _curves(log: Log, names: Mapping[str, str], scale: float = 1) -> dict[str, list[tuple[float, float]]]:
    """Return the points of each curve that was measured; ``names`` are keys of the log by names of curves."""
    curves = {
        name: [(line["epoch"] + 1, scale * line.get(key, math.nan)) for line in log] for name, key in names.items()
    }
    return {name: points for name, points in curves.items() if any(math.isfinite(y) for _, y in points)}


def _table(log: Log, held_out: str) -> str:
    heads = "epoch", "training loss", "training top-1", f"{held_out} loss", f"{held_out} top-1", "learning rate", "s"
    rows = []
    for line in log:
        loss, val_loss, rate = (html.number(line.get(key, math.nan)) for key in ("loss", "val_loss", "learning_rate"))
        train_top1, top1 = (percent(line.get(key), 2) for key in ("train_top1", "top1"))
        rows.append((f"{line['epoch'] + 1:g}", loss, train_top1, val_loss, top1, rate, f"{line['seconds']:.1f}"))
    return html.table(heads, rows, set(range(len(heads))))
