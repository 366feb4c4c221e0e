"""``wrn finetune``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from wideresnet.cli.complete import model_names
from wideresnet.cli.groups import WeightsOptions, with_groups
from wideresnet.cli.options import MODEL, Alpha, Cache, Change, Format, Where
from wideresnet.cli.output import check_targets, list_problems, open_bundle, print_record, say_model, say_next
from wideresnet.cli.streams import say
from wideresnet.cli.training import follow_run, parse_changes, say_unreached
from wideresnet.errors import check_extra

Mode = Literal["probe", "full"]
Data = Annotated[
    Path, typer.Option(help="Class folders, splits of them (train/, val/, test/), or shards (.parquet, .tar).")
]
Source = Annotated[
    str | None,
    typer.Option(
        "--from", help="The source model: a name of 'wrn models', a bundle, or a weights file.", show_default=False,
        autocompletion=model_names,
    ),
]
Run = Annotated[Path, typer.Option("--output", "-o", help="Run folder; the model is RUN/bundle.")]
ModeOption = Annotated[
    Mode | None, typer.Option(
        help="probe: only a new linear layer, in seconds; full: the complete network.", show_default="probe"
    )
]
ValFraction = Annotated[
    float | None,
    typer.Option(help="The fraction of each class for validation, if there is no val/.", show_default="0.2"),
]
Side = Annotated[
    int | None,
    typer.Option("--resolution", min=0, help="The input size in pixels a side.", show_default="that of the source"),
]
Test = Annotated[Path | None, typer.Option(help="Class folders for the final accuracy; never used to select anything.")]


@with_groups
def finetune(
    data: Data,
    output: Run,
    files: WeightsOptions,
    source: Source = None,
    mode: ModeOption = None,
    val_fraction: ValFraction = None,
    resolution: Side = None,
    alpha: Alpha = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The seed of split and training.", show_default="0")] = None,
    test: Test = None,
    cache: Cache = None,
    device: Where = "auto",
    config: Annotated[Path | None, typer.Option(help="Settings in a TOML file; options take precedence.")] = None,
    change: Change = None,
    format: Format = "table",
) -> None:
    """Fine-tune a model to your own classes, given as one folder of images per class; write a bundle and a report.

    The same command continues an interrupted run. Images that cannot be read are listed, and the exit code is 1.

    Example: wrn finetune --from wide_resnet50_2.tv2_in1k --data pets/ -o runs/pets

    Example: wrn finetune --from runs/mine/model.safetensors --data pets/ -o runs/all --mode full --set epochs=5

    Example: wrn finetune --from wrn50/ --data pets/ --test new/ -o runs/pets --set flips=false
    """
    from wideresnet.datasets.shards import check_parquet_extra, find_shards
    from wideresnet.report import finetuning
    from wideresnet.tasks.finetune.finetune import ComputeOptions, read_settings, run_finetune
    from wideresnet.tasks.finetune.settings import FULL_DEFAULTS
    from wideresnet.tasks.finetune.source import SMALL, small_source
    from wideresnet.training.memory import keep_memory

    options = {
        "mode": mode, "val_fraction": val_fraction, "resolution": resolution, "seed": seed, "alpha": alpha,
    }  # fmt: skip
    settings = read_settings(config, parse_changes(change, options))
    check_targets(folders=[output])
    if source is None and files.weights is None:
        source = small_source(data, MODEL)
        say(f"--from is missing: the images have at most {SMALL} pixels a side, as for {source}", err=True)
    if settings.mode == "full":
        check_extra("fine-tuning the whole network", "train", "torch")
        keep_memory()
        say_unreached(settings.recipe.get("epochs", FULL_DEFAULTS["epochs"]), settings.recipe.get("sizes", ()))
    check_parquet_extra([data, *([test] if test else [])])
    bundle = open_bundle(files.choice(source, headless=True))
    say_model(bundle.card, "full by pytorch" if settings.mode == "full" else "probe by openvino")
    work = run_finetune(bundle, data, output, settings, test, ComputeOptions(cache, device))
    stopped = f"the same command continues with what is kept in {output}"
    report = follow_run(work, stopped, lines=format == "table")
    print_record(report, finetuning.to_json, finetuning.to_text, format)
    warnings = (*report.evaluation.warnings, *(report.test.warnings if report.test else ()))
    say(f"note: {report.notes['calibration']}", err=True)
    list_problems(warnings, report.failures, report.skipped, report.data)
    if format == "table":
        index = [] if find_shards(data) else [("compile", "-m", report.bundle, "-o", output / "int8")]
        say_next(("classify", data, "-m", report.bundle), *index, ("serve", "-m", report.bundle))
    raise typer.Exit(1 if report.failures else 0)
