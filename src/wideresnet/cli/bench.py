"""``wrn bench``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wideresnet.cli.bench_options import BenchOptions
from wideresnet.cli.checks import check_engine, check_unused
from wideresnet.cli.groups import FACT_NAMES, FileOptions, with_groups
from wideresnet.cli.options import Format, InferenceDevice
from wideresnet.cli.output import check_targets, say_skipped
from wideresnet.cli.progress import run_with_bar
from wideresnet.cli.streams import print_lines
from wideresnet.report.escape import json_text

# Settings whose options have other names.
OPTIONS = {
    "engines": "engine", "precisions": "precision", "batches": "batch", "sync": "infer_mode", "reduced": "fast_decode",
}  # fmt: skip


@with_groups
def bench(
    context: typer.Context,
    options: BenchOptions,
    files: FileOptions,
    device: InferenceDevice = "cpu",
    format: Format = "table",
    report: Annotated[Path | None, typer.Option(help="Write an HTML page with plots.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the JSON document.")] = None,
) -> None:
    """Measure the speed of engines and precisions, interleaved in one run, and the machine's peak.

    Example: wrn bench --what engine --what latency --engine openvino,onnxruntime

    Example: wrn bench -m wide_resnet50_2 --random-weights --precision f32,bf16,int8 --report speed.html

    Example: wrn bench --what end-to-end --data photos/ --profile --format json
    """
    from wideresnet.output.atomic import save_text
    from wideresnet.report import benchmark
    from wideresnet.tasks.bench.options import unused_settings
    from wideresnet.tasks.bench.run import bench as measure

    settings = options.settings()
    check_unused(context, options.random_weights, "with --random-weights, of which no file is read", *FACT_NAMES)
    if len(settings.engines) == 1:
        check_engine(settings.engines[0])          # of several, those that are missing are left out
    for reason, names in unused_settings(settings):
        hint = "use --rounds" if "iterations" in names else ""
        check_unused(context, True, reason, *(OPTIONS.get(name, name) for name in names), hint=hint)
    check_targets(report, output)
    result = run_with_bar(measure(options.open_models(files.facts()), settings), "measuring", "steps")
    document = benchmark.to_json(result)
    if report:
        save_text(report, benchmark.to_html(result))
    if output:
        save_text(output, json_text(document, indent=1) + "\n")
    say_skipped(result.skipped_files, settings.data)
    # The document is one line, so that scripts can read the last line.
    print_lines(json_text(document) if format == "json" else benchmark.to_text(result))
