"""``wrn embed``"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from wideresnet.cli.cluster import SHARD, Cluster, Cpus, Ray, ShardSize, WorkerCount, check_options, work_through
from wideresnet.cli.options import (
    Alpha,
    ArchitectureName,
    Arithmetic,
    BatchSize,
    Engine,
    EngineName,
    Format,
    IgnoreExif,
    Images,
    Model,
    Precision,
    Resolution,
    TextOrJson,
    Threads,
    Weights,
)
from wideresnet.cli.output import check_targets, open_bundle, print_json, say_skipped
from wideresnet.cli.streams import print_lines
from wideresnet.cli.watch import watched

if TYPE_CHECKING:
    from wideresnet.records import Embedding, EmbedReport, Exif, Failure
    from wideresnet.tasks.classify.embed import Pool


class Pooling(StrEnum):
    """What becomes of the positions of a map."""

    auto = "auto"
    mean = "mean"
    none = "none"


class Number(StrEnum):
    """How numbers are stored."""

    float32 = "float32"
    float16 = "float16"


Layers = Annotated[str, typer.Option("--layer", help="features, map, layer1, layer2, …; several with commas.")]
Pooled = Annotated[Pooling, typer.Option("--pool", help="mean: average maps over positions; auto: only for Parquet.")]
Stored = Annotated[Number, typer.Option("--dtype", help="float16: half the size, three digits.")]


def embed(
    context: typer.Context,
    paths: Images,
    output: Annotated[str, typer.Option("--output", "-o", help="The file: .npy, .npz, .parquet; with --ray a folder.")],
    model: Model = None,
    layer: Layers = "features",
    pool: Pooled = Pooling.auto,
    dtype: Stored = Number.float32,
    weights: Weights = None,
    architecture: ArchitectureName = None,
    resolution: Resolution = 0,
    alpha: Alpha = None,
    engine: EngineName = Engine.openvino,
    precision: Precision = Arithmetic.f32,
    threads: Threads = 0,
    batch_size: BatchSize = 0,
    ignore_exif: IgnoreExif = False,
    ray: Ray = "",
    workers: WorkerCount = 0,
    cpus: Cpus = 0,
    shard_size: ShardSize = SHARD,
    format: Format = TextOrJson.table,
) -> None:
    """Write what the network computes of images: a row an image, in order.

    Beside .npy and .npz the paths are written, a line a row, as FILE.paths.txt; Parquet has them in a column.
    Unreadable images have no row: they are listed on stderr, and the exit code is 1. With --ray a cluster does the
    work, as for 'wrn classify'; maps are averaged then.

    Example: wrn embed photos/ -o features.npy

    Example: wrn embed parts/ -m wide_resnet50_2.tv_in1k --layer layer2,layer3 -o parts.npz
    """
    from wideresnet.datasets.shards import check_inputs
    from wideresnet.engines.features import open_features
    from wideresnet.engines.throughput import throughput_options
    from wideresnet.records import EmbedReport
    from wideresnet.tasks.classify.classify import InputImages, folders_and_shards
    from wideresnet.tasks.classify.embed import embeddings, row_shapes
    from wideresnet.tasks.load.load import ModelChoice

    check_options(context, ray)
    layers, file = list(dict.fromkeys(layer.split(","))), Path(output)
    pooling = _pooling(pool, file, layers, ray)    # before anything that takes long
    files = [Path(path) for path in paths]
    check_inputs([] if ray else files)
    check_targets(None if ray else file)
    bundle = open_bundle(ModelChoice(model, weights, architecture), resolution, alpha=alpha)
    options, batch = throughput_options(bundle, precision.value, threads)
    exif: Exif = "ignore" if ignore_exif else "transpose"
    if ray:
        from wideresnet.cluster.operations import Embed

        work = Embed(engine, precision.value, batch_size or batch, tuple(layers), pooling, dtype.value, exif)
        cluster = Cluster(ray, workers, cpus, shard_size, output)
        work_through(work, bundle, paths, cluster, json=format is TextOrJson.json)
    features, spec = open_features(bundle, layers, engine, options), bundle.card.preprocess
    shapes = row_shapes(features, spec, pooling)
    images = InputImages(files)
    found = embeddings(features, spec, images, pool=pooling, batch_size=batch_size or batch, exif=exif)
    count, failures = _write(file, shapes, dtype.value, found)
    info, skipped = features.engine.info, images.skipped
    say_skipped([skipped], *folders_and_shards(files))
    report = EmbedReport(
        output, bundle.card.name, info, count, shapes, dtype.value, failures, bundle.card.assumed, skipped
    )
    _show(report, format)


def _pooling(pool: Pooling, output: Path, layers: list[str], ray: str) -> Pool:
    """Whether maps are averaged. Raises ConfigError where the file cannot hold the layers."""
    from wideresnet.output.features import features_suffix

    if ray:
        return "none" if pool is Pooling.none else "mean"
    suffix = features_suffix(output, layers)
    return "mean" if pool is Pooling.mean or (pool is Pooling.auto and suffix == ".parquet") else "none"


def _write(
    output: Path, shapes: dict[str, tuple[int, ...]], dtype: str, found: Iterable[Embedding | Failure]
) -> tuple[int, tuple[Failure, ...]]:
    """The number of rows, and what failed."""
    from wideresnet.output.features import open_features
    from wideresnet.records import Failure

    count, failures = 0, []
    with open_features(output, shapes, dtype) as add:
        for each in watched(found, "embedding"):
            if isinstance(each, Failure):
                failures.append(each)
            else:
                add(each)
                count += 1
    return count, tuple(failures)


def _show(report: EmbedReport, format: TextOrJson) -> NoReturn:
    """Say what was written, and end."""
    from wideresnet.report import embedding

    if format is TextOrJson.json:
        print_json(embedding.to_json(report))
    else:
        print_lines(embedding.to_text(report))
    raise typer.Exit(1 if report.failures else 0)
