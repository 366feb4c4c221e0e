"""Groups of options of ``wrn compile``: the bundle, and the gate that it must pass."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from wideresnet.cli.options import Model
from wideresnet.errors import ConfigError
from wideresnet.precision import StoredPrecision


@dataclass(frozen=True)
class BundleOptions:
    """The bundle to write, and the images that calibrate it."""

    config: Annotated[
        Path | None, typer.Argument(help="A build file (YAML) with model, precision, images and output.")
    ] = None
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The bundle to write.")] = None
    model: Model = None
    precision: Annotated[StoredPrecision, typer.Option("--precision", help="int8 needs the extra 'compile'.")] = "int8"
    calibration: Annotated[
        str,
        typer.Option(
            help="Images for int8: a folder, index or archive; auto: the training split of --data, the images that the"
            " model was fine-tuned on, or CIFAR's."
        ),
    ] = "auto"
    samples: Annotated[int, typer.Option(min=2, help="The number of calibration images, the same of each class.")] = 300
    estimator: Annotated[
        Literal["mse", "max", "mean", "percentile"],
        typer.Option(help="Ranges of activations: least squared error, extremes, their mean, quantiles."),
    ] = "mse"

    @property
    def int8(self) -> bool:
        """True if calibration images are needed."""
        return self.precision == "int8"


@dataclass(frozen=True)
class GateOptions:
    """The accepted loss of accuracy, and the search for settings that keep it."""

    data: Annotated[
        str,
        typer.Option(
            help="Images for the gate, labelled or not; auto, for int8: the validation set of the fine-tuning, CIFAR's"
            " test set, or spare calibration images; for others: no images, no gate."
        ),
    ] = "auto"
    gate: Annotated[
        str,
        typer.Option(help="The accepted loss of top-1 in percentage points; none: no gate; the card says so."),
    ] = "0.2"
    min_agreement: Annotated[
        float,
        typer.Option(min=0, max=100, help="Gate without labels: percentage of images with the same class as in f32."),
    ] = 95.0
    search: Annotated[
        bool,
        typer.Option("--search", help="If the gate fails, try other settings, finally with some layers in f32."),
    ] = False
    budget: Annotated[
        float, typer.Option(min=0, help="Minutes for --search; a trial that has begun is finished.")
    ] = 30.0

    def limit(self) -> float | None:
        """Return percentage points as a fraction: "0.2" is 0.002; "none" is None. Raises ConfigError."""
        if self.gate == "none":
            return None
        with suppress(ValueError):
            if 0 <= (points := float(self.gate)) <= 100:
                return points / 100
        raise ConfigError(f"--gate takes percentage points from 0 to 100, or none, got {self.gate!r}")
