"""``wrn export``"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from wideresnet.cli.check_data import check_normalisation
from wideresnet.cli.groups import WeightsOptions, with_groups
from wideresnet.cli.options import CheckImages, ClassNames, Model
from wideresnet.cli.output import hold, hold_bundle, list_notes, open_bundle, print_json, say_next
from wideresnet.cli.streams import say
from wideresnet.precision import precision_name

Stored = Annotated[
    Literal["fp32", "fp16"] | None,
    typer.Option("--storage", help="f16: half the size.", show_default="as stored; of a weights file f32"),
]
Format = Annotated[
    Literal["table", "json", "torchvision", "timm", "safetensors"],
    typer.Option("--format", help="table, json: write a bundle, and print a line or JSON. Others: a weights file."),
]


@with_groups
def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder of the bundle, or the weights file.")],
    options: WeightsOptions,
    model: Model = None,
    labels: ClassNames = None,
    data: CheckImages = None,
    storage: Stored = None,
    format: Format = "table",
) -> None:
    """Write a model as a bundle: model.onnx, card.json, labels.txt. Any ONNX runtime runs the graph.

    Or write a weights file for torchvision, timm or this package (docs/export.md).

    Example: wrn export -m wide_resnet50_2.tv_in1k -o wrn50/

    Example: wrn export -m runs/mine/model.safetensors --storage f16 -o mine/

    Example: wrn export -m runs/pets/bundle --format timm -o pets/model.safetensors
    """
    from wideresnet.bundle.files import GRAPH
    from wideresnet.errors import ConfigError
    from wideresnet.tasks.load.weights_file import check_weights_target, write_file
    from wideresnet.tasks.quantize.compile import export_bundle

    if format in ("table", "json"):
        hold_bundle(output, model, options.weights)
    elif storage:
        raise ConfigError("--storage has no effect on weights files: they are float32", hint="leave out --storage")
    else:
        check_weights_target(output, format, model, options.weights)
        hold(output)
    bundle = open_bundle(options.choice(model, labels))
    check_normalisation(bundle, data)
    if format not in ("table", "json"):
        list_notes(write_file(output, bundle, format))
        say(f"{output}: {bundle.card.name} for {format}, {output.stat().st_size / 1e6:.1f} MB")
        say_next(("info", output))
        return
    card, size = export_bundle(bundle, output, storage), (output / GRAPH).stat().st_size
    if format == "json":
        print_json({"bundle": str(output), "size_bytes": size, "card": asdict(card)})
    else:
        say(f"{output}: {card.name}, {precision_name(card.precision)}, {size / 1e6:.1f} MB")
        list_notes([card.notes["uncertainty"]] if bundle.card.uncertainty and not card.uncertainty else [])
        say_next(("info", output), ("bench", "-m", output), ("serve", "-m", output))
