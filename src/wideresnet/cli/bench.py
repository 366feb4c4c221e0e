"""``wrn bench``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from wideresnet.cli.checks import check_unused
from wideresnet.cli.options import MODEL, Format
from wideresnet.cli.output import check_targets, open_bundle, say_skipped
from wideresnet.cli.progress import run_with_bar
from wideresnet.cli.streams import print_lines
from wideresnet.errors import ConfigError
from wideresnet.report.escape import json_text

if TYPE_CHECKING:
    from wideresnet.bundle import Bundle
    from wideresnet.tasks.bench.options import BenchPrecision, BenchSettings, Measurement

Models = Annotated[list[str] | None, typer.Option("--model", "-m", help="Model to measure; may be repeated.")]
Measurements = Annotated[
    list[str] | None, typer.Option("--what", help="engine, end-to-end, latency or startup; may be repeated.")
]
Images = Annotated[Path | None, typer.Option(help="Folder of image files; without it, noise.")]
RandomWeights = Annotated[
    bool, typer.Option("--random-weights", help="-m is an architecture, measured with random weights.")
]
Engines = Annotated[str, typer.Option(help="One or several: openvino,onnxruntime,pytorch.")]
Precisions = Annotated[
    str, typer.Option(help="One or several: f32,bf16,int8. Empty: the precision that the model is stored in.")
]
Batches = Annotated[str, typer.Option(help="Images per batch, one number or several: 1,8.")]
Streams = Annotated[str, typer.Option(help="Batches computed in parallel; 0: the engine decides.")]
ThreadCounts = Annotated[str, typer.Option(help="CPU threads; 0: all CPUs that the process may use.")]
Iterations = Annotated[
    int, typer.Option(min=0, help="Batches (end to end: images) per candidate; 0: --seconds applies.")
]
Seconds = Annotated[float, typer.Option(help="Seconds of measurement per candidate.")]
Rounds = Annotated[int, typer.Option(min=1, help="Turns per candidate.")]
Shape = Annotated[str, typer.Option("--input-shape", "--resolution", help="Another input size: 3,176,176 or 176.")]
Sync = Annotated[
    bool, typer.Option("--sync/--async", help="engine: one batch after another, or several in flight.")
]
WithProfile = Annotated[bool, typer.Option("--profile", help="Report the time of each layer and stage.")]
Tune = Annotated[
    bool, typer.Option("--tune", help="Find and store the fastest threads, streams and batch for this machine.")
]
FastDecode = Annotated[
    bool, typer.Option("--fast-decode", help="end-to-end: also with large JPEGs decoded at a fraction of their size.")
]
Page = Annotated[Path | None, typer.Option(help="Write an HTML page with plots.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write the JSON document.")]


def bench(
    context: typer.Context,
    model: Models = None,
    measurements: Measurements = None,
    data: Images = None,
    random_weights: RandomWeights = False,
    engine: Engines = "openvino",
    precision: Precisions = "",
    batch: Batches = "8",
    streams: Streams = "0",
    threads: ThreadCounts = "0",
    iterations: Iterations = 0,
    seconds: Seconds = 10.0,
    rounds: Rounds = 5,
    input_shape: Shape = "",
    sync: Sync = False,
    fast_decode: FastDecode = False,
    profile: WithProfile = False,
    tune: Tune = False,
    format: Format = "table",
    report: Page = None,
    output: Output = None,
) -> None:
    """Measure speed: engines and precisions in turns in one run, beside the peak of the machine.

    Example: wrn bench --what engine --what latency --engine openvino,onnxruntime

    Example: wrn bench -m wide_resnet50_2 --random-weights --precision f32,bf16,int8 --report speed.html

    Example: wrn bench --what end-to-end --data photos/ --profile --format json
    """
    from wideresnet.output.atomic import save_text
    from wideresnet.report import benchmark
    from wideresnet.tasks.bench.options import BenchSettings
    from wideresnet.tasks.bench.run import bench as measure

    settings = BenchSettings(
        cast("tuple[Measurement, ...]", tuple(measurements or ([] if tune else ["engine"]))), _split(engine),
        cast("tuple[BenchPrecision, ...]", _split(precision)), _numbers("--batch", batch),
        _numbers("--streams", streams), _numbers("--threads", threads), sync, rounds, seconds, iterations, data,
        profile, tune, fast_decode,
    )  # fmt: skip
    _check(context, settings)
    side = _side(input_shape)
    check_targets(report, output)
    bundles = [_open(name, settings, side, random_weights) for name in model or [MODEL]]
    result = run_with_bar(measure(bundles, settings), "measuring", "steps")
    document = benchmark.to_json(result)
    if report:
        save_text(report, benchmark.to_html(result))
    if output:
        save_text(output, json_text(document, indent=1) + "\n")
    say_skipped([result.skipped_files], data)
    # The document is one line, so that scripts can read the last line.
    print_lines(json_text(document) if format == "json" else benchmark.to_text(result))


def _check(context: typer.Context, settings: BenchSettings) -> None:
    """Raise ConfigError for options that apply to none of the measurements."""
    selected, openvino = set(settings.measurements), "openvino" in settings.engines
    fixed = "engine", "precision", "batch", "streams", "threads", "sync", "profile", "fast_decode", "data"
    check_unused(context, not selected, "with --tune alone, which has a grid of its own", *fixed)
    single = not selected & {"engine", "end-to-end"}
    reason = f"on {' and '.join(sorted(selected))}: one image at a time"
    check_unused(context, single and settings.batches != (1,), reason, "batch")
    check_unused(context, single and settings.streams != (0,), reason, "streams")
    check_unused(context, "engine" not in selected, "without --what engine", "sync")
    check_unused(context, "end-to-end" not in selected, "without --what end-to-end", "fast_decode")
    check_unused(context, selected == {"startup"} and not settings.tune, "on startup, once a round", "seconds")
    check_unused(context, settings.iterations > 0, "beside --iterations", "seconds")
    check_unused(context, not openvino, "without the engine openvino", "profile", "streams")


def _open(name: str, settings: BenchSettings, side: int, random_weights: bool) -> Bundle:
    from wideresnet.tasks.bench.random_weights import random_model
    from wideresnet.tasks.load.load import ModelChoice

    return random_model(name, side, settings.data) if random_weights else open_bundle(ModelChoice(name), side)


def _split(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _numbers(option: str, text: str) -> tuple[int, ...]:
    numbers = _split(text)
    if not numbers or not all(number.isdecimal() for number in numbers):
        raise ConfigError(f"{option} takes whole numbers with commas between, got {text!r}")
    return tuple(map(int, numbers))


def _side(shape: str) -> int:
    """Return the side of ``3,224,224``, ``[3,224,224]`` or ``224``; 0 for an empty text."""
    if not shape:
        return 0
    numbers = _numbers("--input-shape", shape.strip("[]"))
    if len(numbers) not in (1, 3) or (len(numbers) == 3 and (numbers[0] != 3 or numbers[1] != numbers[2])):
        raise ConfigError(f"--input-shape takes 3,SIDE,SIDE or SIDE, got {shape!r}", hint="for instance 3,176,176")
    return numbers[-1]
