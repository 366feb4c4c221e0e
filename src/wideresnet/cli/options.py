"""Options that several commands share, so that they are named and explained the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from wideresnet.cli.checks import check_coverage, check_device
from wideresnet.cli.complete import model_names

Engine = Literal["openvino", "onnxruntime", "pytorch"]
Arithmetic = Literal["f32", "bf16"]
TextOrJson = Literal["table", "json"]
Language = Literal["en", "zh"]
Device = Literal["auto", "cpu", "cuda"]

MODEL = "wrn_16_4.cifar10"

_MODEL = typer.Option(
    "--model", "-m", help="A name of 'wrn models', a bundle, a weights file, or hf-hub:OWNER/NAME.",
    show_default=MODEL, autocompletion=model_names,
)  # fmt: skip
Model = Annotated[str | None, _MODEL]
Models = Annotated[list[str] | None, _MODEL]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", help="A weights file: the model, or the tensors of a published model that is named."),
]
ArchitectureName = Annotated[
    str | None, typer.Option("--architecture", help="The architecture of a weights file that does not name it.")
]
ClassNames = Annotated[Path | None, typer.Option("--labels", help="A file of class names in index order.")]
Lang = Annotated[
    Language, typer.Option("--lang", help="The language of class names and remarks; custom labels have only one.")
]
EngineName = Annotated[Engine, typer.Option("--engine", help="The runtime.")]
Precision = Annotated[
    Arithmetic,
    typer.Option("--precision", help="The arithmetic of the convolutions; models stored in int8 are computed in int8."),
]
Resolution = Annotated[
    int, typer.Option("--resolution", min=0, help="The input size in pixels a side; 0: as on the model's card.")
]
InferMode = Annotated[
    Literal["sync", "async"],
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
BatchSize = Annotated[int, typer.Option("--batch-size", min=0, help="Images per batch; 0: as tuned, else 8.")]
CheckImages = Annotated[
    Path | None, typer.Option("--data", help="Ordinary images: check the normalisation assumed for a weights file.")
]
IgnoreExif = Annotated[bool, typer.Option("--ignore-exif", help="Do not apply the EXIF orientation.")]
Threads = Annotated[int, typer.Option("--threads", min=0, help="0: every CPU this process may use.")]
Format = Annotated[TextOrJson, typer.Option("--format", help="json: print one JSON document on stdout.")]
InferenceDevice = Annotated[
    str, typer.Option("--device", callback=check_device, help="cpu: inference has no other device.")
]
Where = Annotated[Device, typer.Option("--device", help="auto: a CUDA GPU where torch finds one, else the CPU.")]
Page = Annotated[Path | None, typer.Option("--report", help="Write a page with plots and images (HTML).")]
Change = Annotated[list[str] | None, typer.Option("--set", help="Override a setting; repeatable.")]
Cache = Annotated[
    Path | None,
    typer.Option(help="Keep the decoded images of class folders in this folder, for later runs, and not in memory."),
]
FastDecode = Annotated[
    bool, typer.Option("--fast-decode", help="Decode large JPEGs at a fraction of their size: faster, not exact.")
]
Coverage = Annotated[
    float | None,
    typer.Option(
        "--coverage", callback=check_coverage,
        help="Sets of classes that hold the right one of this percentage of images, 50 to 99.9 (see 'wrn calibrate').",
    ),
]  # fmt: skip
Resume = Annotated[
    bool, typer.Option("--resume", help="With -o: continue an interrupted run; if complete, repeat its exit code.")
]
Dedupe = Annotated[
    bool, typer.Option("--dedupe", help="Classify files with the same bytes once; the last 100,000 are remembered,"
                       " fewer above -k 5."),
]  # fmt: skip
