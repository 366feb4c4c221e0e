"""The curves of a training run as one page."""

from __future__ import annotations

from collections.abc import Sequence

from wideresnet.report.html.page import lines, page, paragraph, section


def draw_curves(title: str, log: Sequence[dict[str, float]]) -> str:
    """HTML page of loss and test accuracy over epochs; ``log`` holds epoch, loss, top1 (nan: not measured)."""
    loss = [(line["epoch"] + 1, line["loss"]) for line in log]
    top1 = [(line["epoch"] + 1, 100 * line["top1"]) for line in log if line["top1"] == line["top1"]]
    minutes = sum(line["seconds"] for line in log) / 60
    last = f", test accuracy {top1[-1][1]:.2f} %" if top1 else ""
    charts = (
        lines("training loss", {"loss": loss}, "epoch", "loss"),
        lines("test accuracy", {"top-1": top1}, "epoch", "%"),
    )
    return page(title, [section("", paragraph(f"{len(log)} epochs in {minutes:.0f} minutes{last}."), *charts)])
