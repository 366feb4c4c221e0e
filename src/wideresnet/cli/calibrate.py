"""``wrn calibrate``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from wideresnet.cli.groups import WeightsOptions, with_groups
from wideresnet.cli.options import ClassNames, Format, Model, Page
from wideresnet.cli.output import check_targets, hold_bundle, list_problems, locate, open_bundle, print_record, say_next
from wideresnet.cli.progress import run_with_bar

Data = Annotated[Path, typer.Option("--data", help="Labelled images that the network was not trained on.")]
Test = Annotated[Path | None, typer.Option("--test", help="Labelled images to measure with. Default: half of --data.")]
Bank = Annotated[
    Path | None,
    typer.Option("--bank", help="Training images, for comparison. Default: those of the run, or beside --data."),
]
Sets = Annotated[
    Literal["lac", "raps"], typer.Option("--sets", help="lac: the smallest sets; raps: larger ones for harder images.")
]
PerClass = Annotated[
    bool, typer.Option("--per-class", help="Guarantee the coverage of each class that has about 400 images or more.")
]
Method = Annotated[
    Literal["auto", "knn", "vim", "mahalanobis", "energy", "max-logit", "max-softmax"],
    typer.Option("--unknown-method", help="The score of unknown images; auto: vim, or knn for few images."),
]
Refuse = Annotated[
    float, typer.Option("--refuse", min=0.1, max=50, help="The percentage of genuine images to call unknown.")
]


@with_groups
def calibrate(
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write.")],
    options: WeightsOptions,
    model: Model = None,
    test: Test = None,
    bank: Bank = None,
    sets: Sets = "lac",
    per_class: PerClass = False,
    unknown_method: Method = "auto",
    refuse: Refuse = 1.0,
    labels: ClassNames = None,
    page: Page = None,
    format: Format = "table",
) -> None:
    """Make a bundle whose probabilities, sets of classes and "unknown" can be relied on.

    A quarter of the images of --data fits the temperature, a quarter sets the thresholds, and half measures the
    result. The guarantees hold for images like these, not for other sources of images or other frequencies of the
    classes. Exit code 1: an image could not be read.

    Example: wrn calibrate --data cifar10 -o calibrated/

    Example: wrn calibrate -m runs/pets/bundle --data pets/test --bank pets/train --sets raps -o pets-calibrated/
    """
    from wideresnet.output.atomic import save_text
    from wideresnet.report import calibration
    from wideresnet.tasks.calibrate.calibrate import CalibrateSettings, calibrate_bundle, open_calibration_images

    check_targets(page)
    hold_bundle(output, model, options.weights)
    bundle = open_bundle(options.choice(model, labels))
    settings = CalibrateSettings(sets, per_class, None if unknown_method == "auto" else unknown_method, refuse / 100)
    test_path, bank_path = (locate(path) if path else None for path in (test, bank))
    images = open_calibration_images(bundle, locate(data), test_path, bank_path, settings.unknown)
    report = run_with_bar(calibrate_bundle(bundle, images, settings, output), unit="images")
    if page:
        save_text(page, calibration.to_html(report))
    print_record(report, calibration.to_json, calibration.to_text, format)
    list_problems(report.notes, report.failures, report.skipped, ", ".join(map(str, filter(None, (data, test)))))
    if format == "table":
        say_next(("classify", "FILE", "-m", output, "--coverage", "95"), ("serve", "-m", output))
    raise typer.Exit(1 if report.failures else 0)
