"""``wrn compile``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from wideresnet.cli.checks import check_unused, is_set
from wideresnet.cli.compile_job import (
    CompileJob,
    find_images,
    locate_images,
    open_float_bundle,
    parse_gate,
    read_build_job,
)
from wideresnet.cli.options import (
    ArchitectureName,
    ClassNames,
    Format,
    Model,
    Resolution,
    TextOrJson,
    Weights,
)
from wideresnet.cli.output import check_targets, list_failures, list_notes, print_json, say_skipped
from wideresnet.cli.progress import run_with_bar
from wideresnet.cli.streams import print_lines

if TYPE_CHECKING:
    from wideresnet.bundle import Bundle
    from wideresnet.tasks.quantize.compile import CompileSettings, GateKind


Stored = Literal["fp32", "fp16", "int8"]
Ranges = Literal["mse", "max", "mean", "percentile"]


Config = Annotated[
    Path | None, typer.Argument(help="A build file (YAML) with model, precision, images and output.")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="The bundle to write.")]
Precision = Annotated[Stored, typer.Option("--precision", help="int8 needs the extra 'compile'.")]
Calibration = Annotated[
    str, typer.Option(help="Images for int8: a folder or an archive; auto: the training split of --data, or CIFAR's.")
]
Samples = Annotated[int, typer.Option(min=1, help="The number of calibration images, the same of each class.")]
EstimatorName = Annotated[
    Ranges, typer.Option(help="Ranges of activations: least squared error, extremes, their mean, quantiles.")
]
Data = Annotated[
    str, typer.Option(help="Images for the gate, labelled or not; auto: CIFAR's test set, or spare calibration images.")
]
Gate = Annotated[
    str, typer.Option(help="The accepted loss of top-1 in percentage points; none: no gate, as the card then states.")
]
MinAgreement = Annotated[
    float, typer.Option(min=0, max=100, help="The gate without labels: the percentage of images classified as by fp32.")
]
Searching = Annotated[
    bool, typer.Option("--search", help="If the gate fails, try other settings, finally with some layers in fp32.")
]
Budget = Annotated[float, typer.Option(min=0, help="Minutes for --search; a trial that has begun is finished.")]
Page = Annotated[Path | None, typer.Option("--report", help="Write a page (HTML) with the sensitivity of each layer.")]


def compile(
    context: typer.Context,
    config: Config = None,
    output: Output = None,
    model: Model = None,
    precision: Precision = "int8",
    calibration: Calibration = "auto",
    samples: Samples = 300,
    estimator: EstimatorName = "mse",
    data: Data = "auto",
    gate: Gate = "0.2",
    min_agreement: MinAgreement = 95.0,
    search: Searching = False,
    budget: Budget = 30.0,
    report: Page = None,
    weights: Weights = None,
    architecture: ArchitectureName = None,
    labels: ClassNames = None,
    resolution: Resolution = 0,
    format: Format = "table",
) -> None:
    """Store a model in another precision, verify it, and measure the loss of accuracy.

    If there are fewer images than --samples, two thirds calibrate and one third is for the gate. Exit code 1: the
    bundle was written, but lost more than the gate allows, or an image could not be read. The same command continues
    an interrupted search; its state is in OUTPUT.search until a model passes.

    Example: wrn compile -m wide_resnet50_2.tv_in1k --calibration train/ --data val/ -o wrn50-int8/

    Example: wrn compile --precision int8 -o wrn-int8/ --gate 0.05 --search --budget 20 --report int8.html

    Example: wrn compile build.yaml --data val/
    """
    from wideresnet.datasets.shards import check_parquet_extra
    from wideresnet.records import QuantiseSettings
    from wideresnet.tasks.load.load import ModelChoice
    from wideresnet.tasks.quantize.compile import CompileSettings

    limit = parse_gate(gate)
    check_targets(report)
    job = CompileJob(model, precision, calibration, samples, output, estimator)
    job = read_build_job(context, config, job) if config else job
    compares, kinds = job.int8 or data != "auto", {"gate": "accuracy", "min_agreement": "agreement"}
    check_unused(context, not job.int8, f"with {job.precision}", "calibration", "samples", "estimator")
    check_unused(context, not search, "without --search", "budget")
    check_unused(context, limit is None, "with --gate none", "min_agreement")
    check_unused(context, not compares and limit is not None, "without --data to judge by", *kinds)
    gates = [kind for name, kind in kinds.items() if is_set(context, name)]
    check_parquet_extra([Path(job.calibration), Path(data)])
    bundle = open_float_bundle(ModelChoice(job.model, weights, architecture, labels), job, resolution)
    images, validation = find_images(job.calibration, data, bundle) if job.int8 else (None, locate_images(data))
    settings = CompileSettings(
        precision=job.precision,
        calibration=images,
        data=validation,
        gate=limit,
        agreement=min_agreement / 100,
        kind=cast("GateKind", gates[0]) if limit is not None and len(gates) == 1 else None,
        quantise=QuantiseSettings(job.samples, job.estimator),
        search=budget if search else None,
        layers=report is not None,
    )
    _run(bundle, settings, job, report, format)


def _run(bundle: Bundle, settings: CompileSettings, job: CompileJob, report: Path | None, format: TextOrJson) -> None:
    from wideresnet.output.atomic import save_text
    from wideresnet.report import compilation
    from wideresnet.tasks.quantize.compile import compile_model

    assert job.output is not None
    done = run_with_bar(compile_model(bundle, settings, job.output))
    if report:
        save_text(report, compilation.to_html(done))
    if format == "json":
        print_json(compilation.to_json(done))
    else:
        print_lines(compilation.to_text(done))
    say_skipped([done.skipped], *filter(None, dict.fromkeys((settings.calibration, settings.data))))
    list_notes(done.notes)
    list_notes(done.gate.warnings if done.gate else (), "warning")
    list_failures(done.failures)
    raise typer.Exit(1 if done.failures or (done.gate and not done.gate.passed) else 0)
