"""``wrn compile``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from wideresnet.cli.checks import check_percent, check_unused, is_set
from wideresnet.cli.compile_job import choose_images, locate_images, open_float_bundle, read_build_job
from wideresnet.cli.compile_options import BundleOptions, GateOptions
from wideresnet.cli.groups import WeightsOptions, with_groups
from wideresnet.cli.options import ClassNames, Format, InferenceDevice, Resolution, TextOrJson
from wideresnet.cli.output import check_targets, list_failures, list_notes, print_record, say_next, say_skipped
from wideresnet.cli.progress import run_with_bar
from wideresnet.cli.streams import say
from wideresnet.errors import check_extra
from wideresnet.precision import precision_name

if TYPE_CHECKING:
    from wideresnet.bundle import Bundle
    from wideresnet.records import GateReport
    from wideresnet.tasks.quantize.compile import CompileSettings, GateKind

Page = Annotated[Path | None, typer.Option("--report", help="Write a page (HTML) with the sensitivity of each layer.")]


@with_groups
def compile(
    context: typer.Context,
    options: BundleOptions,
    gates: GateOptions,
    files: WeightsOptions,
    report: Page = None,
    labels: ClassNames = None,
    resolution: Resolution = 0,
    device: InferenceDevice = "cpu",
    format: Format = "table",
) -> None:
    """Store a model in another precision, verify it, and measure the loss of accuracy.

    If there are fewer images than --samples, two thirds calibrate and one third is for the gate. Exit code 1: the
    bundle was written, but lost more than the gate allows, the images are too few to tell, or an image could not be
    read. The same command continues an interrupted search; its state is in OUTPUT.search until a model passes.

    Example: wrn compile -m wide_resnet50_2.tv_in1k --calibration train/ --data val/ -o wrn50-int8/

    Example: wrn compile --precision int8 -o wrn-int8/ --gate 0.05 --search --budget 20 --report int8.html

    Example: wrn compile build.yaml --data val/
    """
    from wideresnet.datasets.shards import check_parquet_extra
    from wideresnet.records import QuantiseSettings
    from wideresnet.tasks.quantize.compile import CompileSettings

    limit = gates.limit()
    check_percent("--min-agreement", gates.min_agreement)
    check_targets(report)
    job, file = read_build_job(context, options)
    compares, kinds = job.int8 or gates.data != "auto", {"gate": "accuracy", "min_agreement": "agreement"}
    check_unused(context, not job.int8, f"with {precision_name(job.precision)}", "calibration", "samples", "estimator")
    check_unused(context, not gates.search, "without --search", "budget")
    check_unused(context, limit is None, "with --gate none", "min_agreement")
    check_unused(context, not compares and limit is not None, "without --data DIR: auto is for int8 alone", *kinds)
    requested = [kind for name, kind in kinds.items() if is_set(context, name)]
    if job.int8:
        check_extra("int8", "compile", "nncf")
        check_extra("int8", "compile", "onnxruntime")
    check_parquet_extra([Path(job.calibration), Path(gates.data)])
    bundle = open_float_bundle(files.choice(job.model, labels), job.output, file, resolution)
    paths = choose_images(job.calibration, gates.data, bundle) if job.int8 else (None, locate_images(gates.data))
    settings = CompileSettings(
        precision=job.precision,
        calibration=paths[0],
        data=paths[1],
        gate=limit,
        agreement=gates.min_agreement / 100,
        kind=cast("GateKind", requested[0]) if limit is not None and len(requested) == 1 else None,
        quantise=QuantiseSettings(job.samples, job.estimator),
        search=gates.budget if gates.search else None,
        layers=report is not None,
    )
    assert job.output is not None
    _run(bundle, settings, job.output, report, format)


def _run(bundle: Bundle, settings: CompileSettings, output: Path, report: Path | None, format: TextOrJson) -> None:
    from wideresnet.machine import machine_facts
    from wideresnet.output.atomic import save_text
    from wideresnet.report import compilation
    from wideresnet.tasks.calibrate.automatic import compile_calibrated

    done = run_with_bar(compile_calibrated(bundle, settings, output), "compiling")
    if report:
        save_text(report, compilation.to_html(done, bundle.facts | machine_facts()))
    print_record(done, compilation.to_json, compilation.to_text, format)
    list_notes(done.notes)
    say_skipped(done.skipped, *filter(None, dict.fromkeys((settings.calibration, settings.data))))
    list_notes(done.gate.warnings if done.gate else (), "warning")
    list_notes(compilation.advice(done.gate))
    list_failures(done.failures)
    if format == "table":
        _say_next(settings, output, done.gate)
    raise typer.Exit(1 if done.failures or (done.gate and not done.gate.passed) else 0)


def _say_next(settings: CompileSettings, output: Path, gate: GateReport | None) -> None:
    """Name the commands that use a bundle, or if it failed its gate the search for a better one."""
    from wideresnet.machine import command_line

    if gate and gate.verdict == "failed":
        if settings.precision == "int8" and settings.search is None:
            say(f"next: {command_line()} --search", err=True)
        return
    labelled = gate is not None and gate.kind == "accuracy" and settings.data is not None
    check = [("evaluate", settings.data or "", "-m", output)] if labelled else []
    say_next(*check, ("bench", "-m", output), ("serve", "-m", output))
