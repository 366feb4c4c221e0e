"""A linear probe: features by the deployment graph, stored in the run folder, and a linear head fitted to them."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wideresnet.architectures import Architecture
from wideresnet.bundle import Bundle
from wideresnet.bundle.derive import read_weights
from wideresnet.datasets.copies import sample_hash
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.splits import Split, check_classes_learnt
from wideresnet.engines.features import Features, open_features
from wideresnet.engines.throughput import throughput_options
from wideresnet.graph.outputs import FEATURES
from wideresnet.images.loader import load_batches
from wideresnet.output.atomic import save_bytes, save_text
from wideresnet.records import Failure, Images, PathPoint, Preprocess, Progress
from wideresnet.tasks.finetune.linear_head import Samples, fit_head
from wideresnet.tasks.finetune.result import FinetuneResult
from wideresnet.tasks.finetune.settings import FinetuneSettings

CHUNK = 256                                        # images per file, and the most that an interruption loses


def run_probe(
    source: Bundle, architecture: Architecture, split: Split, run: Path, settings: FinetuneSettings
) -> Generator[Progress | Images | PathPoint, None, FinetuneResult]:
    """Compute features and fit a linear head to them. Raises DataError for a class without a readable image."""
    samples, failures = yield from embed_split(source, split.train, run / "features", flips=settings.flips)
    check_classes_learnt(split, samples.labels.tolist())
    yield Images(split.name, split.labels, len(samples.labels), len(split.val.items), failures)
    classes = len(split.labels.names)
    head = yield from fit_head(samples, classes, settings.l2, settings.seed, balanced=settings.balanced)
    save_text(run / "log.jsonl", "".join(json.dumps(asdict(point)) + "\n" for point in head.path))
    weights = {**read_weights(source), "fc.weight": head.weight, "fc.bias": head.bias}
    tensors = {key: weights[key] for key in architecture.tensors()}
    return FinetuneResult(tensors, failures, _describe_choice(head.path), path=head.path)


def _describe_choice(path: Sequence[PathPoint]) -> str:
    if not path:
        return "the strength of L2 was not chosen by any image; val chose nothing"
    best = min(path, key=lambda point: point.loss)
    return (
        f"L2 of {best.l2:g} was chosen by {best.n:,} training images that were held out in turn; val chose nothing,"
        " so that its accuracy is that of images never used"
    )


def embed_split(
    source: Bundle, data: LabelledData, folder: Path, *, flips: bool
) -> Generator[Progress, None, tuple[Samples, tuple[Failure, ...]]]:
    """Compute the features of all readable images; return them and the failures.

    With ``flips`` the mirrored image is a second view. Each ``CHUNK`` of images is computed once and stored in
    ``folder``, in a file named after a hash of everything that determines it.
    """
    key = _cache_key(source, data, flips)
    engine: Features | None = None
    options, batch_size = throughput_options(source, "f32", 0)
    chunks = []
    for first in range(0, len(data.items), CHUNK):
        file = folder / f"{key}-{first:07}.npz"
        if not file.exists():
            engine = engine or open_features(source, [FEATURES], options=options)
            chunk = replace(data, items=data.items[first : first + CHUNK])
            save_bytes(file, _embed_chunk(engine, chunk, source.card.preprocess, batch_size, flips))
        with np.load(file, allow_pickle=False) as arrays:
            chunks.append({name: arrays[name] for name in ("features", "labels", "failures")})
        yield Progress("embedding", min(first + CHUNK, len(data.items)), len(data.items))
    joined = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
    failures = tuple(Failure(*map(str, row)) for row in joined["failures"])
    return Samples(joined["features"], joined["labels"]), failures


def _cache_key(source: Bundle, data: LabelledData, flips: bool) -> str:
    inputs = [source.sha256, asdict(source.card.preprocess), data.sha256, sample_hash(data.items), data.exif, flips]
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:16]


def _embed_chunk(engine: Features, data: LabelledData, spec: Preprocess, batch_size: int, flips: bool) -> bytes:
    """Return an .npz of features float32 [N, V, F] and labels int64 [N] of the readable items, and the failures."""
    labels: list[int] = []
    failures: list[Failure] = []

    def pixels() -> Iterator[NDArray[np.uint8]]:
        for batch in load_batches(data.items, spec, batch_size=batch_size, exif=data.exif):
            labels.extend(item.label or 0 for item in batch.items)
            failures.extend(batch.failures)
            yield batch.pixels
            if flips:
                yield np.ascontiguousarray(batch.pixels[:, :, ::-1])

    batches = [outputs[FEATURES] for outputs in engine.stream(pixels())]
    views = [np.concatenate(batches[view :: 1 + flips]) for view in range(1 + flips)]
    rows = [(failure.path, failure.error, failure.hint) for failure in failures]
    file = io.BytesIO()
    np.savez(
        file, features=np.stack(views, 1), labels=np.array(labels, np.int64),
        failures=np.array(rows, np.str_).reshape(-1, 3),
    )  # fmt: skip
    return file.getvalue()
