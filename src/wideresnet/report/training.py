"""The log of a training run as charts and as a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from wideresnet.records import Images
from wideresnet.report.html.page import lines, page, paragraph, section

Log = Sequence[Mapping[str, float]]                # of each epoch: epoch, loss, top1 (nan: not measured), seconds


def to_json(run: str, log: str, images: Images) -> dict[str, Any]:
    """Return the JSON document of the run in the folder ``run``; ``log`` is the text of its log.jsonl."""
    last = json.loads(log.splitlines()[-1])
    document = {"run": run, "epochs": last["epoch"] + 1, "top1": 100 * last["top1"]}
    return {**document, "failures": len(images.failures), "skipped": asdict(images.skipped)}


def to_html(title: str, log: Log) -> str:
    """Return a page with the curves of loss and test accuracy."""
    top1 = [line["top1"] for line in log if line["top1"] == line["top1"]]
    last = f", test accuracy {100 * top1[-1]:.2f} %" if top1 else ""
    summary = f"{len(log)} epochs in {sum(line['seconds'] for line in log) / 60:.0f} minutes{last}."
    return page(title, [section("", paragraph(summary), *epoch_charts(log, "Test accuracy"))])


def epoch_charts(log: Log, accuracy: str) -> tuple[str, str]:
    """Return the charts of loss and of top-1 over epochs; ``accuracy`` is the title of the second."""
    loss = [(line["epoch"] + 1, line["loss"]) for line in log]
    top1 = [(line["epoch"] + 1, 100 * line["top1"]) for line in log]
    return lines("Training loss", {"loss": loss}, "epoch", "loss"), lines(accuracy, {"top-1": top1}, "epoch", "%")
