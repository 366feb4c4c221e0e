"""Settings of ``wrn compile`` from options and a build file, and the images that they name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from wideresnet.cli.checks import check_unused
from wideresnet.cli.output import list_notes, locate, open_bundle
from wideresnet.cli.progress import download_bar
from wideresnet.cli.streams import say
from wideresnet.errors import ConfigError, DownloadError

if TYPE_CHECKING:
    from wideresnet.bundle import Bundle
    from wideresnet.records import Estimator, Preprocess
    from wideresnet.tasks.load.load import ModelChoice


@dataclass(frozen=True)
class CompileJob:
    """The settings that options and a build file share."""

    model: str | None
    precision: Literal["fp32", "fp16", "int8"]
    calibration: str
    samples: int
    output: Path | None
    estimator: Estimator
    preprocess: Preprocess | None = None

    @property
    def int8(self) -> bool:
        """True if calibration images are needed."""
        return self.precision == "int8"


def read_build_job(context: typer.Context, config: Path, options: CompileJob) -> CompileJob:
    """Return the settings of the file; --output takes precedence, other options fill what the file leaves out."""
    from wideresnet.tasks.zoo.buildfile import read_build_file

    file = read_build_file(config)
    stated = {
        "model": True, "precision": True, "estimator": file.estimator(), "resolution": file.preprocess(),
        "calibration": file.dataset, "samples": file.dataset,
    }  # fmt: skip
    check_unused(context, True, f"beside {config}, which sets it", *(name for name, value in stated.items() if value))
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


def open_float_bundle(choice: ModelChoice, job: CompileJob, resolution: int) -> Bundle:
    """Load the model with the preprocessing of the job; check the target folder."""
    from wideresnet.bundle import check_target
    from wideresnet.bundle.derive import with_preprocess

    if job.output is None:
        raise ConfigError("no folder to write", hint="name one with -o")
    check_target(job.output)
    bundle = open_bundle(choice)                   # without --resolution: the graph is rewritten only once
    spec = bundle.card.preprocess
    return with_preprocess(
        bundle, replace(job.preprocess, alpha=spec.alpha) if job.preprocess else spec.at(resolution)
    )


def parse_gate(gate: str) -> float | None:
    """Return percentage points as a fraction: "0.2" is 0.002; "none" is None."""
    if gate == "none":
        return None
    try:
        return float(gate) / 100
    except ValueError:
        raise ConfigError(f"--gate takes percentage points or none, got {gate!r}") from None


def locate_images(data: str) -> Path | None:
    """Return the path of images; None for "auto"."""
    return locate(Path(data)) if data != "auto" else None


def find_images(calibration: str, data: str, bundle: Bundle) -> tuple[Path | None, Path | None]:
    """Return the calibration images and the validation images of the gate.

    "auto" is the data set of the other option, if that has both splits, else CIFAR. If CIFAR cannot be downloaded for
    validation, the second is None: the gate then takes some of the calibration images.
    """
    from wideresnet.tasks.load.cifar_archive import archive_of
    from wideresnet.tasks.quantize.calibration_data import holds_both_sets

    paths = locate_images(calibration), locate_images(data)
    default = next((path for path in paths if path and holds_both_sets(path, bundle.labels)), None)
    if default is None and None in paths:
        with download_bar(bundle.card.labels_name) as show:
            instead = "name your own copy with --calibration FILE and --data FILE"
            try:
                default = archive_of(bundle.card.labels_name, show, instead=instead)
            except DownloadError as error:
                if paths[0] is None:
                    raise
                list_notes([f"{error.message}: the gate uses images of --calibration instead"])
    return paths[0] or default, paths[1] or default
