"""``wrn recommend``"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from wideresnet.cli.checks import check_percent
from wideresnet.cli.options import Format, Threads
from wideresnet.cli.output import list_notes, open_bundle, print_json
from wideresnet.cli.progress import waiting
from wideresnet.cli.streams import print_lines


def recommend(
    latency: Annotated[float | None, typer.Option(min=0, help="Maximum milliseconds for one image.")] = None,
    rate: Annotated[float | None, typer.Option(min=0, help="Minimum images per second.")] = None,
    accuracy: Annotated[float | None, typer.Option(min=0, max=100, help="Minimum top-1 in percent.")] = None,
    bench: Annotated[Path | None, typer.Option(help="Speeds of this machine: a file of 'wrn bench -o'.")] = None,
    cascade: Annotated[list[str] | None, typer.Option(help="A cascade of ImageNet's classes to list as well.")] = None,
    threads: Threads = 0,
    format: Format = "table",
) -> None:
    """Recommend published weights, input size and precision for this machine.

    Accuracy is as published; speed is predicted from a short measurement of the machine's peak, or measured
    (--bench). A cascade has the accuracy of its certificate. Exit code 1: no model meets the requirements.

    Example: wrn recommend --rate 20

    Example: wrn recommend --latency 100 --accuracy 80 --bench speed.json
    """
    from wideresnet.machine import machine_facts
    from wideresnet.report import recommendation
    from wideresnet.report.formats import busy_text
    from wideresnet.tasks.bench.recommend import Requirements, measure_peak
    from wideresnet.tasks.bench.recommend import recommend as choose
    from wideresnet.tasks.load.load import ModelChoice

    check_percent("--accuracy", accuracy or 0)
    requirements = Requirements(latency, rate, None if accuracy is None else accuracy / 100)
    list_notes(filter(None, [busy_text(machine_facts())]))
    cascades = {name: open_bundle(ModelChoice(name)).card for name in cascade or ()}
    with waiting("measuring the machine's peak"):
        peak = measure_peak(threads)
    choices = choose(requirements, peak, bench, threads, cascades)
    closest = min(choices, key=requirements.shortfall)
    if format == "json":
        documents = [asdict(choice) for choice in choices]
        print_json({"peak": asdict(peak), "choices": documents, "nearest": asdict(closest)})
    else:
        print_lines(recommendation.to_text(choices, peak, closest))
    raise typer.Exit(0 if any(choice.fits for choice in choices) else 1)
