"""Options that several commands share, so that they are named and explained the same everywhere.

A dataclass here is a group of options that a command takes as one value (see ``cli.groups``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from wideresnet.bundle import Bundle
    from wideresnet.records import Exif, InferenceSettings
    from wideresnet.tasks.load.load import ModelChoice

Engine = Literal["openvino", "onnxruntime", "pytorch"]
Arithmetic = Literal["f32", "bf16"]
TextOrJson = Literal["table", "json"]
Language = Literal["en", "zh"]
Device = Literal["auto", "cpu", "cuda"]
InferModeName = Literal["sync", "async"]

MODEL = "wrn_16_4.cifar10"
SHARD = 1024                                       # images in an output file of a cluster
CLUSTER = "On a Ray cluster (docs/scale.md)"

Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="A name of 'wrn models', a bundle folder, or a weights file.", show_default=MODEL
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model", "-m", help="A name of 'wrn models', a bundle folder, or a weights file.", show_default=MODEL
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", help="A weights file: the model, or with -m the tensors of a published model."),
]
ArchitectureName = Annotated[
    str | None, typer.Option("--architecture", help="The architecture of a weights file that does not name it.")
]
ClassNames = Annotated[Path | None, typer.Option("--labels", help="A file of class names in index order.")]
Lang = Annotated[Language, typer.Option("--lang", help="The language of class names; custom labels have only one.")]
EngineName = Annotated[Engine, typer.Option("--engine", help="The runtime.")]
Precision = Annotated[
    Arithmetic, typer.Option("--precision", help="The arithmetic of the convolutions; reports name what was used.")
]
Resolution = Annotated[
    int, typer.Option("--resolution", min=0, help="The input size in pixels a side; 0: as on the model's card.")
]
InferMode = Annotated[
    InferModeName,
    typer.Option("--infer-mode", help="sync: one batch after another; async: read the next images meanwhile."),
]
Transform = Annotated[
    Literal["zoo"] | None,
    typer.Option("--transform", help="zoo: resize to 256x256 with OpenCV's bilinear filter, crop to 224x224."),
]
Alpha = Annotated[
    Literal["drop", "white"] | None,
    typer.Option("--alpha", help="Transparent images: drop alpha or lay them on white; else as on the card."),
]
Images = Annotated[
    list[str], typer.Argument(help="Images, folders (searched recursively), and shards (.parquet, .tar).")
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=0, help="Images a batch; 0: as tuned, or 8.")]
IgnoreExif = Annotated[bool, typer.Option("--ignore-exif", help="Do not apply the EXIF orientation.")]
Threads = Annotated[int, typer.Option("--threads", min=0, help="0: every CPU this process may use.")]
Format = Annotated[TextOrJson, typer.Option("--format", help="json: print one JSON document on stdout.")]
Where = Annotated[Device, typer.Option("--device", help="auto: a CUDA GPU where torch finds one, else the CPU.")]
Page = Annotated[Path | None, typer.Option("--report", help="Write a page with plots and images (HTML).")]
Cache = Annotated[
    Path | None,
    typer.Option(help="Keep the decoded images of class folders in this folder, for later runs, and not in memory."),
]


@dataclass(frozen=True)
class ModelOptions:
    """The files of a model, and the images that it expects."""

    weights: Weights = None
    architecture: ArchitectureName = None
    resolution: Resolution = 0
    alpha: Alpha = None

    def choice(self, model: str | None, labels: Path | None = None) -> ModelChoice:
        """Return the model called ``model``, with the class names of the file ``labels``."""
        from wideresnet.tasks.load.load import ModelChoice

        return ModelChoice(model, self.weights, self.architecture, labels)

    def open(self, model: str | None, labels: Path | None = None, transform: str | None = None) -> Bundle:
        """Load the model called ``model``; see ``open_bundle``."""
        from wideresnet.cli.output import open_bundle

        return open_bundle(self.choice(model, labels), self.resolution, transform, self.alpha)


@dataclass(frozen=True)
class RuntimeOptions:
    """The engine that runs the model."""

    engine: EngineName = "openvino"
    precision: Precision = "f32"
    threads: Threads = 0

    def settings(self, batch_size: int, exif: Exif, mode: InferModeName = "async") -> InferenceSettings:
        """Return the settings of inference with this engine."""
        from wideresnet.records import InferenceSettings

        return InferenceSettings(self.engine, self.precision, self.threads, batch_size, exif, mode=mode)


@dataclass(frozen=True)
class ClusterOptions:
    """The cluster that does the work of a command, if ``ray`` names one."""

    ray: Annotated[
        str,
        typer.Option(
            "--ray", rich_help_panel=CLUSTER,
            help="Use the cluster at HOST:PORT, auto (this machine's) or local (a new one).",
        ),
    ] = ""  # fmt: skip
    workers: Annotated[
        int, typer.Option("--workers", rich_help_panel=CLUSTER, min=0, help="Worker processes; 0: as many as fit.")
    ] = 0
    cpus: Annotated[
        int, typer.Option("--cpus", rich_help_panel=CLUSTER, min=0, help="CPUs a worker; 0: all of the smallest node.")
    ] = 0
    shard_size: Annotated[
        int, typer.Option("--shard-size", rich_help_panel=CLUSTER, min=1, help="Images in a file of the output.")
    ] = SHARD

    def round_up(self, batch_size: int) -> int:
        """Return the shard size rounded up to full batches, so that batches are the same as without a cluster."""
        return -(-self.shard_size // batch_size) * batch_size
