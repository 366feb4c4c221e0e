"""``wrn finetune``"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wideresnet.cli.checks import refuse_idle
from wideresnet.cli.options import MODEL, Alpha, ArchitectureName, Cache, Device, Format, TextOrJson, Weights, Where
from wideresnet.cli.output import (
    check_targets,
    list_failures,
    list_notes,
    open_bundle,
    print_json,
    progress_bars,
    say_skipped,
    update_bar,
)
from wideresnet.cli.streams import print_lines, say
from wideresnet.cli.train import epoch_line, pair
from wideresnet.report.escape import printable

if TYPE_CHECKING:
    from wideresnet.records import FinetuneReport, Images, PathPoint
    from wideresnet.tasks.finetune.finetune import ComputeOptions, FinetuneSettings
    from wideresnet.tasks.load.load import ModelChoice
    from wideresnet.training.loop import Epoch


class Mode(StrEnum):
    """What is learnt."""

    probe = "probe"
    full = "full"


Data = Annotated[
    Path, typer.Option(help="Class folders, splits of them (train/, val/, test/), or shards (.parquet, .tar).")
]
Source = Annotated[
    str | None,
    typer.Option(
        "--from", help="What to begin with: a name of 'wrn models', a bundle, or a weights file.", show_default=MODEL
    ),
]
Run = Annotated[Path, typer.Option("--output", "-o", help="Run folder; the model is RUN/bundle.")]
ModeOption = Annotated[
    Mode | None, typer.Option(help="probe [default]: a new classifier, in seconds. full: the whole network.")
]
Share = Annotated[
    float | None, typer.Option(help="Percent of each class that judge, where there is no val/ [20].", min=0, max=100)
]
Side = Annotated[int | None, typer.Option("--resolution", min=0, help="Pixels a side that it will see [as before].")]
Test = Annotated[Path | None, typer.Option(help="Class folders for a last figure: nothing is chosen by them.")]
Config = Annotated[Path | None, typer.Option(help="Settings in a TOML file; options count more.")]
Change = Annotated[list[str] | None, typer.Option("--set", help="key=value over the settings; repeatable.")]


def finetune(
    context: typer.Context,
    data: Data,
    output: Run,
    source: Source = None,
    mode: ModeOption = None,
    share: Share = None,
    resolution: Side = None,
    alpha: Alpha = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the split and of the training [0].")] = None,
    test: Test = None,
    cache: Cache = None,
    device: Where = Device.auto,
    config: Config = None,
    change: Change = None,
    weights: Weights = None,
    architecture: ArchitectureName = None,
    format: Format = TextOrJson.table,
) -> None:
    """Make a model for classes of your own, from a folder of images for each. It ends with a bundle and a report.

    Interrupt it at any time; the same command goes on. Images that cannot be read are listed; the exit code is
    then 1.

    Example: wrn finetune --from wide_resnet50_2.tv2_in1k --data pets/ -o runs/pets

    Example: wrn finetune --from runs/mine/model.safetensors --data pets/ -o runs/all --mode full --set epochs=5

    Example: wrn finetune --from wrn50/ --data pets/ --test new/ -o runs/pets --set flips=false
    """
    from wideresnet.tasks.finetune.finetune import ComputeOptions, read_settings
    from wideresnet.tasks.load.load import ModelChoice

    options = {
        "mode": mode.value if mode else None, "share": share / 100 if share is not None else None,
        "resolution": resolution, "seed": seed, "alpha": alpha,
    }  # fmt: skip
    changes: dict[str, Any] = dict(map(pair, change or []))
    settings = read_settings(config, changes | {key: value for key, value in options.items() if value is not None})
    check_targets(folders=[output])
    idle = settings.mode == "probe" and device is Device.cuda
    refuse_idle(context, idle, "on a probe, which the engine and numpy fit on the CPU", "device")
    choice, compute = ModelChoice(source, weights, architecture), ComputeOptions(cache, device.value)
    report = _run(choice, data, output, settings, test, compute, format)
    _show(report, format)
    raise typer.Exit(1 if report.failures else 0)


def _run(
    choice: ModelChoice, data: Path, run: Path, settings: FinetuneSettings, test: Path | None, compute: ComputeOptions,
    format: TextOrJson,
) -> FinetuneReport:  # fmt: skip
    """The finished run, with bars while it goes on."""
    from wideresnet.datasets.shards import check_parquet_extra
    from wideresnet.records import Progress, follow
    from wideresnet.tasks.finetune.finetune import run_finetune
    from wideresnet.training.memory import keep_memory

    if settings.mode == "full":
        keep_memory()
    check_parquet_extra([data, *([test] if test else [])])
    bundle = open_bundle(choice)
    try:
        with progress_bars("") as bars:
            task = bars.add_task("reading images", total=None)

            def show(event: Progress | Images | PathPoint | Epoch) -> None:
                if isinstance(event, Progress):
                    update_bar(bars, task, event)
                elif format is TextOrJson.table:
                    bars.console.print(printable(_line(event)))

            return follow(run_finetune(bundle, data, run, settings, test, compute), show)
    except KeyboardInterrupt:
        say(f"stopped; the same command goes on with what is kept in {run}", err=True)
        raise typer.Exit(130) from None


def _line(event: Images | PathPoint | Epoch) -> str:
    from wideresnet.records import Images, PathPoint

    if isinstance(event, Images):
        classes = len(event.labels.names)
        return f"{event.name}: {event.train} images of {classes} classes to learn from, {event.test} to judge"
    if not isinstance(event, PathPoint):
        return epoch_line(event)
    share = 100 * event.correct / event.n
    return f"L2 {event.l2:<8g} loss {event.loss:.4f}  top-1 {share:.2f} % of {event.n} held out"


def _show(report: FinetuneReport, format: TextOrJson) -> None:
    from wideresnet.report import finetuning

    if format is TextOrJson.json:
        print_json(finetuning.to_json(report))
    else:
        print_lines(finetuning.to_text(report))
    list_notes((*report.evaluation.warnings, *(report.test.warnings if report.test else ())), "warning")
    list_failures(report.failures)
    say_skipped([report.skipped], report.data)
