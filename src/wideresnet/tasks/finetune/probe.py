"""A linear probe on class folders: features once by the deployment graph, kept in the run folder; then a head."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wideresnet.bundle import Bundle
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.splits import Split, check_classes_learnt
from wideresnet.engines.features import Features, open_features
from wideresnet.engines.throughput import throughput_options
from wideresnet.graph.outputs import FEATURES
from wideresnet.images.loader import load_batches
from wideresnet.machine import available_cpus
from wideresnet.output.atomic import save_bytes, save_text
from wideresnet.records import Failure, Images, PathPoint, Preprocess, Progress, map_events
from wideresnet.tasks.finetune.linear_head import Head, Samples, fit_head
from wideresnet.tasks.finetune.settings import FinetuneSettings

CHUNK = 256                                        # images a file; an interruption loses less than that


@dataclass(frozen=True, eq=False)
class Probed:
    """A head, and how it was come by."""

    head: Head
    path: tuple[PathPoint, ...]
    failures: tuple[Failure, ...]                  # of the training images
    chosen: str


def run_probe(
    source: Bundle, split: Split, run: Path, settings: FinetuneSettings
) -> Generator[Progress | Images | PathPoint, None, Probed]:
    """Embed and fit. Raises DataError for a class without a readable image."""
    samples, failures = yield from embedded(source, split.train, run / "features", flips=settings.flips)
    check_classes_learnt(split, samples.labels.tolist())
    yield Images(split.name, split.labels, len(samples.labels), len(split.val.items), failures)
    path: list[PathPoint] = []
    fit = fit_head(samples, len(split.labels.names), settings.l2, settings.seed, balanced=settings.balanced)

    def keep(point: PathPoint) -> PathPoint:
        path.append(point)
        return point

    head = yield from map_events(fit, keep)
    save_text(run / "log.jsonl", "".join(json.dumps(asdict(point)) + "\n" for point in path))
    return Probed(head, tuple(path), failures, _chosen(path))


def _chosen(path: list[PathPoint]) -> str:
    if not path:
        return "the strength of L2 was not chosen by any image; val chose nothing"
    best = min(path, key=lambda point: point.loss)
    return (
        f"L2 of {best.l2:g} was chosen by {best.n:,} training images that were held out in turn; val chose nothing,"
        " so that its accuracy is that of images never used"
    )


def embedded(
    source: Bundle, data: LabelledData, folder: Path, *, flips: bool
) -> Generator[Progress, None, tuple[Samples, tuple[Failure, ...]]]:
    """The features of every image that can be read, and the others; with ``flips`` mirrored ones as a second view.

    Every ``CHUNK`` images are a file in ``folder``, named after everything that decides it, and computed once.
    """
    stamp = _stamp(source, data, flips)
    features: Features | None = None
    options, batch = throughput_options(source, "f32", 0)
    chunks = []
    for first in range(0, len(data.items), CHUNK):
        file = folder / f"{stamp}-{first:07}.npz"
        if not file.exists():
            features = features or open_features(source, [FEATURES], options=options)
            some = replace(data, items=data.items[first : first + CHUNK])
            rows = _rows(features, some, source.card.preprocess, batch, flips)
            save_bytes(file, _as_npz(*rows))
        with np.load(file, allow_pickle=False) as arrays:
            chunks.append({name: arrays[name] for name in ("features", "labels", "failures")})
        yield Progress("embedding", min(first + CHUNK, len(data.items)), len(data.items))
    whole = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
    failures = tuple(Failure(*map(str, row)) for row in whole["failures"])
    return Samples(whole["features"], whole["labels"]), failures


def _stamp(source: Bundle, data: LabelledData, flips: bool) -> str:
    decides = [source.sha256, asdict(source.card.preprocess), data.sha256, data.exif, flips]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]


Rows = tuple[NDArray[np.float32], list[int], list[Failure]]


def _rows(features: Features, data: LabelledData, spec: Preprocess, batch_size: int, flips: bool) -> Rows:
    """Features float32 [N, V, F] and labels of the readable items, and the failures."""
    labels: list[int] = []
    failures: list[Failure] = []

    def pixels() -> Iterator[NDArray[np.uint8]]:
        for batch in load_batches(data.items, spec, batch_size=batch_size, threads=available_cpus(), exif=data.exif):
            labels.extend(item.label or 0 for item in batch.items)
            failures.extend(batch.failures)
            yield batch.pixels
            if flips:
                yield np.ascontiguousarray(batch.pixels[:, :, ::-1])

    found = [outputs[FEATURES] for outputs in features.stream(pixels())]
    views = [np.concatenate(found[view :: 1 + flips]) for view in range(1 + flips)]
    return np.stack(views, 1), labels, failures


def _as_npz(features: NDArray[np.float32], labels: list[int], failures: list[Failure]) -> bytes:
    file = io.BytesIO()
    failed = np.array([(each.path, each.error, each.hint) for each in failures], np.str_).reshape(-1, 3)
    np.savez(file, features=features, labels=np.array(labels, np.int64), failures=failed)
    return file.getvalue()
