"""``wrn compile``"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from wideresnet.cli.options import MODEL, ArchitectureName, Format, LabelsFile, Model, Stored, TextOrJson, Weights
from wideresnet.cli.output import download_bar, locate, open_bundle, print_json, progress
from wideresnet.errors import ConfigError

if TYPE_CHECKING:
    from wideresnet.bundle import Bundle
    from wideresnet.records import CompileReport, Preprocess
    from wideresnet.tasks.compile import CompileSettings


def compile(
    config: Annotated[
        Path | None, typer.Argument(help="A build file (YAML): model, precision, pictures and output in one.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The bundle to write.")] = None,
    model: Model = MODEL,
    precision: Annotated[Stored, typer.Option("--precision", help="int8 needs the extra 'compile'.")] = Stored.int8,
    calibration: Annotated[
        str, typer.Option(help="Pictures for int8: a folder, an archive; auto: what a CIFAR network was trained on.")
    ] = "auto",
    samples: Annotated[int, typer.Option(min=1, help="Calibration pictures, the same number of each class.")] = 300,
    data: Annotated[str, typer.Option(help="Labelled pictures for the gate; auto: CIFAR's test set.")] = "auto",
    gate: Annotated[str, typer.Option(help="Top-1 that may be lost, in percentage points, or none.")] = "0.2",
    weights: Weights = None,
    architecture: ArchitectureName = None,
    labels: LabelsFile = None,
    format: Format = TextOrJson.table,
) -> None:
    """Store a model in another precision, verify it, and measure what its accuracy lost.

    Exit code 1: it was written, but lost more than the gate allows.

    Example: wrn compile --precision int8 -o wrn-int8/

    Example: wrn compile -m wide_resnet50_2.tv_in1k --calibration train/ --data val/ -o wrn50-int8/

    Example: wrn compile build.yaml --data val/
    """
    from wideresnet.tasks.compile import CompileSettings, seen_as
    from wideresnet.tasks.load import ModelChoice

    job = _Job(model, precision.value, calibration, samples, output)
    if config is not None:
        job = _from_file(config, output)
    if job.output is None:
        raise ConfigError("no folder to write", hint="name one with -o")
    limit = _limit(gate)
    bundle = open_bundle(ModelChoice(job.model, weights, architecture, labels))
    if job.preprocess:
        bundle = seen_as(bundle, job.preprocess)
    int8 = job.precision == "int8"
    pictures = _pictures(job.calibration, bundle) if int8 else None
    labelled = _pictures(data, bundle) if int8 or data != "auto" else None
    report = _run(bundle, CompileSettings(job.precision, pictures, job.samples, labelled, limit), job.output, format)
    raise typer.Exit(1 if report.gate and not report.gate.passed else 0)


@dataclass(frozen=True)
class _Job:
    """What is asked for, by options or by a build file."""

    model: str
    precision: Literal["fp32", "fp16", "int8"]
    calibration: str
    samples: int
    output: Path | None
    preprocess: Preprocess | None = None


def _from_file(config: Path, output: Path | None) -> _Job:
    from wideresnet.tasks.buildfile import read_build_file

    file = read_build_file(config)
    for key in file.ignored():
        typer.echo(f"{config}: {key} has no meaning here and is ignored", err=True)
    pictures, samples = ("auto", 300)
    if file.dataset:
        pictures, samples = str(file.dataset.path), file.dataset.sampler.get_data_num
    return _Job(file.model(), file.backend.dtype, pictures, samples, output or file.target(), file.preprocess())


def _run(bundle: Bundle, settings: CompileSettings, output: Path, format: TextOrJson) -> CompileReport:
    from wideresnet.records import CompileReport
    from wideresnet.report import document, text
    from wideresnet.tasks.compile import compile_model

    with progress("pictures") as bars:
        task = bars.add_task("comparing with fp32", total=None)
        for event in compile_model(bundle, settings, output):
            if isinstance(event, CompileReport):
                report = event
            else:
                bars.update(task, completed=event.done, total=event.total)
    if format is TextOrJson.json:
        print_json(document.of_compilation(report))
    else:
        typer.echo(text.of_compilation(report))
    return report


def _limit(gate: str) -> float | None:
    """``0.2`` points are 0.002; ``none`` is None."""
    if gate == "none":
        return None
    try:
        return float(gate) / 100
    except ValueError:
        raise ConfigError(f"--gate takes percentage points or none, got {gate!r}") from None


def _pictures(data: str, bundle: Bundle) -> Path | None:
    """A path, or with "auto" the CIFAR archive of the network's classes."""
    from wideresnet.tasks.archive import archive_of

    if data != "auto":
        return locate(Path(data))
    with download_bar(bundle.card.labels_name) as show:
        return archive_of(bundle.card.labels_name, show)
