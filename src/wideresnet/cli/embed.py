"""``wrn embed``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from wideresnet.cli.answers import watched
from wideresnet.cli.checks import check_unused
from wideresnet.cli.cluster import check_cluster_options, run_on_images
from wideresnet.cli.groups import ClusterOptions, ModelOptions, RuntimeOptions, with_groups
from wideresnet.cli.options import BatchSize, Format, IgnoreExif, Images, Model
from wideresnet.cli.output import check_targets, print_record, say_model, say_skipped

Output = Annotated[str, typer.Option("--output", "-o", help="The file (.npy, .npz, .parquet); with --ray a folder.")]
Layers = Annotated[str, typer.Option("--layer", help="features, map, layer1, layer2, …; several with commas.")]
Pooling = Annotated[
    Literal["auto", "mean", "none"],
    typer.Option("--pool", help="mean: average feature maps over positions; auto: only for Parquet."),
]
Number = Annotated[Literal["float32", "float16"], typer.Option("--dtype", help="f16: half the size, three digits.")]


@with_groups
def embed(
    context: typer.Context,
    paths: Images,
    output: Output,
    options: ModelOptions,
    runtime: RuntimeOptions,
    cluster: ClusterOptions,
    model: Model = None,
    layer: Layers = "features",
    pool: Pooling = "auto",
    dtype: Number = "float32",
    batch_size: BatchSize = 0,
    ignore_exif: IgnoreExif = False,
    format: Format = "table",
) -> None:
    """Write the features that the network computes from images: one row per image, in order.

    For .npy and .npz the paths are written to FILE.paths.txt, one line per row; Parquet has them in a column.
    Unreadable images have no row: they are listed on stderr, and the exit code is 1. With --ray a cluster does the
    work, as for 'wrn classify', and feature maps are averaged.

    Example: wrn embed photos/ -o features.npy

    Example: wrn embed parts/ -m wide_resnet50_2.tv_in1k --layer layer2,layer3 -o parts.npz
    """
    from wideresnet.datasets.shards import check_inputs
    from wideresnet.engines.features import open_features
    from wideresnet.engines.throughput import tune_settings
    from wideresnet.output.features import write_features
    from wideresnet.records import EmbedReport
    from wideresnet.report import embedding
    from wideresnet.tasks.classify.embed import embeddings, row_shapes
    from wideresnet.tasks.classify.sources import InputImages, containers

    check_cluster_options(context, cluster)
    layers, file, files = list(dict.fromkeys(layer.split(","))), Path(output), list(map(Path, paths))
    check_unused(context, layers == ["features"], "on features, which have no positions", "pool")
    pooling = _pooling(pool, None if cluster.ray else file, layers)    # before anything that takes long
    check_inputs([] if cluster.ray else files)
    check_targets(None if cluster.ray else file)
    bundle = options.open(model, headless=True)
    engine, settings = tune_settings(bundle, runtime.settings(batch_size, "ignore" if ignore_exif else "transpose"))
    if cluster.ray:
        from wideresnet.cluster.operations import Embed

        run_on_images(Embed(settings, tuple(layers), pooling, dtype), bundle, paths, cluster, output, format)
    features, spec = open_features(bundle, layers, settings.engine, engine), bundle.card.preprocess
    say_model(bundle.card, features.engine.info)
    shapes, images = row_shapes(features, spec, pooling), InputImages(files)
    rows = embeddings(features, spec, images, settings, pool=pooling)
    count, failures = write_features(file, shapes, dtype, watched(rows, "embedding"))
    say_skipped(images.skipped, *containers(files))
    report = EmbedReport(
        output, bundle.card.name, features.engine.info, count, shapes, dtype, failures, bundle.card.assumed,
        images.skipped,
    )  # fmt: skip
    print_record(report, embedding.to_json, embedding.to_text, format)
    raise typer.Exit(1 if failures else 0)


def _pooling(pool: str, file: Path | None, layers: list[str]) -> Literal["mean", "none"]:
    """Return the pooling of feature maps; no ``file``: on a cluster. Raise ConfigError if it cannot hold the layers."""
    from wideresnet.output.features import features_suffix

    averaged = file is None or features_suffix(file, layers) == ".parquet"
    return "mean" if pool == "mean" or (pool == "auto" and averaged) else "none"
