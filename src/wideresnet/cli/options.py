"""Options that several commands share, so that they are called and explained the same everywhere."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer


class Engine(StrEnum):
    """The runtimes."""

    openvino = "openvino"
    onnxruntime = "onnxruntime"
    pytorch = "pytorch"


class Arithmetic(StrEnum):
    """The precision convolutions are computed in."""

    f32 = "f32"
    bf16 = "bf16"


class Storage(StrEnum):
    """The precision weights are stored in."""

    fp32 = "fp32"
    fp16 = "fp16"


class Stored(StrEnum):
    """The precisions a graph can be compiled to."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


class TextOrJson(StrEnum):
    """How a single result is printed."""

    table = "table"
    json = "json"


class Language(StrEnum):
    """The languages that class names come in."""

    en = "en"
    zh = "zh"


class Device(StrEnum):
    """Where networks are trained."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class InferModeName(StrEnum):
    """Whether images are read while the network works."""

    sync = "sync"
    asynchronous = "async"


class TransformName(StrEnum):
    """What a network is shown other than its card says."""

    zoo = "zoo"


MODEL = "wrn_16_4.cifar10"

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
    typer.Option("--weights", help="Without -m: the model. With a published name: its tensors, not downloaded."),
]
ArchitectureName = Annotated[
    str | None, typer.Option("--architecture", help="For a weights file that does not show it.")
]
LabelsFile = Annotated[Path | None, typer.Option("--labels", help="A file of class names, in the order of the index.")]
Lang = Annotated[Language, typer.Option("--lang", help="Language of class names; labels of one's own have but one.")]
EngineName = Annotated[Engine, typer.Option("--engine", help="The runtime.")]
Precision = Annotated[
    Arithmetic, typer.Option("--precision", help="Arithmetic of the convolutions; what ran is reported.")
]
Resolution = Annotated[
    int, typer.Option(min=0, help="Show it images of so many pixels a side; 0: as its card says.")
]
InferMode = Annotated[
    InferModeName,
    typer.Option("--infer-mode", help="sync: one batch after another; async: read the next ones meanwhile."),
]
Transform = Annotated[
    TransformName | None,
    typer.Option("--transform", help="zoo: squashed to 256 by OpenCV's bilinear, centre 224, as the model zoo does."),
]
Alpha = Annotated[
    Literal["drop", "white"] | None,
    typer.Option("--alpha", help="Transparent images: drop the alpha, or lay them on white; else as the card says."),
]
Images = Annotated[
    list[str], typer.Argument(help="Images, folders (searched recursively), and shards (.parquet, .tar).")
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=0, help="Images at a time; 0: as tuned, or 8.")]
IgnoreExif = Annotated[bool, typer.Option("--ignore-exif", help="Do not turn photographs upright.")]
Threads = Annotated[int, typer.Option("--threads", min=0, help="0: every CPU this process may use.")]
Format = Annotated[TextOrJson, typer.Option("--format", help="json: one document on stdout, nothing else there.")]
Where = Annotated[Device, typer.Option("--device", help="auto: a GPU (CUDA) where torch finds one, else the CPU.")]
Cache = Annotated[
    Path | None,
    typer.Option(
        help="Keep the decoded images of class folders in this folder, not in memory; the next run begins with them."
    ),
]
