"""``wrn export``"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from wideresnet.cli.check_data import check_normalisation
from wideresnet.cli.groups import WeightsOptions, with_groups
from wideresnet.cli.options import CheckImages, ClassNames, Format, Model
from wideresnet.cli.output import open_bundle, print_json
from wideresnet.cli.streams import say

Stored = Annotated[
    Literal["fp32", "fp16"] | None,
    typer.Option("--storage", help="fp16: half the size. [bundle: as it is stored; weights file: fp32]"),
]


@with_groups
def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    options: WeightsOptions,
    model: Model = None,
    labels: ClassNames = None,
    data: CheckImages = None,
    storage: Stored = None,
    format: Format = "table",
) -> None:
    """Write a model as a bundle: model.onnx, card.json, labels.txt. Any ONNX runtime runs the graph.

    Example: wrn export -m wide_resnet50_2.tv_in1k -o wrn50/

    Example: wrn export -m runs/mine/model.safetensors --storage fp16 -o mine/
    """
    from wideresnet.bundle import check_target, write_bundle
    from wideresnet.images.noise import noise
    from wideresnet.tasks.quantize.compile import in_precision, verify

    check_target(output)
    bundle = open_bundle(options.choice(model, labels))
    check_normalisation(bundle, data)
    if storage and bundle.card.precision != storage:
        reference, bundle = bundle, in_precision(bundle, storage)
        verify(reference, bundle, noise(bundle.card.preprocess.crop))
    card = write_bundle(output, bundle)
    if format == "json":
        print_json({"bundle": str(output), "size_bytes": len(bundle.graph), "card": asdict(card)})
    else:
        say(f"{output}: {card.name}, {card.precision}, {len(bundle.graph) / 1e6:.1f} MB")
