"""``wrn compile``"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from wideresnet.cli.checks import given, refuse_idle
from wideresnet.cli.options import (
    ArchitectureName,
    Format,
    LabelsFile,
    Model,
    Resolution,
    Stored,
    TextOrJson,
    Weights,
)
from wideresnet.cli.output import (
    check_targets,
    download_bar,
    list_failures,
    list_notes,
    locate,
    open_bundle,
    print_json,
    run_with_bar,
    say_skipped,
)
from wideresnet.cli.streams import print_lines, say
from wideresnet.errors import ConfigError, DownloadError

if TYPE_CHECKING:
    from wideresnet.bundle import Bundle
    from wideresnet.records import Estimator, Preprocess
    from wideresnet.tasks.load.load import ModelChoice
    from wideresnet.tasks.quantize.compile import CompileSettings, GateKind


class Ranges(StrEnum):
    """How the ranges of activations are found."""

    mse = "mse"
    max = "max"
    mean = "mean"
    percentile = "percentile"


Config = Annotated[
    Path | None, typer.Argument(help="A build file (YAML): model, precision, images and output in one.")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="The bundle to write.")]
Precision = Annotated[Stored, typer.Option("--precision", help="int8 needs the extra 'compile'.")]
Calibration = Annotated[
    str, typer.Option(help="Images for int8: a folder, an archive; auto: those to train on of --data, or CIFAR's.")
]
Samples = Annotated[int, typer.Option(min=1, help="Calibration images, the same number of each class.")]
EstimatorName = Annotated[
    Ranges, typer.Option(help="Ranges of activations: least squared error, extremes, their mean, quantiles.")
]
Data = Annotated[
    str, typer.Option(help="Images for the gate, labelled or not; auto: CIFAR's test set, or spare calibration ones.")
]
Gate = Annotated[
    str, typer.Option(help="Top-1 that may be lost, in percentage points; none: no gate, and the card says so.")
]
MinAgreement = Annotated[
    float, typer.Option(min=0, max=100, help="The gate without labels: percent of answers that are fp32's.")
]
Searching = Annotated[
    bool, typer.Option("--search", help="Over the gate: try other settings, at last with some layers in fp32.")
]
Budget = Annotated[float, typer.Option(min=0, help="Minutes for --search; what was begun is finished.")]
Page = Annotated[Path | None, typer.Option("--report", help="Write a page (HTML), with each layer's sensitivity.")]


def compile(
    context: typer.Context,
    config: Config = None,
    output: Output = None,
    model: Model = None,
    precision: Precision = Stored.int8,
    calibration: Calibration = "auto",
    samples: Samples = 300,
    estimator: EstimatorName = Ranges.mse,
    data: Data = "auto",
    gate: Gate = "0.2",
    min_agreement: MinAgreement = 95.0,
    search: Searching = False,
    budget: Budget = 30.0,
    report: Page = None,
    weights: Weights = None,
    architecture: ArchitectureName = None,
    labels: LabelsFile = None,
    resolution: Resolution = 0,
    format: Format = TextOrJson.table,
) -> None:
    """Store a model in another precision, verify it, and measure what its accuracy lost.

    With fewer images than --samples takes, calibration and gate share them: two thirds and one. Exit code 1: it was
    written, but lost more than the gate allows, or an image could not be read. A search that was stopped goes on when
    the same command is given again; its notes are in OUTPUT.search until a model passes.

    Example: wrn compile -m wide_resnet50_2.tv_in1k --calibration train/ --data val/ -o wrn50-int8/

    Example: wrn compile --precision int8 -o wrn-int8/ --gate 0.05 --search --budget 20 --report int8.html

    Example: wrn compile build.yaml --data val/
    """
    from wideresnet.datasets.shards import check_parquet_extra
    from wideresnet.records import QuantiseSettings
    from wideresnet.tasks.load.load import ModelChoice
    from wideresnet.tasks.quantize.compile import CompileSettings

    limit = _limit(gate)
    check_targets(report)
    job = _Job(model, precision.value, calibration, samples, output, estimator.value)
    job = _from_file(context, config, job) if config else job
    compares, kinds = job.int8 or data != "auto", {"gate": "accuracy", "min_agreement": "agreement"}
    refuse_idle(context, not job.int8, f"with {job.precision}", "calibration", "samples", "estimator")
    refuse_idle(context, not search, "without --search", "budget")
    refuse_idle(context, limit is None, "with --gate none", "min_agreement")
    refuse_idle(context, not compares and limit is not None, "without --data to judge by", *kinds)
    wanted = [kind for name, kind in kinds.items() if given(context, name)]
    check_parquet_extra([Path(job.calibration), Path(data)])
    bundle = _open(ModelChoice(job.model, weights, architecture, labels), job, resolution)
    images, judging = _images(job.calibration, data, bundle) if job.int8 else (None, _given(data))
    settings = CompileSettings(
        precision=job.precision,
        calibration=images,
        data=judging,
        gate=limit,
        agreement=min_agreement / 100,
        kind=cast("GateKind", wanted[0]) if limit is not None and len(wanted) == 1 else None,
        quantise=QuantiseSettings(job.samples, job.estimator),
        search=budget if search else None,
        layers=report is not None,
    )
    _run(bundle, settings, job, report, format)


@dataclass(frozen=True)
class _Job:
    """What is asked for, by options or by a build file."""

    model: str | None
    precision: Literal["fp32", "fp16", "int8"]
    calibration: str
    samples: int
    output: Path | None
    estimator: Estimator
    preprocess: Preprocess | None = None

    @property
    def int8(self) -> bool:
        """Whether images are needed."""
        return self.precision == "int8"


def _from_file(context: typer.Context, config: Path, options: _Job) -> _Job:
    """What the file says; an output named by option counts more, other options where the file says nothing."""
    from wideresnet.tasks.zoo.buildfile import read_build_file

    file = read_build_file(config)
    said = {
        "model": True, "precision": True, "estimator": file.estimator(), "resolution": file.preprocess(),
        "calibration": file.dataset, "samples": file.dataset,
    }  # fmt: skip
    refuse_idle(context, True, f"beside {config}, which says it", *(name for name, value in said.items() if value))
    for key in file.ignored():
        say(f"{config}: {key} has no meaning here and is ignored", err=True)
    job = replace(
        options,
        model=file.frontend.checkpoint,
        precision=file.backend.dtype,
        output=options.output or file.target(),
        estimator=file.estimator() or options.estimator,
        preprocess=file.preprocess(),
    )
    if file.dataset is None:
        return job
    return replace(job, calibration=str(file.dataset.path), samples=file.dataset.sampler.get_data_num)


def _open(choice: ModelChoice, job: _Job, resolution: int) -> Bundle:
    from wideresnet.bundle import check_target
    from wideresnet.bundle.derive import with_preprocess

    if job.output is None:
        raise ConfigError("no folder to write", hint="name one with -o")
    check_target(job.output)
    bundle = open_bundle(choice)                   # its graph is written anew in any case: once is enough
    before = bundle.card.preprocess
    asked = replace(job.preprocess, alpha=before.alpha) if job.preprocess else before.at(resolution)
    return with_preprocess(bundle, asked)


def _run(bundle: Bundle, settings: CompileSettings, job: _Job, report: Path | None, format: TextOrJson) -> None:
    from wideresnet.output.atomic import save_text
    from wideresnet.report import compilation
    from wideresnet.tasks.quantize.compile import compile_model

    assert job.output is not None
    done = run_with_bar(compile_model(bundle, settings, job.output))
    if report:
        save_text(report, compilation.to_html(done))
    if format is TextOrJson.json:
        print_json(compilation.to_json(done))
    else:
        print_lines(compilation.to_text(done))
    say_skipped([done.skipped], *filter(None, dict.fromkeys((settings.calibration, settings.data))))
    list_notes(done.notes)
    list_notes(done.gate.warnings if done.gate else (), "warning")
    list_failures(done.failures)
    raise typer.Exit(1 if done.failures or (done.gate and not done.gate.passed) else 0)


def _limit(gate: str) -> float | None:
    """``0.2`` points are 0.002; ``none`` is None."""
    if gate == "none":
        return None
    try:
        return float(gate) / 100
    except ValueError:
        raise ConfigError(f"--gate takes percentage points or none, got {gate!r}") from None


def _given(data: str) -> Path | None:
    return locate(Path(data)) if data != "auto" else None


def _images(calibration: str, data: str, bundle: Bundle) -> tuple[Path | None, Path | None]:
    """Images to calibrate with and to judge by. "auto": those of the other, where it holds both sets, else CIFAR's.

    Where CIFAR's cannot be had to judge by, none: some of those that calibrate do.
    """
    from wideresnet.tasks.load.cifar_archive import archive_of
    from wideresnet.tasks.quantize.calibration_data import holds_both_sets

    given = _given(calibration), _given(data)
    other = next((path for path in given if path and holds_both_sets(path, bundle.labels)), None)
    if other is None and None in given:
        with download_bar(bundle.card.labels_name) as show:
            instead = "name your own copy with --calibration FILE and --data FILE"
            try:
                other = archive_of(bundle.card.labels_name, show, instead=instead)
            except DownloadError as error:
                if given[0] is None:
                    raise
                list_notes([f"{error.message}: images of --calibration judge instead"])
    return given[0] or other, given[1] or other
