"""``wrn bench``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from wideresnet.cli.checks import refuse_idle
from wideresnet.cli.options import MODEL, Format, TextOrJson
from wideresnet.cli.output import check_targets, open_bundle, run_with_bar, say_skipped
from wideresnet.cli.streams import print_lines
from wideresnet.errors import ConfigError
from wideresnet.report.escape import json_text

if TYPE_CHECKING:
    from wideresnet.bundle import Bundle
    from wideresnet.tasks.bench.options import Asked, BenchSettings, What

Models = Annotated[list[str] | None, typer.Option("--model", "-m", help="What to measure; may be repeated.")]
Measurements = Annotated[
    list[str] | None, typer.Option(help="engine, end-to-end, latency or startup; may be repeated.")
]
Images = Annotated[Path | None, typer.Option(help="Image files; without them, noise.")]
MadeUp = Annotated[
    bool, typer.Option("--random-weights", help="-m names an architecture; its weights are made up.")
]
Engines = Annotated[str, typer.Option(help="One or several: openvino,onnxruntime,pytorch.")]
Precisions = Annotated[
    str, typer.Option(help="One or several: f32,bf16,int8. Empty: the one the model is stored in.")
]
Batches = Annotated[str, typer.Option(help="Images at a time, one number or several: 1,8.")]
Streams = Annotated[str, typer.Option(help="Batches computed side by side; 0: the engine decides.")]
ThreadCounts = Annotated[str, typer.Option(help="0: every CPU this process may use.")]
Iterations = Annotated[
    int, typer.Option(min=0, help="Batches (end to end: images) a contestant; 0: --seconds decides.")
]
Seconds = Annotated[float, typer.Option(help="How long each contestant is measured.")]
Rounds = Annotated[int, typer.Option(min=1, help="Turns each contestant takes.")]
Shape = Annotated[str, typer.Option("--input-shape", "--resolution", help="Another one: 3,176,176 or 176.")]
Sync = Annotated[
    bool, typer.Option("--sync/--async", help="engine: one batch after the other, or several in flight.")
]
Baselines = Annotated[
    bool, typer.Option("--baselines", help="Beside us: torch's ways, ONNX Runtime, OpenVINO's own loop, a script.")
]
WithProfile = Annotated[bool, typer.Option("--profile", help="Where the time goes, by layer and by stage.")]
Tune = Annotated[
    bool, typer.Option("--tune", help="Find threads, streams and batch for this machine, and keep them.")
]
FastDecode = Annotated[
    bool, typer.Option("--fast-decode", help="end-to-end: also with large JPEGs decoded at a part of their size.")
]
Page = Annotated[Path | None, typer.Option(help="Write a page with plots (HTML).")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write the JSON document.")]


def bench(
    context: typer.Context,
    model: Models = None,
    what: Measurements = None,
    data: Images = None,
    random_weights: MadeUp = False,
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
    baselines: Baselines = False,
    fast_decode: FastDecode = False,
    profile: WithProfile = False,
    tune: Tune = False,
    format: Format = TextOrJson.table,
    report: Page = None,
    output: Output = None,
) -> None:
    """Measure speed side by side in one run: engines, precisions, baselines, the machine's own limit.

    Example: wrn bench --what engine --what latency --engine openvino,onnxruntime

    Example: wrn bench -m wide_resnet50_2 --random-weights --precision f32,bf16,int8 --baselines --report speed.html

    Example: wrn bench --what end-to-end --data photos/ --profile --format json
    """
    from wideresnet.output.atomic import save_text
    from wideresnet.report import benchmark
    from wideresnet.tasks.bench.options import BenchSettings
    from wideresnet.tasks.bench.run import bench as measure

    settings = BenchSettings(
        cast("tuple[What, ...]", tuple(what or ([] if tune else ["engine"]))), _words(engine),
        cast("tuple[Asked, ...]", _words(precision)), _numbers("--batch", batch), _numbers("--streams", streams),
        _numbers("--threads", threads), sync, rounds, seconds, iterations, data, baselines, profile, tune,
        fast_decode,
    )  # fmt: skip
    _check(context, settings)
    side = _side(input_shape)
    check_targets(report, output)
    bundles = [_open(name, settings, side, random_weights) for name in model or [MODEL]]
    measured = run_with_bar(measure(bundles, settings), "measuring", "steps")
    document = benchmark.to_json(measured)
    if report:
        save_text(report, benchmark.to_html(measured))
    if output:
        save_text(output, json_text(document, indent=1) + "\n")
    say_skipped([measured.skipped_files], data)
    # One line: scripts take the last one.
    print_lines(json_text(document) if format is TextOrJson.json else benchmark.to_text(measured))


def _check(context: typer.Context, settings: BenchSettings) -> None:
    """Refuse what none of the measurements asked for takes."""
    asked, own = set(settings.what), "openvino" in settings.engines
    fixed = "engine", "precision", "batch", "streams", "threads", "sync", "baselines", "profile", "fast_decode", "data"
    refuse_idle(context, not asked, "with --tune alone, which has a grid of its own", *fixed)
    single = not asked & {"engine", "end-to-end"}
    alone = f"on {' and '.join(sorted(asked))}: one image at a time"
    refuse_idle(context, single and settings.batches != (1,), alone, "batch")
    refuse_idle(context, single and settings.streams != (0,), alone, "streams")
    refuse_idle(context, "engine" not in asked, "without --what engine", "sync")
    refuse_idle(context, "end-to-end" not in asked, "without --what end-to-end", "fast_decode")
    refuse_idle(context, asked == {"startup"}, "on startup", "baselines")
    refuse_idle(context, asked == {"startup"} and not settings.tune, "on startup, once a round", "seconds")
    refuse_idle(context, settings.iterations > 0, "beside --iterations", "seconds")
    refuse_idle(context, not own, "without the engine openvino", "profile")
    refuse_idle(context, not (own or settings.baselines), "without the engine openvino", "streams")


def _open(name: str, settings: BenchSettings, side: int, random_weights: bool) -> Bundle:
    from wideresnet.tasks.bench.random_weights import random_model
    from wideresnet.tasks.load.load import ModelChoice

    return random_model(name, side, settings.data) if random_weights else open_bundle(ModelChoice(name), side)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _numbers(option: str, text: str) -> tuple[int, ...]:
    words = _words(text)
    if not words or not all(word.isdecimal() for word in words):
        raise ConfigError(f"{option} takes whole numbers with commas between, got {text!r}")
    return tuple(map(int, words))


def _side(shape: str) -> int:
    """``3,224,224``, ``[3,224,224]`` or ``224`` -> 224; nothing -> 0."""
    if not shape:
        return 0
    numbers = _numbers("--input-shape", shape.strip("[]"))
    if len(numbers) not in (1, 3) or (len(numbers) == 3 and (numbers[0] != 3 or numbers[1] != numbers[2])):
        raise ConfigError(f"--input-shape takes 3,SIDE,SIDE or SIDE, got {shape!r}", hint="for instance 3,176,176")
    return numbers[-1]
