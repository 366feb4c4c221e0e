"""Settings of ``wrn compile`` from options and a build file, and the images that they name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from wideresnet.cli.checks import check_unused
from wideresnet.cli.output import hold_bundle, list_notes, locate, open_bundle
from wideresnet.cli.progress import download_bar
from wideresnet.cli.streams import say
from wideresnet.errors import ConfigError, DownloadError

if TYPE_CHECKING:
    from wideresnet.bundle import Bundle
    from wideresnet.cli.compile_options import BundleOptions
    from wideresnet.tasks.load.load import ModelChoice
    from wideresnet.tasks.zoo.buildfile import BuildFile


def read_build_job(context: typer.Context, options: BundleOptions) -> tuple[BundleOptions, BuildFile | None]:
    """Return the settings, and the build file if there is one.

    --output takes precedence over the file; other options fill in settings that it lacks.
    """
    if (config := options.config) is None:
        return options, None
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
    )
    if file.dataset:
        job = replace(job, calibration=str(file.dataset.path), samples=file.dataset.sampler.get_data_num)
    return job, file


def open_float_bundle(
    choice: ModelChoice, output: Path | None, file: BuildFile | None, resolution: int
) -> Bundle:
    """Load the model with the preprocessing of ``file``, else its own at ``resolution``. Check ``output``."""
    from wideresnet.bundle.derive import with_preprocess

    if output is None:
        raise ConfigError("no folder to write", hint="name one with -o")
    hold_bundle(output, choice.model, choice.weights)
    bundle = open_bundle(choice)                   # without --resolution: the graph is rewritten only once
    spec = bundle.card.preprocess
    spec = (file and file.preprocess(spec)) or spec.at(resolution)
    if file:
        file.check_shape(spec.crop)
    return with_preprocess(bundle, spec)


def locate_images(data: str) -> Path | None:
    """Return the path of images; None for "auto"."""
    return locate(Path(data)) if data != "auto" else None


def choose_images(calibration: str, data: str, bundle: Bundle) -> tuple[Path | None, Path | None]:
    """Return the calibration images and the validation images of the gate.

    "auto" is the data set of the other option, if that has both splits, else those of the run folder that the bundle
    is in, else CIFAR. If CIFAR cannot be downloaded for validation, the second is None: the gate then takes some of the
    calibration images.
    """
    from wideresnet.tasks.evaluate.training_images import run_indices
    from wideresnet.tasks.load.cifar_archive import archive_of
    from wideresnet.tasks.quantize.calibration_data import holds_both_sets

    paths = locate_images(calibration), locate_images(data)
    default = next((path for path in paths if path and holds_both_sets(path, bundle.labels)), None)
    if default is None and None in paths and (own := run_indices(bundle)):
        uses = zip(("calibration", "gate"), paths, own, strict=True)
        list_notes(f"images for {use}: {file}, of the run of the model" for use, path, file in uses if not path)
        return paths[0] or own[0], paths[1] or own[1]
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
